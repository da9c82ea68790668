"""Tables behind the survival figures: whose prediction counts, which groups there are, and what is not said."""

from __future__ import annotations

import numpy as np
import pytest
from survivaldata import TIMES, cross_validated, curves, followed, rows, table

from phenolens.core.errors import ModelError
from phenolens.evaluate import survival_tables as tables
from phenolens.evaluate.survival_curves import kaplan_meier
from phenolens.evaluate.survival_folds import survival_groups
from phenolens.evaluate.survival_measures import brier
from phenolens.evaluate.survival_tests import log_rank, rmst_difference


def test_every_patient_counts_once_with_the_first_test_prediction():
    predictions = cross_validated(60, repeats=3, noise=1.0)
    tune = predictions.table.query("repeat == 0").assign(part="tune", repeat=0, fold=9, risk=99.0)
    first = tables.first_predictions(table([predictions.table.sample(frac=1, random_state=0), tune]))
    assert (len(first), first["patient"].nunique(), set(first["repeat"]), set(first["part"])) == (60, 60, {0}, {"test"})


def test_kaplan_meier_by_group_uses_the_stored_column():
    predictions = cross_validated(120, repeats=2)
    made = tables.kaplan_meier_by(predictions)
    first = tables.first_predictions(predictions)
    for level in ("low", "high"):
        mine, own = made[made["level"] == level], first[first["group"] == level]
        expected = kaplan_meier(own["time"].to_numpy(), own["event"].to_numpy() == 1)
        np.testing.assert_array_equal(mine["survival"].to_numpy()[1:], expected.survival)
        assert mine["at_risk"].iloc[0] == len(own)
        assert (mine["time"].iloc[0], mine["survival"].iloc[0]) == (0, 1)
    turned = predictions.table.assign(group=predictions.table["group"].map({"low": "high", "high": "low"}))
    other = tables.kaplan_meier_by(table([turned]))
    np.testing.assert_array_equal(other[other["level"] == "low"]["survival"], made[made["level"] == "high"]["survival"])


def test_a_cut_off_on_the_test_set_is_impossible():
    predictions = cross_validated(60)
    with pytest.raises(ModelError, match="without the columns group"):
        table([predictions.table.drop(columns="group")])
    for column in ("risk", "s_12", "g_stage"):
        with pytest.raises(ModelError, match="none is cut on test patients"):
            tables.kaplan_meier_by(predictions, column)
        with pytest.raises(ModelError, match=f"survival by the column '{column}'"):
            tables.compare_levels(predictions, column)


def test_groups_are_compared_by_log_rank_and_restricted_mean_survival():
    predictions = cross_validated(150)
    row = tables.compare_levels(predictions).iloc[0]
    t = tables.first_predictions(predictions)
    time, event = t["time"].to_numpy(), t["event"].to_numpy() == 1
    low = (t["group"] == "low").to_numpy()
    test, mean = log_rank(time, event, t["group"]), rmst_difference(time, event, low, TIMES[-1])
    assert (row["statistic"], row["df"], row["p"]) == pytest.approx((test.statistic, 1, test.p))
    assert (row["rmst"], row["low"], row["high"]) == pytest.approx((mean.value, mean.low, mean.high))
    assert (row["rmst_of"], row["levels"], row["patients"]) == ("low minus high", "high|low", 150)
    assert row["p"] < 0.001 < row["low"]


def test_a_column_of_the_study_is_compared_without_those_who_lack_it():
    predictions = cross_validated(150)
    grade = np.array(["one", "two", "three", "", None] * 30, dtype=object)
    named = table([predictions.table.assign(g_grade=grade)])
    row = tables.compare_levels(named, "g_grade").iloc[0]
    assert (row["levels"], row["patients"], row["df"], row["rmst_of"]) == ("one|three|two", 90, 2, "")
    summary = tables.level_summary(named, "g_grade")
    assert summary["patients"].tolist() == [30, 30, 30]
    assert summary["events"].sum() == row["events"]


def test_few_events_are_not_compared():
    time, event, x = followed(60)
    few = event & (np.cumsum(event) <= 9)
    row = tables.compare_levels(table([rows(time, few, x, curves(np.exp(x) / 40))])).iloc[0]
    assert np.isnan(row["p"])
    assert row["note"] == "not estimable: 9 patients with the event (10 needed)"


def test_scores_over_time_are_means_over_folds_where_enough_is_known():
    predictions = cross_validated(150, repeats=2)
    made = tables.scores_over_time(predictions)
    group = next(survival_groups(predictions))
    expected = np.mean([brier(fold.sample, [24.0])[0, 0] for fold in group.folds])
    assert made.set_index("time").loc[24.0, "brier"] == pytest.approx(expected)
    assert (made["brier"] < made["brier_everyone"]).all()
    assert (made["folds"] == 10).all()
    few = tables.scores_over_time(cross_validated(26))
    assert 0 < len(few) < len(TIMES)


def test_calibration_at_horizons_sees_a_doubled_hazard_out_of_fold():
    for factor, good in ((1.0, True), (2.0, False)):
        predictions = cross_validated(300, times_hazard=factor, seed=4)
        made = tables.calibration_tests(predictions)
        assert made["test"].tolist() == ["horizon", "horizon", "d_calibration"]
        assert ((made["p"] > 0.05) == good).all()
        assert (made["ici"].dropna() < 0.08).all() == good
        bins = tables.calibration_at_horizons(predictions)
        assert bins.groupby("horizon")["patients"].sum().tolist() == [300, 300]
        inside = ((bins["low"] < bins["forecast"]) & (bins["forecast"] < bins["high"])).mean()
        assert (inside > 0.8) == good


def test_calibration_says_why_it_says_nothing():
    made = tables.calibration_tests(cross_validated(24)).set_index(["test", "horizon"])
    assert "followed beyond 24 (10 needed)" in made.loc[("horizon", 24.0), "note"]
    assert tables.calibration_at_horizons(cross_validated(12)).empty
