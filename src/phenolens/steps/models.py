"""From stored features to fitted models, predictions and estimates."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from phenolens.core.compute import run_all
from phenolens.core.errors import ModelError, StudyError, nearest
from phenolens.core.predictions import PREDICTION_KEYS, Predicted, Predictions, SurvivalPredictions
from phenolens.core.registry import Choice
from phenolens.core.store import key_of
from phenolens.core.types import Example, Finding, Part, Split
from phenolens.evaluate.readers import readers
from phenolens.evaluate.score import estimates
from phenolens.evaluate.survival_score import survival_estimates
from phenolens.features.examples import examples
from phenolens.models.fit import FitJob, fit, fits_predictions
from phenolens.models.guard import GuardSettings
from phenolens.models.predict import publish
from phenolens.models.refits import cross_splits
from phenolens.steps import transfer
from phenolens.steps.desk import Desk, Ready, decision_of, write_csv
from phenolens.steps.readers import with_readers
from phenolens.steps.readings import with_readings
from phenolens.steps.states import States
from phenolens.steps.subgroups import measure_subgroups, with_subgroups


@dataclass(frozen=True, kw_only=True)
class Fit:
    """One fitted model: which, on which split (None: all development patients), and its key in the store."""

    model: Choice
    split: Split | None
    key: str


def make_examples(
    desk: Desk, ready: Ready, states: States, parts: Mapping[str, Sequence[Part]]
) -> tuple[list[Example], dict[str, str], list[str]]:
    """Examples of every unit with features, the key of each one's content, and the units without any."""
    asked = desk.study.task
    known = dict(zip(asked.outcome, ("time", "event"), strict=True)) if desk.study.survives else asked.target
    made, empty = examples(ready.units, parts, known)
    made = with_readings(desk, ready, states, with_batches(desk, ready, made))
    keys = {e.unit_id: _content(e, states) for e in made}
    return made, keys, empty


def with_batches(desk: Desk, ready: Ready, made: list[Example]) -> list[Example]:
    """Examples with the columns of the patients table that models harmonise by (combat: scanner) as covariates.

    Raises StudyError where the column is not there or is the target: what is predicted may not guide its correction.
    """
    wanted = {str(c.params["combat"]) for c in desk.study.model_choices() if c.params.get("combat")} - {"site"}
    for column in sorted(wanted):
        have = [str(c) for c in ready.cohort.patients.columns if c not in desk.study.task.outcome]
        if column not in have:
            found = f"combat: {column}" + (", which is the target" if column in desk.study.task.outcome else "")
            todo = f"name a column that says where or on what an image was made{nearest(column, have)}"
            raise StudyError(found, expected=f"site, or one of {', '.join(have)}", todo=todo)
        of = ready.cohort.patients[column]
        made = [replace(e, covariates={**e.covariates, column: str(of[e.patient])}) for e in made]
    return made


def _content(example: Example, states: States) -> str:
    parts = [(p.name, states[p.image].features if p.present else None) for p in example.parts]
    content = [parts, dict(example.targets), dict(example.covariates)]
    again = [[[_recipe(p) for p in r] for r in of] for of in (example.readings, *example.readings_elsewhere)]
    return key_of([*content, again] if any(again) else content)


def _recipe(part: Part) -> str | None:
    bag = part.load()
    return None if bag is None else bag.recipe


def fit_models(
    desk: Desk,
    ready: Ready,
    splits: Sequence[Split],
    made: Sequence[Example],
    keys: Mapping[str, str],
    context: Mapping[str, Any],
) -> list[Fit]:
    """Fit every model on every split and once on all development patients; stored ones are not fitted again."""
    held = {p for s in splits if s.scheme == "holdout" for p in s.test}
    jobs: list[FitJob] = []
    asked: list[Split | None] = [*splits, None]
    models = desk.study.model_choices()
    for split, taught in zip(asked, transfer.teaching(desk, models[0].name, asked, made), strict=True):
        patients = split.train | split.tune | split.test if split else {e.patient for e in made} - held
        inside = tuple(e for e in taught if e.patient in patients)
        for model in models:
            jobs.append(
                FitJob(
                    model=transfer.starting(desk, model, split),
                    task=ready.task(desk.study),
                    split=split,
                    examples=inside,
                    upstream={e.unit_id: keys[e.unit_id] for e in inside},
                    seed=desk.study.seed,
                    context=context,
                    tune=desk.study.validation.tune,
                    guard=GuardSettings(**desk.study.guard.model_dump()),
                )
            )
    _refuse_groups(jobs)
    fits: list[Fit] = []
    with desk.progress.step("fitting models", len(jobs), "fits") as step:
        for outcome in run_all(partial(fit, root=desk.root), jobs, workers=desk.workers):
            fits.append(Fit(model=outcome.item.model, split=outcome.item.split, key=outcome.unwrap()))
            step.advance()
    return fits


