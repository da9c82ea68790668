"""Curves of follow-up: Kaplan–Meier with its interval, Nelson–Aalen, and the curve of censoring behind the weights.

Everywhere `time` (n,) is the follow-up, above 0, and `event` (n,) is true where the event was seen at that time, false
where the patient was censored. At equal times events come before censorings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_Z = float(stats.norm.ppf(0.975))


@dataclass(frozen=True, kw_only=True)
class StepCurve:
    """A curve that is 1 until its first time and keeps `values[i]` from `times[i]` on; times (k,) ascending."""

    times: Floats
    values: Floats

    def at(self, when: npt.ArrayLike) -> Floats:
        """The value at each time, steps at that very time taken; shape of `when`."""
        return self._value(np.searchsorted(self.times, np.asarray(when, dtype=float), side="right"))

    def before(self, when: npt.ArrayLike) -> Floats:
        """The value just before each time; shape of `when`."""
        return self._value(np.searchsorted(self.times, np.asarray(when, dtype=float), side="left"))

    def _value(self, place: npt.NDArray[np.intp]) -> Floats:
        known: Floats = np.concatenate(([1.0], self.values))[place]
        return known


@dataclass(frozen=True, kw_only=True)
class KaplanMeier:
    """One row a distinct follow-up time, all of shape (k,).

    `survival` with its 95% limits `low` and `high` (NaN where survival is still 1, or 0: no limits can be told), the
    standard error `error` of survival (Greenwood), the number `at_risk` just before the time and of `events` at it.
    """

    times: Floats
    survival: Floats
    low: Floats
    high: Floats
    error: Floats
    at_risk: npt.NDArray[np.int64]
    events: npt.NDArray[np.int64]

    @property
    def curve(self) -> StepCurve:
        """Survival as a function of time."""
        return StepCurve(times=self.times, values=self.survival)

    def row(self, when: float) -> tuple[float, float, float, float]:
        """Survival, low, high and standard error at one time; 1, NaN, NaN and 0 before the first follow-up time."""
        place = int(np.searchsorted(self.times, when, side="right")) - 1
        if place < 0:
            return 1.0, np.nan, np.nan, 0.0
        return tuple(float(x[place]) for x in (self.survival, self.low, self.high, self.error))  # type: ignore[return-value]

    @property
    def median(self) -> float:
        """The first time at which survival is one half or less; NaN where it is never reached."""
        reached = np.flatnonzero(self.survival <= 0.5 + 1e-12)
        return float(self.times[reached[0]]) if len(reached) else float("nan")


def kaplan_meier(time: Floats, event: Bools) -> KaplanMeier:
    """The product-limit estimate (Kaplan & Meier 1958), Greenwood's error and its interval on the log-log scale.

    The limits are S^exp(±1.96 e) with e = sqrt(sum d / (n (n − d))) / |log S| (Kalbfleisch & Prentice 1980, 1.13).
    """
    times, at_risk, events = _counts(time, event)
    survival: Floats = np.cumprod(1 - events / at_risk, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(np.cumsum(events / (at_risk * (at_risk - events))))
        width = np.exp(_Z * spread / np.abs(np.log(survival)))
        low, high = survival**width, survival ** (1 / width)
    told = (survival > 0) & (survival < 1)
    return KaplanMeier(
        times=times,
        survival=survival,
        low=np.where(told, low, np.nan),
        high=np.where(told, high, np.nan),
        error=np.where(survival > 0, survival * np.where(np.isfinite(spread), spread, 0.0), 0.0),
        at_risk=at_risk,
        events=events,
    )


def nelson_aalen(time: Floats, event: Bools) -> tuple[Floats, Floats, Floats]:
    """Distinct times, the cumulative hazard sum d / n and its standard error sqrt(sum d / n²) (Aalen 1978); (k,)."""
    times, at_risk, events = _counts(time, event)
    return times, np.cumsum(events / at_risk), np.sqrt(np.cumsum(events / at_risk**2))


def censoring_curve(time: Floats, event: Bools) -> StepCurve:
    """The probability of being uncensored, as Kaplan–Meier of the censoring times.

    A patient with an event has left before those censored at the same time. This is G in the weights 1 / G of the
    measures in `survival_measures`: a nuisance of measuring, used for nothing else.
    """
    times, at_risk, events = _counts(time, event)
    leaving = np.append(at_risk[:-1] - at_risk[1:], at_risk[-1]) - events
    left = at_risk - events
    return StepCurve(times=times, values=np.cumprod(1 - leaving / np.maximum(left, 1)))


def numbers_at_risk(time: Floats, when: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """How many are still followed just before each time (follow-up at or after it); shape of `when`."""
    ordered = np.sort(time)
    return (len(ordered) - np.searchsorted(ordered, np.asarray(when, dtype=float), side="left")).astype(np.int64)


def _counts(time: Floats, event: Bools) -> tuple[Floats, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    times, place = np.unique(np.asarray(time, dtype=np.float64), return_inverse=True)
    events = np.bincount(place[np.asarray(event, dtype=bool)], minlength=len(times)).astype(np.int64)
    leaving = np.bincount(place, minlength=len(times)).astype(np.int64)
    return times, leaving[::-1].cumsum()[::-1], events
