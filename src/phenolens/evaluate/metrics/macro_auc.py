"""Mean of the one-vs-rest areas under the ROC curve over all classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from phenolens.evaluate.metric import NotEstimable, Probabilities, Truth, rank_auc


@dataclass(frozen=True, kw_only=True)
class MacroAuc:
    """The plain mean of the one-vs-rest areas; with two classes it is the usual area under the curve.

    Every class must occur: a mean over the classes that happen to be there would be another quantity in each fold.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Mean over classes of the one-vs-rest area under the ROC curve."
    reads: ClassVar[str] = "probabilities"
    better: ClassVar[Literal["higher", "lower"]] = "higher"
    per_class: ClassVar[bool] = False
    floor: ClassVar[int] = 10
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def compute(self, truth: Truth, p: Probabilities, classes: Sequence[str]) -> float:
        """The mean area; `NotEstimable` where a class does not occur or is the only one."""
        missing = [name for i, name in enumerate(classes) if not (truth == i).any()]
        if missing:
            raise NotEstimable(f"the test set has no patient with {', '.join(missing)}")
        return float(np.mean([rank_auc(p[:, i], truth == i) for i in range(len(classes))]))

    def resampled(
        self, truth: Truth, p: Probabilities, classes: Sequence[str], counts: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """The mean area of each resample, (draws,); NaN where a class was not drawn."""
        areas = [_resampled(p[:, i], truth == i, counts) for i in range(len(classes))]
        means: npt.NDArray[np.float64] = np.mean(areas, axis=0)
        return means

    def swap_gains(
        self, truth: Truth, a: Probabilities, b: Probabilities, classes: Sequence[str]
    ) -> npt.NDArray[np.float64]:
        """What swapping a unit's two predictions adds to the difference a minus b, (n,).

        The difference of two areas is linear in the swaps: a pair of units that are both swapped changes both areas by
        the same amount.
        """
        gains = np.zeros(len(truth))
        for i in range(len(classes)):
            with_it, without = np.flatnonzero(truth == i), np.flatnonzero(truth != i)
            for mine, rest, sign in ((with_it, without, 1), (without, with_it, -1)):
                own_a, own_b, other_a, other_b = a[mine, i], b[mine, i], a[rest, i], b[rest, i]
                rise = _below(own_b, other_a) - _below(own_a, other_a)
                fall = _below(own_a, other_b) - _below(own_b, other_b)
                gains[mine] += sign * (rise - fall) / len(mine)
        return gains / len(classes)


def _below(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The share of y that lies below each x, equal ones counting one half."""
    ordered = np.sort(y)
    share: npt.NDArray[np.float64] = (np.searchsorted(ordered, x) + np.searchsorted(ordered, x, side="right")) / 2
    return share / len(y)


def _resampled(
    scores: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_], counts: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The area under the ROC curve of each resample: pairs won, from the running sum of negatives along the scores."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    first = np.searchsorted(ordered, scores[positive])
    past = np.searchsorted(ordered, scores[positive], side="right")
    found = []
    for part in np.array_split(counts, max(1, counts.size // 400_000)):
        below = np.zeros((len(part), len(scores) + 1))
        np.cumsum(part[:, order] * ~positive[order], axis=1, out=below[:, 1:])
        won = part[:, positive] * (below[:, first] + below[:, past]) / 2
        pairs = part[:, positive].sum(1) * below[:, -1]
        found.append(np.divide(won.sum(1), pairs, out=np.full(len(part), np.nan), where=pairs > 0))
    return np.concatenate(found)


plugin = MacroAuc
