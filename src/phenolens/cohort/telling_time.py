"""How far a single column orders patients by the time to their event, and how likely chance does as well."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class FollowUp:
    """Time (n,), above 0, and whether the event was seen at it (n,), one row a unit."""

    time: Numbers
    event: npt.NDArray[np.bool_]


def concordance(ranks: Numbers, follow_up: FollowUp) -> Numbers:
    """Harrell's C of every column (n, d) with the follow-up in its better direction, (d,); 0.5 where no pair compares.

    Of a pair the patient with the earlier event comes first; of equal times the one with the event (Harrell, Lee and
    Mark 1996). Ties of the column count one half.
    """
    score, pairs = np.zeros(ranks.shape[1]), 0
    for i in np.flatnonzero(follow_up.event):
        later = _later(follow_up, int(i))
        pairs += int(later.sum())
        others = ranks[later]
        score += (others < ranks[i]).sum(0) + 0.5 * (others == ranks[i]).sum(0)
    if not pairs:
        return np.full(ranks.shape[1], 0.5)
    share = score / pairs
    return np.asarray(np.maximum(share, 1 - share))


def concordance_by_chance(ranks: Numbers, follow_up: FollowUp) -> float:
    """Two-sided p of the concordance of one column (n,) where it says nothing of the follow-up.

    The sum of products of pair scores (who has the earlier event; who has the higher value) over all pairs is normal
    with the variance that all orders of the column give it (Daniels, The relation between measures of correlation in
    the universe of sample permutations, 1944).
    """
    n = len(ranks)
    order = np.zeros((n, n))
    for i in np.flatnonzero(follow_up.event):
        order[i] += _later(follow_up, int(i))
    order -= order.T
    value = np.sign(ranks[:, None] - ranks[None, :])
    sums = [((m.sum(1) ** 2).sum(), (m**2).sum()) for m in (order, value)]
    (rows_a, all_a), (rows_b, all_b) = sums
    variance = 4 * (rows_a - all_a) * (rows_b - all_b) / (n * (n - 1) * (n - 2)) + 2 * all_a * all_b / (n * (n - 1))
    if variance <= 0:
        return 1.0
    return float(2 * stats.norm.sf(abs((order * value).sum()) / np.sqrt(variance)))


def _later(follow_up: FollowUp, i: int) -> npt.NDArray[np.bool_]:
    """Who was followed for longer than unit i, which had the event."""
    time, event = follow_up.time, follow_up.event
    later: npt.NDArray[np.bool_] = (time > time[i]) | ((time == time[i]) & ~event)
    return later
