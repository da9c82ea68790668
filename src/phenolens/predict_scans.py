"""A stored model on the scans of new patients, listed in a table like images.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from phenolens.cohort.patients import UNKNOWN
from phenolens.cohort.scans import UNNAMED
from phenolens.cohort.table import read_table
from phenolens.core.errors import CohortError, FeatureError, ImageError, ModelError, PhenolensError
from phenolens.core.progress import Progress
from phenolens.core.registry import Choice
from phenolens.core.store import Store, canonical
from phenolens.core.types import Example, Part
from phenolens.features.extract import encoder_identity
from phenolens.features.scans import ScanExtractJob, extract_one, stored_source
from phenolens.models.predict import Stored
from phenolens.scans.prepare import ScanJob, load_prepared, prepare
from phenolens.steps.desk import write_csv
from phenolens.steps.duplicates import Seen, told_of
from phenolens.steps.guarded import guard_columns, guarded
from phenolens.steps.stored_setting import ScanSetting, scan_setting

_PATHS = ("path", "mask")
_OF_FILES = (*_PATHS, "patient", "image", "case", "kind", "sequence", "series", "mask_value", "mask_name", "timepoint")


def predict_scans(
    stored: Stored, table: Path, out: Path, *, base: Path, model: Path, progress: Progress | None = None
) -> tuple[list[str], int]:
    """Predict every patient of `table` (patient, path, sequence, mask …); lines for a person, and how many refused.

    Where the model was trained on single images every row is a case of its own; where on lesions, the rows of each
    `lesion` of a patient. An image that cannot be used is left out with its reason, as in a run; a case without any is
    refused. A patient whom the model (published in `model`) was trained on, by id or by the look of an image, is noted.
    """
    setting = scan_setting(stored.config, base)
    refuse_encoder(stored, setting.encoder)
    cases = read_cases(table)
    unit = stored.config["context"]["unit"]
    cases = cases.assign(case=_cases(cases, unit))
    refuse_twice(cases, table)
    rows: list[dict[str, Any]] = []
    lines: list[str] = []
    with (progress or Progress()).step("predicting", cases["case"].nunique(), f"{unit}s") as step:
        for case, images in cases.groupby("case", sort=True):
            whole = cases[cases["patient"] == images["patient"].iloc[0]]
            row, said = _predict(str(case), images, whole, stored, setting, out, model)
            own = {"patient": str(images["patient"].iloc[0])} | ({} if unit == "patient" else {unit: str(case)})
            rows.append(own | row)
            lines += said
            step.advance()
    first = ["patient"] if unit == "patient" else ["patient", unit]
    columns = [*first, *stored.shown, *guard_columns(stored), "sequences", "refused", "notes"]
    write_csv(out / "predictions.csv", pd.DataFrame(rows, columns=columns))
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
    if "image" in cases and cases["image"].notna().all() and cases["image"].is_unique:
        return cases.assign(image=cases["image"].astype(str))
    names = cases["path"].map(lambda p: Path(p).stem.removesuffix(".nii"))
    return cases.assign(image=cases["patient"].astype(str) + "_" + names + "_" + cases.index.astype(str))


def _cases(cases: pd.DataFrame, unit: str) -> pd.Series[str]:
    """The case that each row belongs to: its image, PATIENT/LESION, or its patient."""
    if unit == "image":
        return cases["image"].astype(str)
    patient = cases["patient"].astype(str)
    return patient + "/" + cases["lesion"].astype(str) if unit == "lesion" and "lesion" in cases else patient


def refuse_twice(cases: pd.DataFrame, table: Path) -> None:
    """Stop where a case has several scans of one sequence: nothing would say which of them is meant."""
    names = cases["sequence"].fillna("") if "sequence" in cases else pd.Series("", index=cases.index)
    twice = cases[pd.DataFrame({"case": cases["case"], "sequence": names}).duplicated(keep=False)]
    if len(twice):
        row = twice.iloc[0]
        found = f"several scans of sequence {_given(row.to_dict(), 'sequence') or UNNAMED} of {row['case']}"
        todo = "keep one row of each sequence, of the timepoint that is predicted from; lesions need a column lesion"
        raise CohortError(found, expected="one scan of each sequence", todo=todo, where=str(table))


def _predict(
    case: str, images: pd.DataFrame, whole: pd.DataFrame, stored: Stored, setting: ScanSetting, out: Path, model: Path
) -> tuple[dict[str, Any], list[str]]:
    """The row of one case and what to say of it; `whole` is all of its patient, among which masks may be lent."""
    parts, said, seen = _parts(images, whole, setting, out / "artefacts")
    said += dict.fromkeys(f"  note: {note}" for one in seen for note in told_of(model, stored, one))
    patient = str(images["patient"].iloc[0])
    example = Example(patient=patient, unit_id=case, parts=tuple(parts), covariates=_covariates(images))
    there = [p.name for p in parts if p.present]
    row: dict[str, Any] = {"refused": "", "notes": "; ".join(s.strip() for s in said)}
    if not there:
        reason = "no scan of this patient can be used"
        return row | {"refused": reason}, [f"{case}: REFUSED: {reason}", *said]
    try:
        p = stored.predict([example])[0]
    except PhenolensError as error:
        why = f"found {error.found}; expected {error.expected}; {error.todo}"
        return row | {"refused": str(error)}, [f"{case}: REFUSED: {why}", *said]
    made, judged, shown = guarded(stored, example, p)
    made["sequences"] = " ".join(there)
    flag = stored.flags(example)
    if flag:
        said = [*said, f"  read with care: {flag}"]
    made["flag"] = flag
    return made | row, [f"{case}: {shown} from {', '.join(there) or 'one scan'}", *judged, *said]


def _covariates(images: pd.DataFrame) -> dict[str, str]:
    """What the table says of the case beside its files: the site, and columns that a model may harmonise by."""
    told = {"site": UNKNOWN}
    for column in (str(c) for c in images.columns if c not in _OF_FILES):
        values = [str(v) for row in images.to_dict("records") if (v := _given(row, column)) is not None]
        if values:
            told[column] = values[0]
    return told


def _parts(
    images: pd.DataFrame, whole: pd.DataFrame, setting: ScanSetting, root: Path
) -> tuple[list[Part], list[str], list[Seen]]:
    """One part a sequence of the training, absent ones without source, what was left out, and the looks of the rest."""
    identity, store = encoder_identity(setting.encoder), Store(root)
    sources: dict[str, tuple[str, Any]] = {}
    said: list[str] = []
    seen: list[Seen] = []
    for row in images.to_dict("records"):
        name = _given(row, "sequence") or UNNAMED
        if name not in setting.sequences:
            said.append(f"  left out: sequence {name!r}, which the model does not know ({_listed(setting.sequences)})")
            continue
        job = _job(row, whole, setting.mask_from)
        try:
            key = prepare(job, setting.scan, root)
            ask = ScanExtractJob(scan=job, prepared=key)
            done = extract_one(ask, encoder=setting.encoder, identity=identity, settings=setting.scan, root=root)
        except (ImageError, FeatureError) as error:  # a full disk is not the image's own and ends the run
            said.append(f"  left out: {Path(row['path']).name}: found {error.found}; expected {error.expected}")
            continue
        look = str(load_prepared(store, key).facts["look"])
        seen.append(Seen(patient=job.patient, image=job.image, kind=str(name), look=look))
        sources[str(name)] = (job.image, stored_source(store, done, setting.encoder.create().makes))
    blank: tuple[str, Any] = ("", None)
    parts = [Part(name=n, image=sources.get(n, blank)[0], source=sources.get(n, blank)[1]) for n in setting.sequences]
    return parts, said, seen


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
