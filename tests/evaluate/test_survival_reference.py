"""Survival statistics equal scikit-survival, R, and the papers' formulas written in R, to 1e-6."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from phenolens.evaluate import survival_calibration as calibration
from phenolens.evaluate import survival_measures as measures
from phenolens.evaluate.survival_curves import censoring_curve, kaplan_meier, nelson_aalen, numbers_at_risk
from phenolens.evaluate.survival_measures import FollowUp, SurvivalSample
from phenolens.evaluate.survival_tests import log_rank, rmst, rmst_difference

HERE = Path(__file__).parent / "reference"
SAMPLE = json.loads((HERE / "survival_sample.json").read_text())
SCIKIT = json.loads((HERE / "survival_scikit.json").read_text())
R = json.loads((HERE / "survival_r.json").read_text())
COHORTS = ("continuous", "months")
TIMES, HORIZONS = SAMPLE["times"], [f"{h:g}" for h in SAMPLE["horizons"]]


def near(value):
    return pytest.approx(value, abs=1e-6, rel=1e-9)


def part(cohort: str, *names: str) -> dict[str, np.ndarray]:
    columns = ("time", "event", "risk", "curve", "group", "stratum")
    made = {c: np.concatenate([np.array(SAMPLE[cohort][n][c]) for n in names]) for c in columns}
    return {**made, "event": made["event"].astype(bool)}


def sample(d: dict[str, np.ndarray], reference: dict[str, np.ndarray], tau: float = 36) -> SurvivalSample:
    times = np.array([t for t in TIMES if t <= tau])
    follow_up = FollowUp(
        times=times,
        horizons=(12.0,),
        censoring=censoring_curve(reference["time"], reference["event"]),
        everyone=kaplan_meier(reference["time"], reference["event"]).curve,
    )
    return SurvivalSample(
        time=d["time"], event=d["event"], risk=d["risk"], curve=d["curve"][:, : len(times)], follow_up=follow_up
    )


@pytest.mark.parametrize("cohort", COHORTS)
def test_measures_equal_scikit_survival_with_censoring_from_the_training_part(cohort):
    train, test, wanted = part(cohort, "train"), part(cohort, "test"), SCIKIT[cohort]
    whole = sample(test, train)
    for tau in HORIZONS:
        assert measures.uno_c(sample(test, train, float(tau)))[0] == near(wanted["uno_c"][tau])
        assert measures.cumulative_auc(whole, float(tau))[0] == near(wanted["cumulative_auc"][tau])
    np.testing.assert_allclose(measures.brier(whole, TIMES)[0], list(wanted["brier"].values()), atol=1e-6)
    assert measures.integrated_brier(whole)[0] == near(wanted["integrated_brier"])
    np.testing.assert_allclose(whole.follow_up.censoring.at(TIMES), list(wanted["censoring"].values()), atol=1e-6)


def test_measures_equal_r_where_no_event_and_censoring_share_a_time():
    both = part("continuous", "train", "test")
    whole, wanted = sample(both, both), R["continuous"]
    for h in HORIZONS:
        assert measures.uno_c(sample(both, both, float(h)))[0] == near(wanted["uno_c"][h])
        assert measures.cumulative_auc(whole, float(h))[0] == near(wanted["scores"]["auc"][h])
        assert measures.brier(whole, [float(h)])[0, 0] == near(wanted["scores"]["brier"][h])
        assert measures.brier_of_everyone(whole, [float(h)])[0, 0] == near(wanted["scores"]["brier_null"][h])


@pytest.mark.parametrize("cohort", COHORTS)
@pytest.mark.parametrize("group", ["all", "high", "middle", "low"])
def test_kaplan_meier_nelson_aalen_and_rmst_equal_r(cohort, group):
    d = part(cohort, "train", "test")
    rows = (d["group"] == group) | (group == "all")
    time, event = d["time"][rows], d["event"][rows]
    wanted = R[cohort]["kaplan_meier"] if group == "all" else R[cohort]["groups"][group]
    made, (times, hazard, error) = kaplan_meier(time, event), nelson_aalen(time, event)
    for h in HORIZONS:
        at = wanted["at"][h]
        assert made.row(float(h)) == near((at["survival"], at["low"], at["high"], at["error"]))
        place = np.searchsorted(times, float(h), side="right") - 1
        assert (hazard[place], error[place]) == near((at["hazard"], at["hazard_error"]))
        assert numbers_at_risk(time, float(h)) == at["at_risk"]
    assert rmst(time, event, 36.0) == near((wanted["rmst"], wanted["rmst_error"]))
    if wanted["median"] != "NA":
        assert made.median == near(wanted["median"])


@pytest.mark.parametrize("cohort", COHORTS)
def test_log_rank_equals_r_with_and_without_strata(cohort):
    d, wanted = part(cohort, "train", "test"), R[cohort]
    for made, name in (
        (log_rank(d["time"], d["event"], d["group"]), "log_rank"),
        (log_rank(d["time"], d["event"], d["group"], d["stratum"]), "log_rank_stratified"),
    ):
        assert (made.statistic, made.df) == near((wanted[name]["statistic"], 2))
        assert made.observed == near(wanted[name]["observed"])
        assert made.expected == near(wanted[name]["expected"])
    two = d["group"] != "middle"
    made = log_rank(d["time"][two], d["event"][two], d["group"][two])
    assert (made.statistic, made.df) == near((wanted["log_rank_two"]["statistic"], 1))


@pytest.mark.parametrize("cohort", COHORTS)
def test_the_rmst_difference_is_that_of_r_groups_with_their_errors_added(cohort):
    d, groups = part(cohort, "train", "test"), R[cohort]["groups"]
    two = d["group"] != "middle"
    made = rmst_difference(d["time"][two], d["event"][two], d["group"][two] == "low", 36.0)
    assert made.value == near(groups["low"]["rmst"] - groups["high"]["rmst"])
    assert made.error == near(np.hypot(groups["low"]["rmst_error"], groups["high"]["rmst_error"]))
    assert made.low < made.value < made.high


@pytest.mark.parametrize("cohort", COHORTS)
def test_calibration_at_a_horizon_and_over_all_times_equals_r(cohort):
    d, wanted = part(cohort, "train", "test"), R[cohort]
    whole = sample(d, d)
    groups = calibration.horizon_groups(whole.at(24.0), d["time"], d["event"], 24.0, most=4)
    assert groups.forecast == near(list(wanted["horizon_test"]["forecast"]))
    assert groups.observed == near(list(wanted["horizon_test"]["observed"]))
    test = calibration.horizon_test(groups)
    assert (test.statistic, test.p) == near((wanted["horizon_test"]["statistic"], wanted["horizon_test"]["p"]))
    made = calibration.d_calibration(*calibration.at_own_time(whole))
    assert made.counts == near(wanted["d_calibration"]["counts"])
    assert (made.test.statistic, made.test.p) == near(
        (wanted["d_calibration"]["statistic"], wanted["d_calibration"]["p"])
    )
    smooth = calibration.integrated_calibration_index(whole.at(24.0), d["time"], d["event"], 24.0)
    assert (smooth.ici, smooth.e50, smooth.e90) == near([wanted["ici"][k] for k in ("ici", "e50", "e90")])
