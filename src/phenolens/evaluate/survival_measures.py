"""How well risks and survival curves agree with what happened, with censored patients weighted back in.

Every function takes a `SurvivalSample` and, optionally, `counts` (b, n): how often each unit is drawn in each of b
resamples (default: one resample, every unit once). It returns one value a resample, NaN where there is none. The
weights 1 / G come from the sample's `FollowUp`; G is read at the time itself, as Uno et al. (2011) and Graf et al.
(1999) write it (where no event and censoring share a time, reading it just before gives the same).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.evaluate.metric import NotEstimable
from phenolens.evaluate.survival_curves import Bools, Floats, StepCurve

TIED = 1e-8
"""Risks no further apart than this are tied."""


@dataclass(frozen=True, kw_only=True)
class FollowUp:
    """The times a study asks about, and what all its patients say of follow-up.

    `times` (m,) are those of the survival curves, `horizons` some of them, `censoring` the probability of being
    uncensored and `everyone` the Kaplan–Meier curve: what one would forecast knowing nothing of the patient.
    """

    times: Floats
    horizons: tuple[float, ...]
    censoring: StepCurve
    everyone: StepCurve

    @property
    def tau(self) -> float:
        """Concordance and integrated scores look no further."""
        return float(self.times[-1])


@dataclass(frozen=True, kw_only=True)
class SurvivalSample:
    """One test set, one row a unit: time (n,), event (n,), risk (n,; higher means earlier) and curve (n, m)."""

    time: Floats
    event: Bools
    risk: Floats
    curve: Floats
    follow_up: FollowUp

    def __getitem__(self, chosen: npt.NDArray[Any]) -> SurvivalSample:
        """The same sample with the chosen rows only."""
        parts: dict[str, Any] = {k: getattr(self, k)[chosen] for k in ("time", "event", "risk", "curve")}
        return replace(self, **parts)

    def mixed(self, flip: Bools, other: SurvivalSample) -> SurvivalSample:
        """The same patients with the other sample's forecast where `flip` (n,) is true."""
        risk = np.where(flip, other.risk, self.risk)
        return replace(self, risk=risk, curve=np.where(flip[:, None], other.curve, self.curve))

    def at(self, horizon: float) -> Floats:
        """The forecast survival at one of the times (n,)."""
        column: Floats = self.curve[:, np.searchsorted(self.follow_up.times, horizon)]
        return column


def alone(values: Floats, why: str) -> float:
    """The one value of a sample.

    Raises:
        NotEstimable: there is none, for the reason `why`.
    """
    if not np.isfinite(values[0]):
        raise NotEstimable(why)
    return float(values[0])


def per_horizon(values: Mapping[str, Floats]) -> dict[str, float]:
    """The one value of a sample at each horizon that has one.

    Raises:
        NotEstimable: none has.
    """
    told = {horizon: float(found[0]) for horizon, found in values.items() if np.isfinite(found[0])}
    if not told:
        raise NotEstimable("the test set has no event before, or nobody followed up to, any horizon")
    return told


def uno_c(sample: SurvivalSample, counts: Floats | None = None) -> Floats:
    """Concordance of risk and time up to tau, weighted by 1 / G² (Uno, Cai, Pencina, D'Agostino & Wei 2011, eq. 5).

    The share of pairs in the right order among pairs whose earlier one had an event before tau; tied risks count one
    half. Of patients with equal times those with the event come before those censored.
    """
    drawn = _counts(sample, counts)
    cases, _, right, weights = uno_pairs(sample)
    return _bilinear(drawn[:, cases], drawn, right) / _positive(_bilinear(drawn[:, cases], drawn, weights))


def uno_pairs(sample: SurvivalSample) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Floats, Floats]:
    """The pairs of `uno_c`: rows of the earlier patients (m,) and of all (n,), right order times weight, and weight.

    Weights are 0 where the second patient of a pair was not followed for longer than the first.
    """
    cases = np.flatnonzero(sample.event & (sample.time < sample.follow_up.tau))
    time, late = sample.time[None, :], sample.time[cases, None]
    later = (time > late) | ((time == late) & ~sample.event[None, :])
    weights = np.where(later, _inverse(sample, cases)[:, None] ** 2, 0.0)
    return cases, np.arange(len(sample.time)), weights * _order(sample.risk[cases, None], sample.risk[None, :]), weights


