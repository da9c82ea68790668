"""What a number of calibration patients can promise: ranks, floors and the spread of realised coverage."""

from __future__ import annotations

import math
from collections.abc import Mapping

ALPHAS: Mapping[str, float] = {"set_90": 0.1, "set_80": 0.2}
"""The columns of conformal sets and the share of errors each allows."""


def rank(n: int, alpha: float) -> int:
    """The rank k = ceil((n + 1)(1 - alpha)) of the threshold among n calibration scores in ascending order.

    Vovk, Gammerman and Shafer, Algorithmic learning in a random world, 2005. Above n no score is high enough: no set
    smaller than all classes can be promised.
    """
    return math.ceil((n + 1) * (1 - alpha) - 1e-9)


def floor(alpha: float) -> int:
    """The fewest calibration patients with which `rank` is at most their number: 4 at 0.2, 9 at 0.1, 19 at 0.05."""
    n = 1
    while rank(n, alpha) > n:
        n += 1
    return n


def realised_coverage(n: int, alpha: float) -> tuple[float, float, float]:
    """Mean and central 95% limits of the coverage that one calibration set of n patients gives.

    Over calibration sets it is Beta(k, n + 1 - k) with k the `rank` (Vovk, Conditional validity of inductive conformal
    predictors, 2012; Angelopoulos and Bates, A gentle introduction to conformal prediction, 2021, section 3.2). Raises
    ValueError under the `floor`.
    """
    k = rank(n, alpha)
    if k > n:
        raise ValueError(f"{n} calibration patients at alpha {alpha}: {floor(alpha)} are needed")
    return k / (n + 1), _quantile(k, n, 0.025), _quantile(k, n, 0.975)


def cross_guarantee(n: int, groups: int, alpha: float) -> float:
    """The least coverage of cross-conformal (CV+) sets from n calibration patients in groups of equal size, (0 to 1).

    1 - 2 alpha - min{2 (1 - 1/K) / (n/K + 1), (1 - K/n) / (K + 1)}: Barber, Candès, Ramdas and Tibshirani, Predictive
    inference with the jackknife+, 2021, Theorem 4; for sets of classes Romano, Sesia and Candès, Classification with
    valid and adaptive coverage, 2020. It is a floor over all distributions and models; what is found lies near
    1 - alpha. Raises ValueError where n is no multiple of the groups.
    """
    if n < groups or n % groups:
        raise ValueError(f"{n} patients in {groups} groups: groups of equal size are needed")
    spread, left = 2 * (1 - 1 / groups) / (n / groups + 1), (1 - groups / n) / (groups + 1)
    return max(0.0, 1 - 2 * alpha - min(spread, left))


def _quantile(k: int, n: int, share: float) -> float:
    """The quantile of Beta(k, n + 1 - k), by bisection of its distribution function: P(Binomial(n, x) >= k)."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_least(k, n, middle) < share else (low, middle)
    return (low + high) / 2


def _at_least(k: int, n: int, x: float) -> float:
    fixed = math.lgamma(n + 1)
    return math.fsum(
        math.exp(fixed - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * math.log(x) + (n - i) * math.log1p(-x))
        for i in range(k, n + 1)
    )
