"""A metric on one test set: its values, why there are none, and the interval that one set allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.core.store import key_of
from phenolens.core.types import Interval
from phenolens.evaluate import interval as limits
from phenolens.evaluate.metric import single_of
from phenolens.evaluate.sets import Sets, Spread, Units

Key = tuple[str, str | None]
"""A metric's name and a part (a class, a horizon), or None where the metric is one number."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number before it becomes a row; `variance` is its sampling variance where it was measured on one test set."""

    value: float | None = None
    interval: Interval | None = None
    variance: float | None = None
    method: str = ""
    note: str = ""


def on_one_set(group: Sets, chosen: Mapping[str, Any]) -> dict[Key, Cell]:
    """Every metric on the one test set of the group, with its interval and variance."""
    fold = group.folds[0]
    seed = seed_of(group, fold)
    resampled = {n: m for n, m in chosen.items() if _is_resampled(m, fold)}
    drawn = group.draws(fold, resampled, seed) if resampled else {}
    cells: dict[Key, Cell] = {}
    for name, metric in chosen.items():
        values, why = group.values(metric, fold)
        for part in group.parts(metric):
            if part not in values:
                cells[name, part] = Cell(note=f"not estimable: {why[part]}")
                continue
            if name in resampled:
                made, variance = _from_draws(drawn.get((name, part)))
            else:
                made, variance = group.by_formula(metric, fold, part, seed)
            note = "" if made else "no interval: its spread cannot be told from one test set like this"
            cells[name, part] = Cell(
                value=values[part], interval=made, variance=variance, method="one test set", note=note
            )
    return cells


def _is_resampled(metric: Any, fold: Units) -> bool:
    return single_of(metric) != "own" and (fold.clustered or single_of(metric) == "bootstrap")


def seed_of(group: Sets, fold: Units) -> int:
    """The seed of the resamples of a test set: the same for every model, so that models are resampled alike."""
    names = {k: v for k, v in group.key.items() if k != "model"}
    return int(key_of(["bootstrap", names, *fold.name[:2], sorted(set(map(str, fold.site)))]), 16) % 2**63


def _from_draws(values: npt.NDArray[np.float64] | None) -> Spread:
    if values is None or len(values) < 2:
        return None, None
    return limits.percentile_interval(values), float(values.var(ddof=1))
