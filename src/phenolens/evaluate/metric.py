"""What a metric is, when it cannot be computed, and the few sums that metrics share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    """The metric has no value on these units; the text says why and goes into the note of the estimate.

    `of_folds` is what is said of the folds of a cross-validation that are left out for this reason; empty says what
    `Sets.lacks` says.
    """

    def __init__(self, why: str, *, of_folds: str = "") -> None:
        super().__init__(why)
        self.of_folds = of_folds


class Metric(Protocol):
    """One file behind the door `metrics` that reads probabilities (`survival_folds.SurvivalMetric` reads survival).

    `reads` is what it is computed from ("probabilities"), `better` the good direction ("target": the nearer to its
    `target`, the better), `per_class` whether `compute` gives one number a class.

    What a plug-in may leave out: `floor`, how many patients with and without each class an estimate needs (0);
    `score` applies it to the patients of the whole scheme, so `compute` only raises where there is no value at all.
    `least`, how many patients each test set needs (0). `advised`, how many patients with and without the class make an
    estimate more than exploratory (0). `bounds`, which clip intervals. `remark`, what is said beside every estimate.
    `positive`, the one class of a metric per class that is asked for. `single`, the interval on one test set:
    "delong", "wilson" (of the counts that its method `counted(truth, p, classes, part)` gives) and "own" (what its
    method `on_one_set(truth, p, patient, classes, part, seed)` gives: interval and variance, either may be None);
    "bootstrap" is the default, and stands in for the first two where a patient has several units. Two methods only save
    time: `resampled(truth, p, classes, counts)` gives the value of each resample, (draws,), NaN where there is none,
    `counts` (draws, n) saying how often a unit is drawn; `swap_gains(truth, a, b, classes)`, where the difference of
    two models a and b is linear in the units whose predictions change places, what each adds to it, (n,).
    """

    version: ClassVar[int]
    summary: ClassVar[str]
    reads: ClassVar[str]
    better: ClassVar[Literal["higher", "lower", "target"]]
    per_class: ClassVar[bool]

    def compute(
        self, truth: Truth, p: Probabilities, classes: Sequence[str]
    ) -> float | Mapping[str, float | NotEstimable]:
        """The value on the given units, or one a class; a class without one is left out, or given its reason.

        Raises:
            NotEstimable: no value can be computed on these units.
        """
        ...


def metrics_reading(
    kind: str, names: Sequence[str] | None = None, params: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """The named metrics (default: all behind the door) that are computed from `kind`: "probabilities" or "survival".

    `params` gives the parameters of a metric by its name; the others keep their defaults.

    Raises:
        PluginError: an unknown metric, or one that reads something else.
    """
    wanted = METRICS.names() if names is None else names
    made = {name: METRICS.create(name, (params or {}).get(name)) for name in wanted}
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
    metric: Any, parts: Sequence[str | None], absent: str, *units: Any
) -> tuple[dict[str | None, float], dict[str | None, NotEstimable]]:
    """The metric on the given units (what its `compute` takes) by part, and for each part without a value the reason.

    A part is a class or a horizon, None where the metric is one number; `absent` is said of a part that `compute` left
    out.
    """
    try:
        made = metric.compute(*units)
    except NotEstimable as reason:
        return {}, dict.fromkeys(parts, reason)
    if not isinstance(made, Mapping):
        return {None: float(made)}, {}
    found = {part: made.get(part, NotEstimable(absent)) for part in parts}
    why = {part: value for part, value in found.items() if isinstance(value, NotEstimable)}
    return {part: float(value) for part, value in found.items() if not isinstance(value, NotEstimable)}, why


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


def least_of(metric: Metric) -> int:
    """How many patients each test set needs."""
    return int(getattr(metric, "least", 0))


def advised_of(metric: Metric) -> int:
    """How many patients with and without a class make an estimate of it more than exploratory."""
    return int(getattr(metric, "advised", 0))


def remark_of(metric: Metric) -> str:
    """What is said beside every estimate of the metric."""
    return str(getattr(metric, "remark", ""))


def parts_of(metric: Metric, classes: Sequence[str]) -> list[str | None]:
    """What the metric is asked for: each class or the positive one, or None where it is one number."""
    if not metric.per_class:
        return [None]
    positive = getattr(metric, "positive", None)
    return [*classes] if positive is None else [str(positive)]


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


def by_class(
    of: Callable[[npt.NDArray[np.float64], npt.NDArray[np.bool_]], float],
    truth: Truth,
    p: Probabilities,
    classes: Sequence[str],
) -> dict[str, float | NotEstimable]:
    """`of(probability of the class, whether it is the class)` for each class, or the reason why it has no value."""
    found: dict[str, float | NotEstimable] = {}
    for i, name in enumerate(classes):
        positive = truth == i
        if positive.all() or not positive.any():
            found[name] = NotEstimable("the test set has no patient with, or none without, the class")
            continue
        try:
            found[name] = of(p[:, i], positive)
        except NotEstimable as reason:
            found[name] = reason
    return found


def predicted(p: Probabilities) -> Truth:
    """The most probable class of each unit; the first of equals."""
    guess: Truth = p.argmax(1).astype(np.int64)
    return guess


def confusion_matrix(truth: Truth, p: Probabilities) -> npt.NDArray[np.int64]:
    """Counts of shape (k, k): row the true class, column the most probable one."""
    k = p.shape[1]
    return np.bincount(truth * k + predicted(p), minlength=k * k).reshape(k, k)


def confusion_matrices(truth: Truth, p: Probabilities, counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The confusion matrix of each resample, (draws, k, k); `counts` (draws, n) says how often a unit is drawn."""
    k = p.shape[1]
    cells = np.eye(k * k)[truth * k + predicted(p)]
    found: npt.NDArray[np.float64] = (counts @ cells).reshape(len(counts), k, k)
    return found


def recalls(truth: Truth, p: Probabilities) -> npt.NDArray[np.float64]:
    """The share found of each class that occurs; classes that do not occur are left out."""
    counts = confusion_matrix(truth, p)
    there = counts.sum(1) > 0
    shares: npt.NDArray[np.float64] = counts.diagonal()[there] / counts.sum(1)[there]
    return shares


def mean_recalls(truth: Truth, p: Probabilities, counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The mean of `recalls` in each resample, (draws,)."""
    found = confusion_matrices(truth, p, counts)
    there = found.sum(2)
    shares = found.diagonal(axis1=1, axis2=2) / np.maximum(there, 1)
    means: npt.NDArray[np.float64] = shares.sum(1) / (there > 0).sum(1)
    return means
