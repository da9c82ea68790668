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

import pandas as pd

from phenolens.core.errors import ModelError
from phenolens.core.registry import Choice
from phenolens.core.store import Store, key_of
from phenolens.core.types import Example, Split
from phenolens.models.bags import Pooled, in_order
from phenolens.models.checkpoint import Checkpoint
from phenolens.models.contract import Fitted, Model
from phenolens.models.cross import Cross, fit_cross
from phenolens.models.guard import VERSION as GUARD_VERSION
from phenolens.models.guard import Guard, GuardSettings, fit_guard
from phenolens.models.inputs import checked_inputs, inputs_of
from phenolens.models.lent import lent_patients, refuse_lent, taught
from phenolens.models.predict import load_fit
from phenolens.models.record import record, weights_bytes
from phenolens.models.refits import cross_splits, final_split
from phenolens.models.refusals import assert_parts, refuse_absent, refuse_empty, refuse_missing
from phenolens.models.tile_predictions import tile_rows
from phenolens.models.told import Told, ask, bare, flagged, prediction_rows, site_of, voting
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
    """What fitting on one split gives: the model, its guard, predictions of tune and test units, and who was used;
    of a model of tiles also one row a tile, and the patients seen by what the fit began with."""

    fitted: Fitted
    table: pd.DataFrame
    used: Mapping[str, tuple[Example, ...]]
    guard: Guard | None = None
    tiles: pd.DataFrame | None = None
    lent: frozenset[str] = frozenset()


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
    checkpoint: Checkpoint | None = None,
    refit: Callable[[Split], Refitted] | None = None,
) -> Fold:
    """Fit `model` on split.train, stop and choose on split.tune, then predict tune and test units, each once.

    A guard is fitted after the model and before any test unit is predicted; `refit` fits on the splits of its
    cross-conformal sets, which hold no test patient, in place of a plain `run_fold`. Examples of patients who are in no
    part of the split are left alone. The truth of test units is read for the table only and is never handed to the
    model, whose test examples carry no targets. A model of tiles has rows for each vote of them, under `NAME (VOTE)`. A
    model that `resumes` keeps the state of its fit in `checkpoint`. Raises ModelError naming the unit, class or feature
    that makes the fit impossible, and LeakError where a test patient was seen by a model that this one begins with or
    is taught by.
    """
    parts = _parts(split, examples)
    refuse_empty(model, name, split, parts)
    every = [e for part in parts.values() for e in part]
    refuse_missing(model, name, every)
    refuse_absent(task, split, parts["train"])
    if not _condensed(parts["train"][0]):
        inputs = inputs_of(parts["train"][0])
        parts = {part: tuple(checked_inputs(held, inputs)) for part, held in parts.items()}
    assert_parts(split, parts)
    lent = lent_patients(model, parts["train"])
    refuse_lent(lent, split, name)
    more = {"checkpoint": checkpoint} if checkpoint is not None and getattr(model, "resumes", False) else {}
    fitted = model.fit(parts["train"], parts["tune"], task, seed=_seed(seed, split), **more)
    unit = unit or ("patient" if all(e.unit_id == e.patient for e in every) else "image")
    told = {"tune": ask(fitted, parts["tune"], task, name)}
    cross = None
    if guard is not None and guard.crosses and task.kind == "classification":
        splits = cross_splits(split, examples, task, groups=guard.groups, tunes=model.needs_tune)
        again = refit or partial(_again, model, task, examples, seed=seed, name=name, unit=unit)
        cross = fit_cross(map(again, splits), task.classes)
    guards = _guards(guard, parts, told["tune"], task, exact=not model.needs_tune, cross=cross)
    told["test"] = ask(fitted, parts["test"], task, name)
    tables = []
    for part, found in told.items():
        for vote, p in {"": found.p, **found.votes}.items():
            called = voting(name, vote) if vote else name
            rows = flagged(prediction_rows(part, parts[part], p, task, split, called, unit), fitted, parts[part])
            made = guards[vote]
            tables.append(rows if made is None else rows.assign(**made.columns(part, p, bare(parts[part]))))
    table = pd.concat([t for t in tables if len(t)] or tables[:1], ignore_index=True)
    tiles = [
        tile_rows(part, parts[part], found.reads, task, split, name) for part, found in told.items() if found.reads
    ]
    return Fold(
        fitted=fitted,
        table=task.checked(table),
        used=parts,
        guard=guards[""],
        tiles=pd.concat(tiles, ignore_index=True) if tiles else None,
        lent=lent,
    )


def _guards(
    settings: GuardSettings | None,
    parts: Mapping[str, Sequence[Example]],
    told: Told,
    task: Task,
    *,
    exact: bool,
    cross: Cross | None,
) -> dict[str, Guard | None]:
    """The guard of the model, under "", and of each other vote, which shares what the training looks like.

    Cross-conformal sets are those of the model itself: its refits were asked for no other vote.
    """
    own = fit_guard(settings, parts["train"], parts["tune"], told.p, task, exact=exact, cross=cross)
    made = {"": own}
    for vote, p in told.votes.items():
        made[vote] = None
        if settings is not None and own is not None:
            inner = replace(settings, out_of_distribution=False)
            other = fit_guard(inner, parts["train"], parts["tune"], p, task, exact=exact)
            made[vote] = other and replace(other, settings=settings, outside=own.outside, why=own.why)
    return made


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
    identity = job.model.keyed()
    content = _content(job, identity, task, split)
    key = key_of(content)
    checkpoint = Checkpoint(store=store, key=key)
    if store.has("fits", key, ".safetensors") and store.has("predictions", key, ".parquet"):
        checkpoint.clear()
        return key
    unit, name = cast("str | None", job.context.get("unit")), identity["name"]
    how: dict[str, Any] = {"seed": job.seed, "name": name, "unit": unit, "guard": job.guard}
    refit = partial(_stored, job, root)
    fold = run_fold(model, task, split, job.examples, **how, checkpoint=checkpoint, refit=refit)
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
        lent=fold.lent,
    )
    if fold.tiles is not None:
        with store.write("tile_predictions", key, ".parquet", content) as part:
            fold.tiles.to_parquet(part, index=False)
    with store.write("predictions", key, ".parquet", content) as part:
        fold.table.to_parquet(part, index=False)
    with store.write("fits", key, ".safetensors", config) as part:
        part.write_bytes(data)
    checkpoint.clear()
    return key


def _stored(job: FitJob, root: Path, split: Split) -> Refitted:
    """A refit that is stored, or taken from where it is."""
    key = fit(replace(job, split=split, guard=None), root)
    return load_fit(Store(root), key, base=job.model.base).fitted, fits_predictions(Store(root), key)


def fits_predictions(store: Store, key: str) -> pd.DataFrame:
    """The rows of PREDICTION_KEYS, site, split_hash, truth and probabilities that the fit of this key gave."""
    return pd.read_parquet(store.path("predictions", key, ".parquet"))


def fits_tiles(store: Store, key: str) -> pd.DataFrame | None:
    """One row a tile (`tile_predictions.tile_rows`) of the fit of this key; None of a model that judges no tiles."""
    path = store.path("tile_predictions", key, ".parquet")
    return pd.read_parquet(path) if path.exists() else None


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
        facts = [example.patient, example.unit_id, job.upstream[example.unit_id], told, site_of(example)]
        units.append([*facts, *taught(example)])
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


def _condensed(example: Example) -> bool:
    return any(isinstance(p.source, Pooled) for p in example.parts)