def cumulative_auc(sample: SurvivalSample, horizon: float, counts: Floats | None = None) -> Floats:
    """Area under the cumulative/dynamic ROC curve at a horizon, cases weighted by 1 / G (Uno, Cai, Tian & Wei 2007;
    Hung & Chiang 2010): the chance that who has the event by then had a higher risk than who has not."""
    drawn = _counts(sample, counts)
    cases, controls = np.flatnonzero(sample.event & (sample.time <= horizon)), np.flatnonzero(sample.time > horizon)
    weighted, others = drawn[:, cases] * _inverse(sample, cases), drawn[:, controls]
    right = _order(sample.risk[cases, None], sample.risk[None, controls])
    return _bilinear(weighted, others, right) / _positive(weighted.sum(1) * others.sum(1))


def brier(sample: SurvivalSample, times: Sequence[float] | Floats, counts: Floats | None = None) -> Floats:
    """The mean squared error of forecast survival at each of the `times` (some of the curve's), weighted for censoring
    (Graf, Schmoor, Sauerbrei & Schumacher 1999, eq. 5); shape (b, len(times)), NaN where nobody is followed so far."""
    places = np.searchsorted(sample.follow_up.times, np.asarray(times, dtype=float))
    return _mean_loss(sample, np.asarray(times, dtype=float), sample.curve[:, places], counts)


def brier_of_everyone(sample: SurvivalSample, times: Sequence[float] | Floats, counts: Floats | None = None) -> Floats:
    """The same score where every patient is forecast the Kaplan–Meier curve of all patients; shape (b, len(times))."""
    when = np.asarray(times, dtype=float)
    return _mean_loss(sample, when, np.tile(sample.follow_up.everyone.at(when), (len(sample.time), 1)), counts)


def integrated_brier(sample: SurvivalSample, counts: Floats | None = None) -> Floats:
    """The Brier score averaged over time from the first to the last time of the curves (trapezoid rule)."""
    times = sample.follow_up.times
    return _over_time(brier(sample, times, counts), times)


def scaled_integrated_brier(sample: SurvivalSample, counts: Floats | None = None) -> Floats:
    """1 − IBS / IBS of Kaplan–Meier: 0 is no better than forecasting everyone the same, 1 is perfect."""
    times = sample.follow_up.times
    plain = _over_time(brier_of_everyone(sample, times, counts), times)
    scaled: Floats = 1 - _over_time(brier(sample, times, counts), times) / _positive(plain)
    return scaled


def _mean_loss(sample: SurvivalSample, times: Floats, forecast: Floats, counts: Floats | None) -> Floats:
    drawn = _counts(sample, counts)
    gone = sample.event[:, None] & (sample.time[:, None] <= times)
    there = sample.time[:, None] > times
    cases = np.flatnonzero(gone.any(1))
    weights = np.zeros(len(sample.time))
    weights[cases] = _inverse(sample, cases)
    left = sample.follow_up.censoring.at(times)
    kept = np.divide(1.0, left, out=np.full(len(times), np.nan), where=left > 0)
    loss = forecast**2 * np.where(gone, weights[:, None], 0.0) + (1 - forecast) ** 2 * np.where(there, kept, 0.0)
    loss[:, left <= 0] = np.nan
    mean: Floats = (drawn @ loss) / drawn.sum(1, keepdims=True)
    return mean


def _over_time(scores: Floats, times: Floats) -> Floats:
    if len(times) < 2:
        return np.full(len(scores), np.nan)
    area: Floats = ((scores[:, 1:] + scores[:, :-1]) / 2 * np.diff(times)).sum(1) / (times[-1] - times[0])
    return area


def _counts(sample: SurvivalSample, counts: Floats | None) -> Floats:
    return np.ones((1, len(sample.time))) if counts is None else counts


def _inverse(sample: SurvivalSample, cases: npt.NDArray[np.intp]) -> Floats:
    """1 / G at the times of the cases; NaN where G is 0 there."""
    left = sample.follow_up.censoring.at(sample.time[cases])
    weights: Floats = np.divide(1.0, left, out=np.full(len(cases), np.nan), where=left > 0)
    return weights


def _order(early: Floats, late: Floats) -> Floats:
    """1 where the earlier one has the higher risk, one half where both are tied, else 0."""
    gap = early - late
    found: Floats = np.where(np.abs(gap) <= TIED, 0.5, (gap > 0).astype(np.float64))
    return found


def _bilinear(left: Floats, right: Floats, matrix: Floats) -> Floats:
    """left_b' M right_b for each resample b."""
    found: Floats = ((left @ matrix) * right).sum(1)
    return found


def _positive(values: Floats) -> Floats:
    """The values, NaN where they are not above 0."""
    found: Floats = np.where(values > 0, values, np.nan)
    return found
