"""How far predictions follow faults of their images, dose by dose: of staining, focus, compression, ink and mounting of
slides; of noise, bias field, voxels, outline and turn of scans.

The images of test patients are read again, spoiled, encoded and shown to the fold's model that never saw the patient.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from phenolens.core.errors import FeatureError, ModelError, StudyError
from phenolens.core.predictions import PREDICTION_KEYS, Predictions
from phenolens.core.registry import MODELS, Choice
from phenolens.core.store import key_of
from phenolens.core.types import Example, Split
from phenolens.evaluate.dose import under_fault
from phenolens.features.examples import examples, slide_parts
from phenolens.features.extract import ExtractJob, extract, stored_slide
from phenolens.models.predict import Stored
from phenolens.scans.disturb import UNITS as OF_SCANS
from phenolens.slides.disturb import DOSES, UNITS, Disturbance
from phenolens.steps import robustness_scans
from phenolens.steps.desk import Desk, Ready
from phenolens.steps.evidence import fold_models
from phenolens.steps.models import Fit, with_batches
from phenolens.steps.slides import Source, choose_tiles, prepare_images

PATIENTS = 40
TILES = 40
"""Most patients and most tiles a unit that are tested: each is read and encoded once a fault and dose."""
NONE = "none"
Fault = Disturbance | robustness_scans.Fault


def measure_robustness(desk: Desk, ready: Ready, splits: Sequence[Split]) -> dict[str, Any]:
    """Every fault at every dose on test patients of the main scheme, first repeat, for every model of their features.

    JSON: patients, units, tiles (or scans, and how many of them are MR), scheme, and rows of model, fault, dose, unit
    (of the dose), measure, value, low, high, n_patients and note; the row of fault "none" is the same images
    undisturbed. `untested` says of every other model of the predictions why it was left out. Features are stored by
    content, so a second call costs little. Raises StudyError where no image can be read again or no model reads what
    they hold.
    """
    names = {m.name.rpartition(":")[2]: m for m in desk.study.model_choices() if _reads_images(desk, m)}
    if not names:
        raise _cannot(desk)
    table = _first_repeat(desk, ready.classes)
    first = [s for s in splits if s.repeat == table["repeat"].min()]
    untested = {str(m): _why(str(m), names) for m in dict.fromkeys(table["model"]) if m not in names}
    table = table[table["model"].isin(names) & table["patient"].isin(balanced(table, PATIENTS))]
    spoil = robustness_scans.spoiled if desk.study.reads == "scan" else _spoiled
    made, counted = spoil(desk, ready, set(table["unit_id"]))
    stored = {
        name: fold_models(desk, [Fit(model=model, split=s, key="") for s in first], model)
        for name, model in names.items()
    }
    rows: list[dict[Any, Any]] = []
    before: Predictions | None = None
    with desk.progress.step("predicting under faults", len(made), "doses") as step:
        for fault, of in made.items():
            kept, refused = _predict(table, stored, of)
            after = Predictions(table=kept, classes=ready.classes)
            before = before or after
            rows += _rows(under_fault(before, after), fault, refused)
            step.advance()
    return {
        "patients": int(table["patient"].nunique()),
        "units": int(table["unit_id"].nunique()),
        **counted,
        "scheme": desk.study.validation.scheme,
        "untested": untested,
        "rows": rows,
    }


def faults() -> list[Disturbance | None]:
    """Undisturbed first, then every fault in doses that grow worse."""
    return [None, *(Disturbance(kind=kind, dose=dose) for kind, doses in DOSES.items() for dose in doses)]


def balanced(table: pd.DataFrame, most: int) -> list[str]:
    """At most `most` patients of a table of predictions, the classes in turn, each in the order of a hash."""
    first = table.sort_values(["patient", "unit_id"]).drop_duplicates("patient")
    turns = [sorted(own["patient"], key=lambda p: key_of(["robustness", p])) for _, own in first.groupby("truth")]
    rank = [(place, c, p) for c, own in enumerate(turns) for place, p in enumerate(own)]
    return [p for _, _, p in sorted(rank)[:most]]


def spread(counts: Sequence[int], most: int) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
    """Which of each image's rows are taken: at most `most` in all, evenly over the rows in their stored order."""
    total = sum(counts)
    taken = np.arange(total) if total <= most else np.linspace(0, total - 1, most).round().astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)])
    return [taken[(taken >= a) & (taken < b)] - a for a, b in pairwise(starts)]


def _reads_images(desk: Desk, model: Choice) -> bool:
    """Whether a model reads what the study's encoder makes of its slides or scans."""
    encoder = desk.study.encoder()
    if encoder is None or desk.study.reads not in ("slide", "scan"):
        return False
    plugin = MODELS.plugin(model.name, base=model.base)[0]
    return plugin.reads == encoder.create().makes and not getattr(plugin, "baseline", False)


def _why(model: str, tested: Mapping[str, Choice]) -> str:
    """Why a model of the predictions is not among those that are shown spoiled images."""
    voter = next((name for name in tested if model.startswith(f"{name} (")), None)
    if voter is not None:
        return f"another vote of the tiles that {voter} judges, which is tested by its own"
    return "a baseline, or it does not read the features of the study's images"


def _cannot(desk: Desk) -> StudyError:
    found = {
        "folder": "features made elsewhere, whose slides are not opened",
        "table": "a table of features, without images",
    }.get(desk.study.reads, "no model that reads the features of its images")
    return StudyError(
        f"{found}: faults of staining, focus, noise or outline cannot be put on its images",
        expected="slides or scans, an encoder and a model of their features",
        todo="name features.encoder, run the study, and ask again; of tables with several readings, the setting stable "
        "of a table model keeps the features that readings agree on",
        where=str(desk.study.folder),
    )


