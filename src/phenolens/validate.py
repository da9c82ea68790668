"""A stored model on an external cohort with labels: the whole evaluation, and nothing refitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from phenolens.core.errors import LeakError, ModelError, PhenolensError
from phenolens.core.progress import Progress
from phenolens.core.signoff import signed
from phenolens.core.store import canonical, study_lock
from phenolens.core.types import Example, Finding, Split
from phenolens.evaluate.folds import EXTERNAL
from phenolens.features.extract import encoder_identity
from phenolens.models.predict import Stored, load_model
from phenolens.models.told import prediction_rows
from phenolens.sections import SEGMENTATION
from phenolens.steps import cohort as cohorts
from phenolens.steps import duplicates, models, records, rooms
from phenolens.steps.context import context_of
from phenolens.steps.desk import Desk, Ready, write_csv
from phenolens.steps.stored_setting import study_folder
from phenolens.study import Study

_OF_DEVELOPMENT = ("sample-size", "features-elsewhere")
"""Findings about making a model, of which nothing is made here."""
_SECTIONS = ("region", "tiles", "scan", "quality")


@dataclass(frozen=True, kw_only=True)
class Told:
    """Units that were predicted, as rows of the predictions table, and those that were refused with the reason."""

    rows: pd.DataFrame
    refused: Mapping[str, str]


def validate_model(
    model: Path, folder: Path, *, workers: int | None = None, progress: Progress | None = None
) -> list[str]:
    """Predict the external cohort of `folder` with a stored model and measure it; writes results/ there.

    `folder` holds a study.yaml that names the tables; how images are read and what is predicted stand in the model and
    may be left out, and may not be said otherwise. A patient who trained the model is refused. Returns lines for a
    person. Raises PhenolensError with what to do.
    """
    base = study_folder(model)
    stored = load_model(model, base=base)
    study = Study.load(folder, given=given_by(stored, base))
    desk = Desk(study=study, workers=workers, progress=progress or Progress(), every_class=False)
    with study_lock(study.base):
        desk.sweep()
        return _validate(desk, stored, model)


def given_by(stored: Stored, base: Path) -> dict[str, Any]:
    """The sections of a study file that a stored model settles: features, region, tiles, scan, quality, task, model."""
    context, task = stored.config["context"], stored.config["task"]
    if task["name"] == SEGMENTATION:
        raise ModelError(
            "a model that finds masks",
            expected="a model that predicts patients, images or lesions",
            todo="run the external cohort as a segmentation study, or predict its masks with phenolens predict",
        )
    given: dict[str, Any] = {name: context[name] for name in _SECTIONS if context.get(name)}
    if (chosen := context.get("encoder_choice")) is not None:
        given["features"] = {"encoder": chosen["name"], **_placed(chosen["params"], base)}
    asked = {k: v for k, v in task["parameters"].items() if k != "target"}
    given["task"] = {"kind": task["name"], "unit": context["unit"], **asked}
    choice = stored.config["model"]["choice"]
    given["models"] = [{_placed_plugin(choice["name"], base): choice["parameters"]}]
    plain: dict[str, Any] = _plain(given)
    return plain


def _placed(params: Mapping[str, Any], base: Path) -> dict[str, Any]:
    weights = params.get("weights")
    return {**params, "weights": str((base / weights).resolve())} if isinstance(weights, str) else dict(params)


def _placed_plugin(name: str, base: Path) -> str:
    """A lab's own model is found where its study lies."""
    file, _, attribute = name.rpartition(":")
    return f"{(base / file).resolve()}:{attribute}" if file.endswith(".py") else name


