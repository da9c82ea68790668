"""What a fitted model says of units, and the rows that become of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from phenolens.core.errors import ModelError
from phenolens.core.predictions import PREDICTION_KEYS
from phenolens.core.types import Example, Split
from phenolens.models.contract import Fitted, Probabilities
from phenolens.models.tile_reading import MEAN, Read
from phenolens.tasks._contract import Task


@dataclass(frozen=True, kw_only=True)
class Told:
    """Predictions p (n, columns) of some units; of a model that judges tiles also the other votes, (n, k) each by
    name, and what was read of each unit."""

    p: Probabilities
    votes: Mapping[str, Probabilities] = field(default_factory=dict)
    reads: tuple[Read, ...] = ()


def ask(fitted: Any, examples: Sequence[Example], task: Task, name: str) -> Told:
    """Predictions of examples, which are handed over without their labels; raises ModelError for unsound ones."""
    if not hasattr(fitted, "read"):
        return Told(p=_sound(_predicted(fitted, examples, task), examples, task, name))
    reads = tuple(fitted.read(e) for e in bare(examples))
    pooled = [fitted.pooled(read) for read in reads]
    by = {vote: np.array([p[vote] for p in pooled]) for vote in pooled[0]} if pooled else {}
    main = by.pop(MEAN, np.empty((0, len(task.columns))))
    votes = {vote: _sound(p, examples, task, voting(name, vote)) for vote, p in by.items()}
    return Told(p=_sound(main, examples, task, name), votes=votes, reads=reads)


def voting(name: str, vote: str) -> str:
    """The name a vote other than the model's own has in the predictions."""
    return f"{name} ({vote})"


def _predicted(fitted: Fitted, examples: Sequence[Example], task: Task) -> Probabilities:
    if not examples:
        return np.empty((0, len(task.columns)))
    return np.asarray(fitted.predict(bare(examples)), dtype=np.float64)


def _sound(p: Probabilities, examples: Sequence[Example], task: Task, name: str) -> Probabilities:
    k = len(task.columns)
    wrong = "" if p.shape == (len(examples), k) else f"predictions of shape {p.shape}"
    wrong = wrong or ("" if np.isfinite(p).all() else "predictions that are not finite") or task.unsound(p)
    if wrong:
        raise ModelError(
            f"{wrong} from model '{name}'",
            expected=f"shape {(len(examples), k)}: {', '.join(task.columns[:4])}{', …' if k > 4 else ''}",
            todo="correct the model's predict",
        )
    return p


def flagged(table: pd.DataFrame, fitted: Any, examples: Sequence[Example]) -> pd.DataFrame:
    """The rows with a column `flag` where the model has one: why a prediction is to be read with care, or nothing."""
    if not hasattr(fitted, "flags"):
        return table
    return table.assign(flag=[str(f) for f in fitted.flags(bare(examples))])


def bare(examples: Sequence[Example]) -> list[Example]:
    """The examples without their labels."""
    return [replace(e, targets={}) for e in examples]


def site_of(example: Example) -> str:
    return str(example.covariates.get("site", "unknown"))


def prediction_rows(
    part: str, examples: Sequence[Example], p: Probabilities, task: Task, split: Split, name: str, unit: str
) -> pd.DataFrame:
    """The rows of the predictions table of one part: keys, site, split hash, truth and predictions (n, columns)."""
    keys = ("main", split.scheme, task.target, name, split.repeat, split.fold, part)
    rows = [
        (*keys, e.patient, unit, e.unit_id, site_of(e), split.hash, *task.facts(e), *row)
        for e, row in zip(examples, p.tolist(), strict=True)
    ]
    return pd.DataFrame(rows, columns=[*PREDICTION_KEYS, "site", "split_hash", *task.known, *task.columns])