def _first_repeat(desk: Desk, classes: tuple[str, ...]) -> pd.DataFrame:
    """The stored test predictions of the main scheme, first repeat."""
    words = {c: str for c in (*PREDICTION_KEYS, "site", "split_hash", "truth") if c not in ("repeat", "fold")}
    table = pd.read_csv(desk.results / "predictions.csv", dtype=words, keep_default_na=False)
    table = table[(table["scheme"] == desk.study.validation.scheme) & (table["part"] == "test")]
    table = table[table["repeat"] == table["repeat"].min()]
    columns = [*PREDICTION_KEYS, "site", "split_hash", "truth", *(f"p_{c}" for c in classes)]
    return pd.DataFrame(table[columns])


def _spoiled(desk: Desk, ready: Ready, units: set[str]) -> tuple[dict[Fault, dict[str, Example]], dict[str, Any]]:
    """Fault -> unit id -> example, undisturbed first, and how many tiles there are of slides."""
    jobs = _tiles(desk, ready, units)
    made: dict[Fault, dict[str, Example]] = {
        fault: _examples(desk, ready, jobs, of) for fault, of in _features(desk, jobs).items()
    }
    return made, {"tiles": sum(len(j.rows) for of in jobs.values() for j in of)}


def _tiles(desk: Desk, ready: Ready, units: set[str]) -> dict[str, list[ExtractJob]]:
    """unit id -> its slides with the tiles that are tested, a share of those that its prediction was made from."""
    shown = pd.read_csv(desk.results / "images.csv", dtype=str, keep_default_na=False)
    used = set(shown.loc[shown["status"] == "used", "image"])
    jobs = {j.slide.image: j for j in choose_tiles(desk, prepare_images(desk, ready)) if j.slide.image in used}
    chosen: dict[str, list[ExtractJob]] = {}
    for unit, images in ready.units[["unit_id", "images"]].itertuples(index=False, name=None):
        own = [jobs[i] for i in map(str, images) if i in jobs] if unit in units else []
        for job, rows in zip(own, spread([len(j.rows) for j in own], TILES), strict=True):
            if len(rows):
                chosen.setdefault(unit, []).append(replace(job, rows=tuple(job.rows[i] for i in rows)))
    return chosen


def _features(desk: Desk, jobs: Mapping[str, Sequence[ExtractJob]]) -> dict[Disturbance | None, dict[str, Source]]:
    """fault -> image -> features; an image that cannot be encoded under a fault is not in it."""
    encoder = desk.study.encoder()
    assert encoder is not None, "a study of slides names an encoder"
    asked = [replace(job, disturb=f) for own in jobs.values() for job in own for f in faults()]
    made: dict[Disturbance | None, dict[str, Source]] = {f: {} for f in faults()}
    for outcome in extract(asked, encoder, desk.root, workers=desk.workers, progress=desk.progress):
        if outcome.error is None:
            made[outcome.item.disturb][outcome.item.slide.image] = stored_slide(desk.store, outcome.unwrap(), encoder)
        else:
            desk.progress.say(f"left out: {outcome.item.slide.image} under {outcome.item.disturb}: {outcome.error}")
    return made


def _examples(
    desk: Desk, ready: Ready, jobs: Mapping[str, Sequence[ExtractJob]], bags: Mapping[str, Source]
) -> dict[str, Example]:
    """unit id -> example, of the units all of whose tested images could be encoded."""
    whole = {unit for unit, own in jobs.items() if all(j.slide.image in bags for j in own)}
    units = ready.units[ready.units["unit_id"].isin(whole)]
    made, _ = examples(units, slide_parts(units, bags), desk.study.task.target)
    return {e.unit_id: e for e in with_batches(desk, ready, made)}


def _predict(
    table: pd.DataFrame, stored: Mapping[str, Mapping[tuple[int, int], Stored]], of: Mapping[str, Example]
) -> tuple[pd.DataFrame, Mapping[str, int]]:
    """The table with the probabilities of these examples, and how many rows of each model have none."""
    columns = [c for c in table.columns if c.startswith("p_")]
    rows: list[dict[Any, Any]] = []
    refused: dict[str, int] = defaultdict(int)
    for row in table.to_dict("records"):
        example = of.get(row["unit_id"])
        try:
            if example is None:
                refused[row["model"]] += 1
                continue
            p = stored[row["model"]][row["repeat"], row["fold"]].predict([example])[0]
        except (ModelError, FeatureError):  # declared: features that are not finite, or that the model refuses
            refused[row["model"]] += 1
            continue
        rows.append(dict(row) | dict(zip(columns, map(float, p), strict=True)))
    return pd.DataFrame(rows, columns=list(table.columns)), refused


def _rows(measured: pd.DataFrame, fault: Fault, refused: Mapping[str, int]) -> Iterable[dict[Any, Any]]:
    if fault is None:
        kind, dose, unit = NONE, 0.0, ""
    else:
        of = UNITS[fault.kind] if isinstance(fault, Disturbance) else OF_SCANS[fault.kind]
        kind, dose, unit = str(fault.kind), fault.dose, of
    for row in measured.astype(object).where(measured.notna(), None).to_dict("records"):
        lost = refused.get(row["model"], 0)
        notes = [row["note"]] * bool(row["note"]) + [f"{lost} units without a prediction"] * bool(lost)
        yield {"fault": kind, "dose": dose, "unit": unit} | dict(row) | {"note": "; ".join(notes)}
