"""Groups of patients compared in time: the log-rank test and the restricted mean survival time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from phenolens.evaluate.metric import NotEstimable
from phenolens.evaluate.survival_curves import Bools, Floats, kaplan_meier

_Z = float(stats.norm.ppf(0.975))


@dataclass(frozen=True, kw_only=True)
class LogRank:
    """The log-rank test of k groups: chi-square `statistic` with `df` degrees of freedom, its `p`, and for each of the
    `groups` the events `observed` and `expected` if all groups had one survival; shape (k,)."""

    statistic: float
    df: int
    p: float
    groups: tuple[str, ...]
    observed: Floats
    expected: Floats


def log_rank(time: Floats, event: Bools, group: npt.ArrayLike, strata: npt.ArrayLike | None = None) -> LogRank:
    """The log-rank test of two groups or more (Mantel 1966; Peto & Peto 1972), stratified where `strata` (n,) is given.

    Strata: observed minus expected events and their hypergeometric covariances are summed over the strata.

    Raises:
        NotEstimable: one group only, or no event while two groups are at risk.
    """
    names = np.asarray(group).astype(str)
    groups = tuple(sorted(set(names)))
    if len(groups) < 2:
        raise NotEstimable("there is one group only")
    layers = (
        np.zeros(len(names), dtype=np.intp)
        if strata is None
        else np.unique(np.asarray(strata).astype(str), return_inverse=True)[1]
    )
    member = np.array([names == g for g in groups])
    observed, expected = np.zeros(len(groups)), np.zeros(len(groups))
    covariance = np.zeros((len(groups), len(groups)))
    for layer in np.unique(layers):
        rows = layers == layer
        o, e, v = _stratum(time[rows], event[rows].astype(bool), member[:, rows])
        observed, expected, covariance = observed + o, expected + e, covariance + v
    told = np.diag(covariance) > 1e-12
    if not told.any():
        raise NotEstimable("no event happens while patients of two groups are followed")
    kept = np.flatnonzero(told)[:-1]
    gap = (observed - expected)[kept]
    statistic = float(gap @ np.linalg.solve(covariance[np.ix_(kept, kept)], gap))
    return LogRank(
        statistic=statistic,
        df=len(kept),
        p=float(stats.chi2.sf(statistic, len(kept))),
        groups=groups,
        observed=observed,
        expected=expected,
    )


def _stratum(time: Floats, event: Bools, member: Bools) -> tuple[Floats, Floats, Floats]:
    """Observed and expected events (k,) and the covariance (k, k) in one stratum; `member` (k, n)."""
    times = np.unique(time[event])
    at_risk = np.array([len(t) - np.searchsorted(np.sort(t), times, side="left") for t in (time[m] for m in member)])
    events = np.array([np.bincount(np.searchsorted(times, time[m & event]), minlength=len(times)) for m in member])
    n, d = at_risk.sum(0), events.sum(0)
    share = at_risk / n
    spread = d * (n - d) / np.maximum(n - 1, 1)
    covariance = np.diag((share * spread).sum(1)) - (share * spread) @ share.T
    return events.sum(1).astype(float), (share * d).sum(1), covariance


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A difference with its standard error, 95% limits and two-sided p (normal)."""

    value: float
    error: float
    low: float
    high: float
    p: float


def rmst(time: Floats, event: Bools, tau: float) -> tuple[float, float]:
    """Restricted mean survival time and its standard error: the area under Kaplan–Meier from 0 to `tau`.

    The variance is the sum over event times of A² d / (n (n − d)), A being the area from that time to tau (Klein &
    Moeschberger 2003, 4.5.2).

    Raises:
        NotEstimable: the follow-up ends before tau with somebody still free of the event.
    """
    made = kaplan_meier(time, event)
    if made.times[-1] < tau and made.survival[-1] > 0:
        raise NotEstimable(f"the follow-up of the group ends at {made.times[-1]:g}, before {tau:g}")
    inside = made.times < tau
    starts = np.concatenate(([0.0], made.times[inside]))
    heights = np.concatenate(([1.0], made.survival[inside]))
    areas = heights * np.diff(np.append(starts, tau))
    rest = areas[::-1].cumsum()[::-1][1:]
    n, d = made.at_risk[inside], made.events[inside]
    terms = np.divide(rest**2 * d, n * (n - d), out=np.zeros(len(n)), where=n > d)
    return float(areas.sum()), math.sqrt(float(terms.sum()))


def rmst_difference(time: Floats, event: Bools, first: Bools, tau: float) -> Difference:
    """Restricted mean survival time of the patients of `first` (n,) minus that of the others, up to `tau`.

    Raises:
        NotEstimable: the follow-up of one of them ends before tau, or neither varies.
    """
    a, b = rmst(time[first], event[first], tau), rmst(time[~first], event[~first], tau)
    value, error = a[0] - b[0], math.hypot(a[1], b[1])
    if error == 0:
        raise NotEstimable(f"no event before {tau:g} in either group")
    return Difference(
        value=value,
        error=error,
        low=value - _Z * error,
        high=value + _Z * error,
        p=2 * float(stats.norm.sf(abs(value) / error)),
    )
