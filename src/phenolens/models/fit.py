"""Fitting inside a fold: training sees the training patients, stopping the tune patients, test patients come last.

`run_fold` keeps these rules for any model; `fit` stores what it gives under a key and picks up what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from safetensors.numpy import save

from phenolens.core.errors import LeakError, ModelError
from phenolens.core.predictions import PREDICTION_KEYS
from phenolens.core.registry import Choice
from phenolens.core.store import Store, key_of
from phenolens.core.types import Example, Split
from phenolens.models.bags import Pooled, in_order
from phenolens.models.contract import Fitted, Model, Probabilities
from phenolens.models.cross import fit_cross
from phenolens.models.guard import VERSION as GUARD_VERSION
from phenolens.models.guard import Guard, GuardSettings, fit_guard
from phenolens.models.inputs import checked_inputs, inputs_of
from phenolens.models.predict import load_fit
from phenolens.models.record import record
from phenolens.models.refits import cross_splits, final_split
from phenolens.tasks._contract import Task

VERSION = 1
"""Raised when this file comes to give other numbers from the same job."""
PLACES = ("encoder_choice", "features_folder")
"""Of the context what says where things lie: two studies that differ in it alone have the same fits."""


Refitted = tuple[Fitted, pd.DataFrame]
"""A fitted model and its predictions."""


@dataclass(frozen=True, kw_only=True)
class FitJob:
    """One model on one split; picklable, so that a worker can do it.

    `split` None is the refit on all patients given, with `final_split` for stopping and choosing. `upstream` maps each
    unit id to the key of its features and label. `context` is stored beside the weights as it is (encoder identity
    under "encoder", tile settings under "tiles", stains under "stains", the unit of prediction under "unit"); what
    of it names a place (`PLACES`) stays out of the key. `tune` is the share that a final refit keeps for stopping.
    `guard` is what is fitted beside a classifier; None for nothing.
    """

    model: Choice
    task: Choice
    split: Split | None
    examples: tuple[Example, ...]
    upstream: Mapping[str, str]
    seed: int = 0
    context: Mapping[str, Any] = field(default_factory=dict)
    tune: float = 0.2
    guard: GuardSettings | None = None

    def final_or_split(self) -> Split:
        """The split of this job, or the inner one of a final refit."""
        return self.split or final_split(self.examples, self.task.create(), seed=self.seed, tune=self.tune)


@dataclass(frozen=True, kw_only=True)
class Fold:
    """What fitting on one split gives: the model, its guard, predictions of tune and test units, and who was used."""

    fitted: Fitted
    table: pd.DataFrame
    used: Mapping[str, tuple[Example, ...]]
    guard: Guard | None = None


def run_fold(
    model: Model,
    task: Task,
    split: Split,
    examples: Sequence[Example],
    *,
    seed: int,
    name: str,
    unit: str | None = None,
    guard: GuardSettings | None = None,
    refit: Callable[[Split], Refitted] | None = None,
) -> Fold:
    """Fit `model` on split.train, stop and choose on split.tune, then predict tune and test units, each once.

    A guard is fitted after the model and before any test unit is predicted; `refit` fits on the splits of its
    cross-conformal sets, which hold no test patient, in place of a plain `run_fold`. Examples of patients who are in no
    part of the split are left alone. The truth of test units is read for the table
    only and is never handed to the model, whose test examples carry no targets. Raises ModelError naming the unit,
    class or feature that makes the fit impossible.
    """
    parts = _parts(split, examples)
    _refuse_empty(model, name, split, parts)
    every = [e for part in parts.values() for e in part]
    _refuse_missing(model, name, every)
    task.weights(parts["train"])
    if not _condensed(parts["train"][0]):
        inputs = inputs_of(parts["train"][0])
        parts = {part: tuple(checked_inputs(held, inputs)) for part, held in parts.items()}
    _assert_parts(split, parts)
    fitted = model.fit(parts["train"], parts["tune"], task, seed=_seed(seed, split))
    unit = unit or ("patient" if all(e.unit_id == e.patient for e in every) else "image")
    p = {"tune": _predict(fitted, parts["tune"], task, name)}
    cross = None
    if guard is not None and guard.crosses and task.kind == "classification":
        splits = cross_splits(split, examples, task, groups=guard.groups, tunes=model.needs_tune)
        again = refit or partial(_again, model, task, examples, seed=seed, name=name, unit=unit)
        cross = fit_cross(map(again, splits), task.classes)
    exact = not model.needs_tune
    made = fit_guard(guard, parts["train"], parts["tune"], p["tune"], task, exact=exact, cross=cross)
    p["test"] = _predict(fitted, parts["test"], task, name)
    tables = []
    for part, found in p.items():
        rows = prediction_rows(part, parts[part], found, task, split, name, unit)
        told = _flagged(rows, fitted, parts[part])
        tables.append(told if made is None else told.assign(**made.columns(part, found, _bare(parts[part]))))
    table = pd.concat([t for t in tables if len(t)] or tables[:1], ignore_index=True)
    return Fold(fitted=fitted, table=task.checked(table), used=parts, guard=made)


def _again(
    model: Model, task: Task, examples: Sequence[Example], split: Split, *, seed: int, name: str, unit: str
) -> Refitted:
    fold = run_fold(model, task, split, examples, seed=seed, name=name, unit=unit)
    return fold.fitted, fold.table


def fit(job: FitJob, root: Path) -> str:
    """Fit, predict and store; returns the key of the artefacts `fits` and `predictions` under `root`.

    The weights are renamed last, so that a fit is either whole or not there; one that is there is not done again. The
    refits of cross-conformal sets are stored in the same way, each under a key of its own.
    """
    store = Store(root)
    model, task, split = job.model.create(), job.task.create(), job.final_or_split()
    identity = job.model.identity()
    content = _content(job, identity, task, split)
    key = key_of(content)
    if store.has("fits", key, ".safetensors") and store.has("predictions", key, ".parquet"):
        return key
    fold = run_fold(
        model,
        task,
        split,
        job.examples,
        seed=job.seed,
        name=identity["name"],
        unit=cast("str | None", job.context.get("unit")),
        guard=job.guard,
        refit=partial(_stored, job, root),
    )
    data = weights_bytes(fold.fitted, identity["name"], fold.guard)
    config = record(
        key=key,
        model=job.model,
        task=job.task,
        split=split,
        seed=job.seed,
        context=job.context,
        fold_used=fold.used,
        fitted=fold.fitted,
        data=data,
        guard=fold.guard,
    )
    with store.write("predictions", key, ".parquet", content) as part:
        fold.table.to_parquet(part, index=False)
    with store.write("fits", key, ".safetensors", config) as part:
        part.write_bytes(data)
    return key


def _stored(job: FitJob, root: Path, split: Split) -> Refitted:
    """A refit that is stored, or taken from where it is."""
    key = fit(replace(job, split=split, guard=None), root)
    return load_fit(Store(root), key, base=job.model.base).fitted, fits_predictions(Store(root), key)


def fits_predictions(store: Store, key: str) -> pd.DataFrame:
    """The rows of PREDICTION_KEYS, site, split_hash, truth and probabilities that the fit of this key gave."""
    return pd.read_parquet(store.path("predictions", key, ".parquet"))


def _content(job: FitJob, identity: Mapping[str, Any], task: Task, split: Split) -> dict[str, Any]:
    """What the key of a fit is made of."""
    units = []
    used = split.train | split.tune | split.test
    for example in in_order([e for e in job.examples if e.patient in used]):
        if example.unit_id not in job.upstream:
            raise ModelError(
                f"no upstream key for unit {example.unit_id!r}",
                expected="the key of the features and label of every unit",
                todo="give upstream a key for each example",
            )
        told = list(task.facts(example))
        facts = [example.patient, example.unit_id, job.upstream[example.unit_id], told, _site(example)]
        units.append(facts)
    return {
        "step": "fit",
        "version": VERSION,
        "model": identity,
        "task": job.task.identity(),
        "split": [split.name, split.hash],
        "seed": job.seed,
        "context": {k: v for k, v in job.context.items() if k not in PLACES},
        "units": units,
        **({} if job.guard is None else {"guard": [GUARD_VERSION, asdict(job.guard)]}),
    }


def _seed(seed: int, split: Split) -> int:
    return int(key_of([seed, split.hash])[:8], 16)


def _parts(split: Split, examples: Iterable[Example]) -> dict[str, tuple[Example, ...]]:
    ordered = in_order(list(examples))
    for a, b in pairwise(ordered):
        if a.unit_id == b.unit_id:
            raise ModelError(f"unit {a.unit_id!r} twice", expected="every unit once", todo="remove one of them")
    return {part: tuple(e for e in ordered if e.patient in getattr(split, part)) for part in ("train", "tune", "test")}


def _assert_parts(split: Split, parts: Mapping[str, Sequence[Example]]) -> None:
    """The last look before anything is learnt: no patient of one part in another."""
    for part, held in parts.items():
        strangers = sorted({e.patient for e in held} - getattr(split, part))
        if strangers:
            raise LeakError(
                f"patient {strangers[0]!r} in {part} of {split.name}",
                expected="patients of that part only",
                todo="this is a fault of the program: report it",
            )


def _refuse_empty(model: Model, name: str, split: Split, parts: Mapping[str, Sequence[Example]]) -> None:
    wanted = ("train", "tune") if model.needs_tune else ("train",)
    for part in wanted:
        if not parts[part]:
            raise ModelError(
                f"no unit with features among the {len(getattr(split, part))} {part} patients of {split.name}",
                expected=f"at least one for model '{name}'",
                todo="see quarantine.csv for their images, or make the splits again",
            )


def _refuse_missing(model: Model, name: str, examples: Iterable[Example]) -> None:
    if model.accepts_missing:
        return
    for example in examples:
        absent = [p.name for p in example.parts if p.source is None]
        if absent:
            raise ModelError(
                f"part {absent[0]!r} of unit {example.unit_id!r} absent",
                expected=f"every part there, since model '{name}' does not accept missing ones",
                todo="leave the part or the unit out, or choose a model that accepts missing parts",
            )


def _condensed(example: Example) -> bool:
    return any(isinstance(p.source, Pooled) for p in example.parts)


def weights_bytes(fitted: Fitted, name: str, guard: Guard | None = None) -> bytes:
    """The weights, and those of a guard, as safetensors, equal for equal weights; ModelError when one is not finite.

    Arrays are made contiguous first: safetensors stores a transposed one as if it were not transposed.
    """
    every = {**fitted.weights(), **({} if guard is None else guard.weights())}
    weights = {key: np.ascontiguousarray(value) for key, value in sorted(every.items())}
    for key, value in weights.items():
        if not np.isfinite(value).all():
            raise ModelError(
                f"weights '{key}' of model '{name}' that are not finite",
                expected="finite weights",
                todo="look for extreme features, or lower the learning rate",
            )
    data: bytes = save(weights)
    return data


def _predict(fitted: Fitted, examples: Sequence[Example], task: Task, name: str) -> Probabilities:
    """Predictions (n, len(task.columns)) of examples that carry no targets."""
    k = len(task.columns)
    if not examples:
        return np.empty((0, k))
    p = np.asarray(fitted.predict(_bare(examples)), dtype=np.float64)
    wrong = "" if p.shape == (len(examples), k) else f"predictions of shape {p.shape}"
    wrong = wrong or ("" if np.isfinite(p).all() else "predictions that are not finite") or task.unsound(p)
    if wrong:
        raise ModelError(
            f"{wrong} from model '{name}'",
            expected=f"shape {(len(examples), k)}: {', '.join(task.columns[:4])}{', …' if k > 4 else ''}",
            todo="correct the model's predict",
        )
    return p


def _flagged(table: pd.DataFrame, fitted: Fitted, examples: Sequence[Example]) -> pd.DataFrame:
    """The rows with a column `flag` where the model has one: why a prediction is to be read with care, or nothing."""
    if not hasattr(fitted, "flags"):
        return table
    return table.assign(flag=[str(f) for f in fitted.flags(_bare(examples))])


def _bare(examples: Sequence[Example]) -> list[Example]:
    """The examples without their labels."""
    return [replace(e, targets={}) for e in examples]


def _site(example: Example) -> str:
    return str(example.covariates.get("site", "unknown"))


def prediction_rows(
    part: str, examples: Sequence[Example], p: Probabilities, task: Task, split: Split, name: str, unit: str
) -> pd.DataFrame:
    """The rows of the predictions table of one part: keys, site, split hash, truth and predictions (n, columns)."""
    keys = ("main", split.scheme, task.target, name, split.repeat, split.fold, part)
    rows = [
        (*keys, e.patient, unit, e.unit_id, _site(e), split.hash, *task.facts(e), *row)
        for e, row in zip(examples, p.tolist(), strict=True)
    ]
    return pd.DataFrame(rows, columns=[*PREDICTION_KEYS, "site", "split_hash", *task.known, *task.columns])
