"""What a metric is, when it cannot be computed, and the few sums that metrics share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import PluginError
from phenolens.core.registry import METRICS

Truth = npt.NDArray[np.int64]
"""Shape (n,): the index of each unit's class."""
Probabilities = npt.NDArray[np.float64]
"""Shape (n, k): one row a unit, one column a class, in the order of the classes."""


class NotEstimable(Exception):  # noqa: N818  (an answer about the data, not a fault of anyone's)
    """The metric has no value on these units; the text says why and goes into the note of the estimate."""


class Metric(Protocol):
    """One file behind the door `metrics` that reads probabilities (`survival_folds.SurvivalMetric` reads survival).

    `reads` is what it is computed from ("probabilities"), `better` the good direction, `per_class` whether `compute`
    gives one number a class. `floor` is how many patients with and without each class an estimate needs at least (0:
    none); `score` applies it to the patients of the whole scheme, so `compute` only raises where there is no value at
    all. `bounds` clips intervals. `single` names the interval used on one test set with one unit a patient. A plug-in
    may leave out the last three: no floor, no bounds, the bootstrap.
    """

    version: ClassVar[int]
    summary: ClassVar[str]
    reads: ClassVar[str]
    better: ClassVar[Literal["higher", "lower"]]
    per_class: ClassVar[bool]

    def compute(self, truth: Truth, p: Probabilities, classes: Sequence[str]) -> float | Mapping[str, float]:
        """The value on the given units, or one a class (only those that have one).

        Raises:
            NotEstimable: no value can be computed on these units.
        """
        ...


def metrics_reading(kind: str, names: Sequence[str] | None = None) -> dict[str, Any]:
    """The named metrics (default: all behind the door) that are computed from `kind`: "probabilities" or "survival".

    Raises:
        PluginError: an unknown metric, or one that reads something else.
    """
    made = {name: METRICS.create(name) for name in (METRICS.names() if names is None else names)}
    if names is not None:
        for name, metric in made.items():
            if metric.reads != kind:
                raise PluginError(
                    f"metric '{name}', which reads {metric.reads}",
                    expected=f"a metric that reads {kind}",
                    todo=f"choose among {', '.join(metrics_reading(kind))}",
                )
    return {name: metric for name, metric in made.items() if metric.reads == kind}


def values_of(
    metric: Any, *units: Any, missing: str = "the test set has no patient with, or none without, it"
) -> tuple[dict[str | None, float], str]:
    """The metric on the given units (what its `compute` takes) by part (None: the one number), and why parts are
    missing."""
    try:
        value = metric.compute(*units)
    except NotEstimable as reason:
        return {}, str(reason)
    if isinstance(value, Mapping):
        return {name: float(x) for name, x in value.items()}, missing
    return {None: float(value)}, ""


def floor_of(metric: Metric) -> int:
    """How many patients with and without each class the metric needs."""
    return int(getattr(metric, "floor", 0))


def bounds_of(metric: Metric) -> tuple[float, float]:
    """The lowest and highest value the metric can take."""
    low, high = getattr(metric, "bounds", (-np.inf, np.inf))
    return float(low), float(high)


def single_of(metric: Metric) -> str:
    """The interval for one test set with one unit a patient: "delong", "wilson" or "bootstrap"."""
    return str(getattr(metric, "single", "bootstrap"))


def midranks(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Ranks from 1, equal scores sharing the mean of theirs; shape (n,) to (n,)."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    ends = np.append(starts[1:], len(scores))
    ranks = np.empty(len(scores))
    ranks[order] = np.repeat((starts + ends + 1) / 2, ends - starts)
    return ranks


def rank_auc(scores: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve: the share of (positive, negative) pairs in the right order, ties counting one half.

    The Mann-Whitney statistic over its maximum (Hanley & McNeil 1982).

    Raises:
        NotEstimable: no positive or no negative.
    """
    m = int(positive.sum())
    n = len(positive) - m
    if not m or not n:
        raise NotEstimable("the test set has no patient with, or none without, the class")
    return float((midranks(scores)[positive].sum() - m * (m + 1) / 2) / (m * n))


def predicted(p: Probabilities) -> Truth:
    """The most probable class of each unit; the first of equals."""
    guess: Truth = p.argmax(1).astype(np.int64)
    return guess


def confusion_matrix(truth: Truth, p: Probabilities) -> npt.NDArray[np.int64]:
    """Counts of shape (k, k): row the true class, column the most probable one."""
    k = p.shape[1]
    return np.bincount(truth * k + predicted(p), minlength=k * k).reshape(k, k)


def recalls(truth: Truth, p: Probabilities) -> npt.NDArray[np.float64]:
    """The share found of each class that occurs; classes that do not occur are left out."""
    counts = confusion_matrix(truth, p)
    there = counts.sum(1) > 0
    shares: npt.NDArray[np.float64] = counts.diagonal()[there] / counts.sum(1)[there]
    return shares
