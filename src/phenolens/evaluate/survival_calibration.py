"""Do survival curves keep their word? At a horizon in groups and smoothed, and over all times (D-calibration)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from phenolens.evaluate.metric import NotEstimable
from phenolens.evaluate.survival_curves import Bools, Floats, kaplan_meier
from phenolens.evaluate.survival_measures import SurvivalSample
from phenolens.evaluate.survival_smooth import smoothed_survival

MOST_GROUPS = 10
GROUP_EVENTS = 5
"""Fewest events by the horizon in a group (Demler, Paynter & Cook 2015 collapse smaller groups)."""
_LEAST = 1e-8
SMOOTH_FROM = 200
"""Patients below which no smooth curve is made."""


@dataclass(frozen=True, kw_only=True)
class HorizonGroups:
    """Groups by forecast survival at a horizon, the lowest first; all of shape (g,).

    `forecast` is the mean forecast, `observed` Kaplan–Meier at the horizon with its 95% limits and standard error.
    """

    forecast: Floats
    observed: Floats
    low: Floats
    high: Floats
    error: Floats
    patients: Floats
    events: Floats


@dataclass(frozen=True, kw_only=True)
class ChiSquare:
    """A chi-square statistic, its degrees of freedom and its p."""

    statistic: float
    df: int
    p: float


@dataclass(frozen=True, kw_only=True)
class Smoothed:
    """The smoothed observed survival of each forecast (n,), and the mean (ICI), median and 90% quantile of the distance
    between both."""

    observed: Floats
    ici: float
    e50: float
    e90: float


def horizon_groups(
    forecast: Floats, time: Floats, event: Bools, horizon: float, most: int = MOST_GROUPS
) -> HorizonGroups:
    """Forecast and observed survival at a horizon in at most `most` groups of about equal size.

    Neighbouring groups are joined until each has `GROUP_EVENTS` events by the horizon and somebody followed up to it;
    equal forecasts stay together. `forecast`, `time` and `event` (n,) are one row a patient.

    Raises:
        NotEstimable: all patients together have fewer events, or nobody is followed so far.
    """
    code = _joined(_quantile_groups(forecast, most), time, event, horizon)
    rows = []
    for g in range(code.max() + 1):
        mine = code == g
        observed, low, high, error = kaplan_meier(time[mine], event[mine]).row(horizon)
        seen = (event[mine] & (time[mine] <= horizon)).sum()
        rows.append((forecast[mine].mean(), observed, low, high, error, mine.sum(), seen))
    names = ("forecast", "observed", "low", "high", "error", "patients", "events")
    return HorizonGroups(**dict(zip(names, np.array(rows, dtype=float).T, strict=True)))


def _quantile_groups(forecast: Floats, most: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    edges = np.unique(np.quantile(forecast, np.linspace(0, 1, most + 1)[1:-1]))
    return np.unique(np.searchsorted(edges, forecast, side="left"), return_inverse=True)[1]


def _joined(
    code: np.ndarray[tuple[int], np.dtype[np.intp]], time: Floats, event: Bools, horizon: float
) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """The groups joined from the lowest forecast on; one left over joins the group before it."""
    events = np.bincount(code[event & (time <= horizon)], minlength=code.max() + 1)
    followed = np.bincount(code[time >= horizon], minlength=code.max() + 1)
    if events.sum() < GROUP_EVENTS or not followed.any():
        raise NotEstimable(f"{events.sum()} events and {followed.sum()} patients followed by {horizon:g}")
    place, new, seen, there = np.zeros(len(events), dtype=np.intp), 0, 0, 0
    for g, (e, f) in enumerate(zip(events, followed, strict=True)):
        place[g], seen, there = new, seen + e, there + f
        if seen >= GROUP_EVENTS and there:
            new, seen, there = new + 1, 0, 0
    return np.minimum(place, max(new - 1, 0))[code]


def horizon_test(groups: HorizonGroups) -> ChiSquare:
    """Test that forecast and observed survival agree at a horizon: the sum over g groups of (gap / error)².

    The Greenwood–Nam–D'Agostino test (Demler, Paynter & Cook 2015, eq. 4) on the scale of log(−log survival), where
    Greenwood's error is error / (S |log S|), with g degrees of freedom because the forecasts were fitted to other
    patients. In simulations with the true hazard (100 to 1,000 patients) it rejects 3 to 4% at 0.05; on the plain scale
    with g − 1 degrees it rejected 10 to 14%.

    Raises:
        NotEstimable: under two groups, or a group in which survival has no error.
    """
    if len(groups.observed) < 2 or not (groups.error > 0).all():
        raise NotEstimable("fewer than two groups with enough events")
    seen, said = (np.log(-np.log(np.clip(s, _LEAST, 1 - _LEAST))) for s in (groups.observed, groups.forecast))
    error = groups.error / (groups.observed * np.abs(np.log(groups.observed)))
    statistic = float((((seen - said) / error) ** 2).sum())
    df = len(groups.observed)
    return ChiSquare(statistic=statistic, df=df, p=float(stats.chi2.sf(statistic, df)))


def integrated_calibration_index(forecast: Floats, time: Floats, event: Bools, horizon: float) -> Smoothed:
    """Mean distance between forecast and smoothed observed survival at a horizon (Austin, Harrell & van Klaveren 2020).

    The smoother is a Cox model of a restricted cubic spline with 3 knots (10%, 50% and 90% quantiles) of
    log(−log(forecast)), ties after Breslow; its baseline is Breslow's.

    Raises:
        NotEstimable: under `SMOOTH_FROM` patients, or forecasts that are all equal.
    """
    if len(forecast) < SMOOTH_FROM:
        raise NotEstimable(f"{len(forecast)} patients ({SMOOTH_FROM} needed for a smooth curve)")
    observed = smoothed_survival(forecast, time, event, horizon)
    gap = np.abs(observed - forecast)
    e50, e90 = np.quantile(gap, [0.5, 0.9])
    return Smoothed(observed=observed, ici=float(gap.mean()), e50=float(e50), e90=float(e90))


def at_own_time(sample: SurvivalSample) -> tuple[Floats, Bools]:
    """Each unit's forecast survival at its own follow-up time (n,), and whether the event was seen then.

    Straight between the times of the curve, 1 at time 0. Who is followed beyond tau counts as censored there: the curve
    says nothing of later times.
    """
    times = np.concatenate(([0.0], sample.follow_up.times))
    curve = np.hstack([np.ones((len(sample.time), 1)), np.clip(sample.curve, 0, 1)])
    when = np.minimum(sample.time, times[-1])
    right = np.clip(np.searchsorted(times, when, side="left"), 1, len(times) - 1)
    share = (when - times[right - 1]) / (times[right] - times[right - 1])
    row = np.arange(len(when))
    found: Floats = (1 - share) * curve[row, right - 1] + share * curve[row, right]
    return found, sample.event & (sample.time <= times[-1])


@dataclass(frozen=True, kw_only=True)
class DCalibration:
    """Patients in each bin of forecast survival at their own time, from 0 up (bins,), the number each bin should hold,
    and the chi-square test that they agree."""

    counts: Floats
    expected: float
    test: ChiSquare


def d_calibration(probability: Floats, event: Bools, bins: int = 10) -> DCalibration:
    """Are forecast survival probabilities at the patients' own times uniform? (Haider, Hoehn, Davis & Greiner 2020).

    `probability` (n,) as from `at_own_time`. Who is censored at probability s is shared out: (s − a) / s to the own bin
    from a on, 1 / (bins · s) to each lower one (their eq. 16); all of it to the lowest bin where s is 0.
    """
    own = np.minimum((probability * bins).astype(np.intp), bins - 1)
    counts = np.bincount(own[event], minlength=bins).astype(float)
    left = ~event & (probability > 0)
    s, place = probability[left], own[left]
    counts += np.bincount(place, weights=(s - place / bins) / s, minlength=bins)
    lower = np.bincount(place, weights=1 / (bins * s), minlength=bins)
    counts[:-1] += lower[::-1].cumsum()[::-1][1:]
    counts[0] += float((~event & (probability <= 0)).sum())
    expected = len(probability) / bins
    statistic = float(((counts - expected) ** 2 / expected).sum())
    test = ChiSquare(statistic=statistic, df=bins - 1, p=float(stats.chi2.sf(statistic, bins - 1)))
    return DCalibration(counts=counts, expected=expected, test=test)
