"""A metric on one test set: its values, why there are none, and the interval that one set allows."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from phenolens.core.store import key_of
from phenolens.core.types import Interval
from phenolens.evaluate import interval as limits
from phenolens.evaluate.folds import Fold, Group
from phenolens.evaluate.metric import Metric, NotEstimable, Probabilities, Truth, parts_of, single_of

Key = tuple[str, str | None]
"""A metric's name and a class, or None where the metric is one number."""
Spread = tuple[Interval | None, float | None]
"""An interval and a sampling variance, either None where it cannot be told."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number before it becomes a row; `variance` is its sampling variance where it was measured on one test set."""

    value: float | None = None
    interval: Interval | None = None
    variance: float | None = None
    method: str = ""
    note: str = ""


def values_of(
    metric: Metric, truth: Truth, p: Probabilities, classes: Sequence[str]
) -> tuple[dict[str | None, float], dict[str | None, NotEstimable]]:
    """The metric's value by class (None: the one number), and for each class without one the reason."""
    parts = parts_of(metric, classes)
    try:
        made = metric.compute(truth, p, classes)
    except NotEstimable as reason:
        return {}, dict.fromkeys(parts, reason)
    if not isinstance(made, Mapping):
        return {None: float(made)}, {}
    absent = NotEstimable("the test set has no patient with, or none without, it")
    found = {part: made.get(str(part), absent) for part in parts}
    why = {part: value for part, value in found.items() if isinstance(value, NotEstimable)}
    return {part: float(value) for part, value in found.items() if not isinstance(value, NotEstimable)}, why


def on_one_set(group: Group, chosen: Mapping[str, Metric]) -> dict[Key, Cell]:
    """Every metric on the one test set of the group, with its interval and variance."""
    fold = group.folds[0]
    resampled = {n: m for n, m in chosen.items() if _is_resampled(m, fold)}
    drawn = _bootstrap(group, fold, resampled)
    cells: dict[Key, Cell] = {}
    for name, metric in chosen.items():
        values, why = values_of(metric, fold.truth, fold.p, group.classes)
        for part in parts_of(metric, group.classes):
            if part not in values:
                cells[name, part] = Cell(note=f"not estimable: {why[part]}")
                continue
            if name in resampled:
                made, variance = _from_draws(drawn.get((name, part)))
            else:
                made, variance = _by_formula(metric, group, fold, part)
            note = "" if made else "no interval: its spread cannot be told from one test set like this"
            cells[name, part] = Cell(
                value=values[part], interval=made, variance=variance, method="one test set", note=note
            )
    return cells


def _is_resampled(metric: Metric, fold: Fold) -> bool:
    return single_of(metric) != "own" and (fold.clustered or single_of(metric) == "bootstrap")


def _bootstrap(group: Group, fold: Fold, chosen: Mapping[str, Metric]) -> dict[Hashable, npt.NDArray[np.float64]]:
    quick = {name: metric for name, metric in chosen.items() if hasattr(metric, "resampled")}
    slow = {name: metric for name, metric in chosen.items() if name not in quick}

    def statistics(rows: npt.NDArray[np.intp]) -> dict[Hashable, float]:
        truth, p = fold.truth[rows], fold.p[rows]
        found: dict[Hashable, float] = {}
        for name, metric in slow.items():
            values, _ = values_of(metric, truth, p, group.classes)
            found.update({(name, part): value for part, value in values.items()})
        return found

    seed = _seed(group, fold)
    drawn = limits.patient_bootstrap(statistics, fold.patient, seed=seed) if slow else {}
    counts = limits.patient_counts(fold.patient, seed=seed) if quick else None
    for name, metric in quick.items():
        values = cast("Any", metric).resampled(fold.truth, fold.p, group.classes, counts)
        drawn[name, None] = values[~np.isnan(values)]
    return drawn


def _seed(group: Group, fold: Fold) -> int:
    names = {k: v for k, v in group.key.items() if k != "model"}
    return int(key_of(["bootstrap", names, *fold.name[:2], sorted(set(map(str, fold.site)))]), 16) % 2**63


def _from_draws(values: npt.NDArray[np.float64] | None) -> Spread:
    if values is None or len(values) < 2:
        return None, None
    return limits.percentile_interval(values), float(values.var(ddof=1))


def _by_formula(metric: Any, group: Group, fold: Fold, part: str | None) -> Spread:
    kind, classes = single_of(metric), group.classes
    if kind == "own":
        spread: Spread = metric.on_one_set(fold.truth, fold.p, fold.patient, classes, part, _seed(group, fold))
        return spread
    if kind == "wilson":
        right, n = metric.counted(fold.truth, fold.p, classes, part)
        low, high = limits.wilson(right, n)
        return Interval(low=low, high=high, method="one test set, Wilson interval"), right / n * (1 - right / n) / n
    column = classes.index(str(part))
    positive = fold.truth == column
    return limits.delong_interval(fold.p[:, column], positive), limits.delong(fold.p[:, column], positive)[1]
