"""Survival curves, tests and calibration: by hand, and whether planted faults are seen."""

from __future__ import annotations

import numpy as np
import pytest
from survivaldata import RATE, TIMES, curves, followed

from phenolens.evaluate.metric import NotEstimable
from phenolens.evaluate.survival_calibration import (
    at_own_time,
    d_calibration,
    horizon_groups,
    horizon_test,
    integrated_calibration_index,
)
from phenolens.evaluate.survival_curves import StepCurve, censoring_curve, kaplan_meier, numbers_at_risk
from phenolens.evaluate.survival_measures import FollowUp, SurvivalSample
from phenolens.evaluate.survival_smooth import spline
from phenolens.evaluate.survival_tests import log_rank, rmst, rmst_difference

TIME = np.array([1.0, 2.0, 2.0, 3.0, 5.0, 6.0])
EVENT = np.array([False, True, False, True, False, True])


def sample(n: int, seed: int = 0, factor: float = 1.0, strength: float = 1.0) -> SurvivalSample:
    """A model that knows the hazard, but for a factor."""
    time, event, x = followed(n, seed, strength)
    one = StepCurve(times=np.array([1e9]), values=np.array([1.0]))
    follow_up = FollowUp(times=np.array(TIMES), horizons=(24.0,), censoring=one, everyone=one)
    curve = curves(factor * RATE * np.exp(strength * x))
    return SurvivalSample(time=time, event=event, risk=x, curve=curve, follow_up=follow_up)


def test_kaplan_meier_by_hand():
    made = kaplan_meier(TIME, EVENT)
    np.testing.assert_allclose(made.survival, [1, 4 / 5, 4 / 5 * 2 / 3, 4 / 5 * 2 / 3, 0], atol=1e-12)
    np.testing.assert_array_equal(made.at_risk, [6, 5, 3, 2, 1])
    np.testing.assert_array_equal(made.events, [0, 1, 1, 0, 1])
    assert made.row(0.5)[0] == 1
    assert made.median == 6
    assert np.isnan(made.low[[0, 4]]).all()
    assert (made.low[1:4] < made.survival[1:4]).all()


def test_at_equal_times_events_leave_before_the_censored():
    made = censoring_curve(TIME, EVENT)
    np.testing.assert_allclose(made.values, [5 / 6, 5 / 6 * 3 / 4, 5 / 6 * 3 / 4, 5 / 6 * 3 / 8, 5 / 6 * 3 / 8])
    assert (made.at(2.0), made.before(2.0)) == pytest.approx((5 / 8, 5 / 6))


def test_numbers_at_risk_count_those_followed_at_or_after_each_time():
    np.testing.assert_array_equal(numbers_at_risk(TIME, [0, 2, 2.5, 7]), [6, 5, 3, 0])


def test_restricted_mean_survival_by_hand():
    assert rmst(TIME, EVENT, 4.0)[0] == pytest.approx(2 + 0.8 + 0.8 * 2 / 3)
    assert rmst(TIME, EVENT, 9.0)[0] == pytest.approx(2 + 0.8 + 3 * 0.8 * 2 / 3)


def test_restricted_means_look_no_further_than_the_follow_up():
    event = EVENT & (TIME < 6)
    with pytest.raises(NotEstimable, match="ends at 6, before 9"):
        rmst(TIME, event, 9.0)
    with pytest.raises(NotEstimable, match="no event before"):
        rmst_difference(TIME, EVENT, np.arange(6) % 2 == 0, 1.5)


def test_groups_without_a_difference_are_rarely_told_apart():
    p = [log_rank(*followed(60, seed)[:2], np.arange(60) % 3).p for seed in range(200)]
    assert 0.01 <= np.mean(np.array(p) < 0.05) <= 0.09


def test_a_group_never_at_risk_beside_another_is_left_out_of_the_degrees_of_freedom():
    group = np.array(["c", "a", "b", "a", "b", "a"])
    assert log_rank(TIME, EVENT, group).df == 1
    with pytest.raises(NotEstimable, match="one group"):
        log_rank(TIME, EVENT, np.zeros(6))
    with pytest.raises(NotEstimable, match="two groups"):
        log_rank(TIME, np.zeros(6, dtype=bool), group)


def test_a_doubled_hazard_fails_fixed_time_calibration_and_the_true_one_passes():
    seeds = range(20)
    p = {}
    for factor in (1.0, 2.0):
        made = [(sample(400, seed, factor), seed) for seed in seeds]
        p[factor] = [horizon_test(horizon_groups(s.at(24.0), s.time, s.event, 24.0)).p for s, _ in made]
    assert np.mean(np.array(p[1.0]) < 0.05) <= 0.1
    assert max(p[2.0]) < 0.001


def test_a_doubled_hazard_fails_d_calibration_and_the_true_one_passes():
    p = {f: [d_calibration(*at_own_time(sample(400, seed, f))).test.p for seed in range(20)] for f in (1.0, 2.0)}
    assert np.mean(np.array(p[1.0]) < 0.05) <= 0.1
    assert max(p[2.0]) < 0.001


def test_d_calibration_shares_out_every_patient():
    s = sample(150)
    made = d_calibration(*at_own_time(s))
    assert made.counts.sum() == pytest.approx(150)
    assert d_calibration(np.array([0.0, 0.0, 1.0]), np.array([True, False, True])).counts[[0, 9]] == pytest.approx(
        [2, 1]
    )


def test_the_forecast_at_the_own_time_is_straight_between_the_times_and_stops_at_tau():
    s = sample(60)
    found, event = at_own_time(s)
    i = int(np.flatnonzero(s.time < 6)[0])
    assert found[i] == pytest.approx(1 + (s.curve[i, 0] - 1) * s.time[i] / 6)
    late = s.time > 36
    np.testing.assert_allclose(found[late], s.curve[late, -1])
    assert not event[late].any()


def test_groups_are_joined_until_each_has_five_events():
    s = sample(60)
    made = horizon_groups(s.at(24.0), s.time, s.event, 24.0)
    assert (made.events >= 5).all()
    assert made.patients.sum() == 60
    assert (np.diff(made.forecast) > 0).all()
    early = s.event & (s.time <= 24)
    few = early & (np.cumsum(early) <= 4)
    with pytest.raises(NotEstimable, match="4 events"):
        horizon_groups(s.at(24.0), s.time, few, 24.0)


def test_the_integrated_calibration_index_sees_a_doubled_hazard():
    right, wrong = (sample(500, 3, factor) for factor in (1.0, 2.0))
    values = [integrated_calibration_index(s.at(24.0), s.time, s.event, 24.0).ici for s in (right, wrong)]
    assert values[0] < 0.05 < 0.12 < values[1]


def test_no_smooth_curve_is_made_under_two_hundred_patients():
    s = sample(199)
    with pytest.raises(NotEstimable, match="199 patients"):
        integrated_calibration_index(s.at(24.0), s.time, s.event, 24.0)
    flat = np.full(200, 0.5)
    with pytest.raises(NotEstimable, match="all equal"):
        integrated_calibration_index(flat, *followed(200)[:2], 24.0)


def test_the_spline_is_straight_beyond_its_outer_knots():
    x = np.linspace(0, 1, 101)
    bend = spline(x)[:, 1]
    assert np.abs(bend[:11]).max() < 1e-12
    np.testing.assert_allclose(np.diff(bend[90:], 2), 0, atol=1e-12)