def _refuse_groups(jobs: Sequence[FitJob]) -> None:
    """Stop before anything is fitted where the groups of cross-conformal sets cannot be made; raises StudyError."""
    for job in jobs:
        if job.guard is not None and job.guard.crosses:
            tunes = job.model.create().needs_tune
            cross_splits(job.final_or_split(), job.examples, job.task.create(), groups=job.guard.groups, tunes=tunes)


def gather(desk: Desk, ready: Ready, fits: Sequence[Fit]) -> Predicted:
    """All predictions of the fold models as one table, written to results/predictions.csv."""
    tables = [fits_predictions(desk.store, f.key) for f in fits if f.split is not None]
    if not tables:
        raise ModelError("no predictions", expected="at least one split", todo="check the validation section")
    whole = pd.concat(tables, ignore_index=True).sort_values(list(PREDICTION_KEYS), ignore_index=True)
    whole = with_columns(desk, ready, whole)
    write_csv(desk.results / "predictions.csv", whole)
    return predictions_of(desk, ready, whole)


def predictions_of(desk: Desk, ready: Ready, table: pd.DataFrame) -> Predicted:
    """The table as the type that evaluation reads."""
    if desk.study.survives:
        task = ready.task(desk.study).create()
        return SurvivalPredictions(table=table, times=task.times, horizons=task.horizons)
    return Predictions(table=table, classes=ready.classes)


def with_columns(desk: Desk, ready: Ready, table: pd.DataFrame) -> pd.DataFrame:
    """The table with what the study says of each patient: the calls of readers, `r_NAME`, and subgroups, `g_NAME`."""
    read = with_readers(table, ready.cohort.patients, desk.study.readers, ready.classes)
    return with_subgroups(desk, ready, read)


def measure(desk: Desk, predictions: Predicted) -> pd.DataFrame:
    """Estimates with intervals, written to results/estimates.csv; beside them readers.csv and subgroups.csv.

    Patients are called at the study's threshold.
    """
    beside = pd.DataFrame()
    if isinstance(predictions, SurvivalPredictions):
        table = survival_estimates(predictions)
    else:
        called = decision_of(desk.study, predictions.classes)
        table = estimates(predictions, params=dict.fromkeys(("sensitivity", "specificity"), called))
        beside = readers(predictions)
    measure_subgroups(desk, predictions)
    write_csv(desk.results / "estimates.csv", table)
    if len(beside):
        write_csv(desk.results / "readers.csv", beside)
    else:
        (desk.results / "readers.csv").unlink(missing_ok=True)
    return table


def folder_of(desk: Desk, fit_: Fit) -> Path:
    """results/models/NAME/{final, REPEAT-FOLD, SCHEME-REPEAT-FOLD}."""
    name = fit_.model.name.rpartition(":")[2]
    if fit_.split is None:
        return desk.results / "models" / name / "final"
    main = fit_.split.scheme == desk.study.validation.scheme
    place = f"{fit_.split.repeat}-{fit_.split.fold}"
    return desk.results / "models" / name / (place if main else f"{fit_.split.scheme}-{place}")


def publish_models(desk: Desk, fits: Sequence[Fit]) -> None:
    """Copy weights and configuration of every fit from the store to results/models; others found there are removed."""
    folders = {folder_of(desk, one): one for one in fits}
    for folder, one in folders.items():
        publish(desk.store, one.key, folder)
    for stale in (desk.results / "models").glob("*/*"):
        if stale not in folders:
            shutil.rmtree(stale)
            if not any(stale.parent.iterdir()):
                stale.parent.rmdir()


def note_holdout_reads(desk: Desk, fits: Sequence[Fit]) -> list[Finding]:
    """Keep count of the runs that have read the locked test set; a second one, by any model, is a warning."""
    path = desk.study.base / "holdout_reads.csv"
    held = [f for f in fits if f.split is not None and f.split.scheme == "holdout"]
    if not held:
        return []
    known = pd.read_csv(path, dtype={"model": str, "fit": str}) if path.exists() else None
    read = 1 if known is None else int(known["read"].max()) + 1
    seen = set() if known is None else set(known["fit"])
    new = pd.DataFrame([{"read": read, "model": f.model.name, "fit": f.key} for f in held if f.key not in seen])
    table = pd.concat([t for t in (known, new) if t is not None and len(t)], ignore_index=True)
    if len(new):
        write_csv(path, table)
    read = table["read"].nunique()
    if read == 1:
        return []
    told = "; ".join(f"{n}: {', '.join(sorted(rows['model']))}" for n, rows in table.groupby("read"))
    return [
        Finding(
            rule="holdout-read-again",
            severity="warning",
            what=f"the locked holdout was read {read} times, each by other models or settings ({told})",
            todo="report the first result; a holdout that was used to choose is no longer a test set",
            where=path.name,
        )
    ]
