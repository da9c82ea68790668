"""A stored model on the scans of new patients, listed in a table like images.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from phenolens.cohort.patients import UNKNOWN
from phenolens.cohort.scans import UNNAMED
from phenolens.cohort.table import read_table
from phenolens.core.errors import CohortError, ModelError, PhenolensError
from phenolens.core.progress import Progress
from phenolens.core.registry import Choice
from phenolens.core.store import Store, canonical
from phenolens.core.types import Example, Part
from phenolens.features.extract import encoder_identity
from phenolens.features.scans import ScanExtractJob, extract_one, stored_source
from phenolens.models.predict import Stored
from phenolens.scans.prepare import ScanJob, prepare
from phenolens.steps.desk import write_csv
from phenolens.steps.stored_setting import ScanSetting, scan_setting

_PATHS = ("path", "mask")


def predict_scans(
    stored: Stored, table: Path, out: Path, *, base: Path, progress: Progress | None = None
) -> tuple[list[str], int]:
    """Predict every patient of `table` (patient, path, sequence, mask …); lines for a person, and how many refused.

    An image that cannot be used is left out with its reason, as in a run; a patient without any is refused.
    """
    setting = scan_setting(stored.config, base)
    refuse_encoder(stored, setting.encoder)
    cases = read_cases(table)
    refuse_twice(cases, table)
    rows: list[dict[str, Any]] = []
    lines: list[str] = []
    with (progress or Progress()).step("predicting", cases["patient"].nunique(), "patients") as step:
        for patient, images in cases.groupby("patient", sort=True):
            row, said = _predict(str(patient), images, stored, setting, out)
            rows.append(row)
            lines += said
            step.advance()
    write_csv(out / "predictions.csv", pd.DataFrame(rows))
    refused = sum(bool(row.get("refused")) for row in rows)
    return [*lines, f"written to {out / 'predictions.csv'}"], refused


def refuse_encoder(stored: Stored, encoder: Choice) -> None:
    """Stop before any scan is read when this machine's encoder is not the one of the training."""
    found, wanted = canonical(encoder_identity(encoder)), canonical(stored.config["context"]["encoder"])
    if found != wanted:
        raise ModelError(f"the encoder {found}", expected=wanted, todo="install the phenolens the study was run with")


def read_cases(table: Path) -> pd.DataFrame:
    """The rows of a table of new scans, with absolute paths and an id an image."""
    cases = read_table(table)
    for column in ("patient", "path"):
        if column not in cases:
            raise CohortError(
                f"no column '{column}'",
                expected="a table like the study's images.csv: patient, path, sequence, mask",
                todo="add the column",
                where=str(table),
            )
    for column in _PATHS:
        if column in cases:
            cases[column] = cases[column].map(
                lambda p: str((table.parent / p).resolve()) if isinstance(p, str) and p else None
            )
    names = cases["path"].map(lambda p: Path(p).stem)
    return cases.assign(image=cases["patient"].astype(str) + "_" + names + "_" + cases.index.astype(str))


def refuse_twice(cases: pd.DataFrame, table: Path) -> None:
    """Stop where a patient has several scans of one sequence: nothing would say which of them is meant."""
    names = cases["sequence"].fillna("") if "sequence" in cases else pd.Series("", index=cases.index)
    twice = cases[pd.DataFrame({"patient": cases["patient"], "sequence": names}).duplicated(keep=False)]
    if len(twice):
        row = twice.iloc[0]
        found = f"several scans of sequence {_given(row.to_dict(), 'sequence') or UNNAMED} of patient {row['patient']}"
        todo = "keep one row of each sequence, of the timepoint that is predicted from"
        raise CohortError(found, expected="one scan a patient and sequence", todo=todo, where=str(table))


def _predict(
    patient: str, images: pd.DataFrame, stored: Stored, setting: ScanSetting, out: Path
) -> tuple[dict[str, Any], list[str]]:
    parts, said = _parts(images, setting, out / "artefacts")
    site = next((s for row in images.to_dict("records") if (s := _given(row, "site"))), UNKNOWN)
    example = Example(patient=patient, unit_id=patient, parts=tuple(parts), covariates={"site": str(site)})
    there = [p.name for p in parts if p.present]
    row: dict[str, Any] = {"patient": patient, "refused": "", "notes": "; ".join(s.strip() for s in said)}
    if not there:
        reason = "no scan of this patient can be used"
        return row | {"refused": reason}, [f"{patient}: REFUSED: {reason}", *said]
    try:
        p = stored.predict([example])[0]
    except PhenolensError as error:
        why = f"found {error.found}; expected {error.expected}; {error.todo}"
        return row | {"refused": str(error)}, [f"{patient}: REFUSED: {why}", *said]
    best = stored.classes[int(p.argmax())]
    made: dict[str, Any] = {"patient": patient, "predicted": best}
    made |= {f"p_{c}": round(float(v), 6) for c, v in zip(stored.classes, p, strict=True)}
    made["sequences"] = " ".join(there)
    shown = ", ".join(f"{c} {v:.2f}" for c, v in zip(stored.classes, p, strict=True))
    return made | row, [f"{patient}: {best} ({shown}) from {', '.join(there) or 'one scan'}", *said]


def _parts(images: pd.DataFrame, setting: ScanSetting, root: Path) -> tuple[list[Part], list[str]]:
    """One part a sequence of the training, absent ones without source, and what was left out."""
    identity, store = encoder_identity(setting.encoder), Store(root)
    sources: dict[str, tuple[str, Any]] = {}
    said = []
    for row in images.to_dict("records"):
        name = _given(row, "sequence") or UNNAMED
        if name not in setting.sequences:
            said.append(f"  left out: sequence {name!r}, which the model does not know ({_listed(setting.sequences)})")
            continue
        job = _job(row, images, setting.mask_from)
        try:
            key = prepare(job, setting.scan, root)
            ask = ScanExtractJob(scan=job, prepared=key)
            done = extract_one(ask, encoder=setting.encoder, identity=identity, settings=setting.scan, root=root)
        except PhenolensError as error:
            said.append(f"  left out: {Path(row['path']).name}: found {error.found}; expected {error.expected}")
            continue
        sources[str(name)] = (job.image, stored_source(store, done, setting.encoder.create().makes))
    blank: tuple[str, Any] = ("", None)
    parts = [Part(name=n, image=sources.get(n, blank)[0], source=sources.get(n, blank)[1]) for n in setting.sequences]
    return parts, said


def _job(row: Mapping[Any, Any], images: pd.DataFrame, mask_from: str | None) -> ScanJob:
    """The job of one row; without a mask of its own it takes that of the patient's sequence `mask_from`."""
    own, other = row, None
    if _given(row, "mask") is None and mask_from is not None and row.get("sequence") != mask_from:
        others = [r for r in images.to_dict("records") if r.get("sequence") == mask_from and _given(r, "mask")]
        if len(others) == 1:
            own = other = others[0]
    value = _given(own, "mask_value")
    return ScanJob(
        patient=str(row["patient"]),
        image=row["image"],
        path=row["path"],
        sequence=_given(row, "sequence") or UNNAMED,
        series=_given(row, "series"),
        mask=_given(own, "mask"),
        mask_value=None if value is None else int(value),
        mask_name=_given(own, "mask_name"),
        drawn_on=None if other is None else other["path"],
        drawn_on_series=None if other is None else _given(other, "series"),
    )


def _given(row: Mapping[Any, Any], column: str) -> Any:
    value = row.get(column)
    return None if value is None or pd.isna(value) or value == "" else value


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "one nameless sequence"