def _plain(value: Any) -> Any:
    """Tuples as lists, as YAML gives them; absent values left out."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items() if v is not None}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _validate(desk: Desk, stored: Stored, model: Path) -> list[str]:
    ready = cohorts.read_cohort(desk)
    cohorts.refuse(list(ready.findings))
    _refuse_trained(stored, ready, desk)
    _refuse_encoder(desk, stored)
    room = rooms.room_of(desk)
    states = room.prepare_images(desk, ready)
    copies = signed(duplicates.told_of_cohort(states, model), desk.study.sign_offs)
    cohorts.refuse(copies)
    sources = room.extract_features(desk, ready, states)
    records.write_images(desk, states)
    examples, _, empty = models.make_examples(desk, ready, states, room.parts_of(desk, ready, sources))
    told = _predicted(desk, ready, stored, examples)
    write_csv(desk.results / "predictions.csv", told.rows)
    predictions = models.predictions_of(desk, ready, told.rows)
    models.measure(desk, predictions)
    known = [f for f in ready.findings if f.rule not in _OF_DEVELOPMENT]
    findings = [*known, *copies, *_refused(told.refused)]
    records.write_findings(desk, findings)
    flow = records.flow(ready, states, [*empty, *told.refused], len(told.rows))
    context = context_of(desk, ready)
    records.write_manifest(desk, ready, [], flow, context, {"external": origin(stored, model)})
    return _lines(desk, told, stored)


def _refuse_trained(stored: Stored, ready: Ready, desk: Desk) -> None:
    seen = stored.seen(ready.cohort.patients.index)
    if seen:
        shown = ", ".join(seen[:8]) + (", …" if len(seen) > 8 else "")
        raise LeakError(
            f"{len(seen)} patients of the external cohort among those the model was trained on: {shown}",
            expected="patients that the model never saw",
            todo="leave them out with where:, or, if they are other people under equal numbers, give them other ids",
            where=str(desk.study.folder),
        )


def _refuse_encoder(desk: Desk, stored: Stored) -> None:
    """Stop before an image is read when this machine's encoder is not the one of the training."""
    encoder = desk.study.encoder()
    found = None if encoder is None else canonical(encoder_identity(encoder))
    known = stored.config["context"].get("encoder")
    wanted = None if known is None else canonical(known)
    if found != wanted:
        raise ModelError(
            f"features of {found or 'no encoder'}",
            expected=f"those of the training: {wanted or 'made elsewhere'}",
            todo="install the phenolens and the weights the study was run with, or give the features it was given",
        )


def _predicted(desk: Desk, ready: Ready, stored: Stored, examples: Sequence[Example]) -> Told:
    """Every unit by itself: one that the model cannot take is refused by name, and the others go on."""
    task = ready.task(desk.study).create()
    everyone = frozenset(e.patient for e in examples)
    split = Split(scheme=EXTERNAL, repeat=0, fold=0, train=frozenset(), tune=frozenset(), test=everyone, seed=0)
    name = stored.config["model"]["name"]
    tables: list[pd.DataFrame] = []
    refused: dict[str, str] = {}
    with desk.progress.step("predicting", len(examples), f"{desk.study.task.unit}s") as step:
        for example in examples:
            try:
                p = stored.predict([replace(example, targets={})])
                row = prediction_rows("test", [example], p, task, split, name, desk.study.task.unit)
                bare = [replace(example, targets={})]
                more = {} if stored.guard is None else stored.guard.columns("test", p, bare)
                tables.append(row.assign(flag=stored.flags(example), **more))
            except PhenolensError as error:
                refused[example.unit_id] = str(error)
            step.advance()
    if not tables:
        why = next(iter(refused.values()), "no unit has features")
        raise ModelError(
            f"no unit that the model can predict among {len(examples)} ({why})",
            expected="images and features like those of the training",
            todo="see results/quarantine.csv",
            where=str(desk.study.folder),
        )
    rows = pd.concat(tables, ignore_index=True).sort_values(["patient", "unit_id"], ignore_index=True)
    return Told(rows=models.with_columns(desk, ready, rows), refused=refused)


def _refused(refused: Mapping[str, str]) -> list[Finding]:
    return [
        Finding(
            rule="unit-refused",
            severity="warning",
            what=f"{unit} could not be predicted by the stored model: {why}",
            todo="mend it, or report how many were refused beside the figures",
            who=(unit,),
        )
        for unit, why in sorted(refused.items())
    ]


def origin(stored: Stored, model: Path) -> dict[str, Any]:
    """Which model this was, and what it was made from."""
    config = stored.config
    return {
        "model": config["model"]["name"],
        "folder": model.name,
        "key": config["key"],
        "training_patients": config["training"]["count"],
        "training_hash": config["training"]["hash"],
        "versions": config["versions"],
    }


def _lines(desk: Desk, told: Told, stored: Stored) -> list[str]:
    patients = told.rows["patient"].nunique()
    lines = [
        f"{stored.config['model']['name']}: {len(told.rows)} units of {patients} patients predicted, nothing refitted"
    ]
    lines += [f"  refused: {unit}: {why}" for unit, why in sorted(told.refused.items())]
    return [*lines, f"estimates: {desk.results / 'estimates.csv'}"]
