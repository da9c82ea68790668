"""Calibration against R, on planted miscalibration, and what is not said of few patients."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from evaldata import cross_validated, pick, random_p, rows, table

from phenolens.core.predictions import Predictions
from phenolens.evaluate.calibration import curve, intercept, log_odds, recalibrated, slope, smooth, summary
from phenolens.evaluate.decision import decision_curves
from phenolens.evaluate.interval import patient_bootstrap, patient_counts
from phenolens.evaluate.lowess import lowess
from phenolens.evaluate.metric import NotEstimable, metrics_reading, rank_auc
from phenolens.evaluate.score import estimates

REFERENCE = Path(__file__).with_name("reference")
DATA = pd.read_csv(REFERENCE / "data.csv")
KNOWN = json.loads((REFERENCE / "calibration.json").read_text("utf-8"))
POSITIVE = DATA["y"].to_numpy() == 1


def _expit(x):
    return 1 / (1 + np.exp(-x))


def _honest(n, seed, sd=1.3):
    """Probabilities and outcomes drawn from them."""
    rng = np.random.default_rng(seed)
    p = _expit(rng.normal(0, sd, n))
    return p, rng.random(n) < p


def _binary(p, positive, **more):
    return rows(["AB"[int(t)] for t in positive], np.column_stack([1 - p, p]), ("A", "B"), **more)


@pytest.mark.parametrize("column", ["a", "b"])
def test_intercept_slope_and_their_variances_equal_those_of_r(column):
    p, known = DATA[column].to_numpy(), KNOWN[column]
    patient = DATA["patient"].to_numpy()
    large, line = intercept(p, POSITIVE), slope(p, POSITIVE)
    alone = np.arange(len(p))
    assert large.coefficients[0] == pytest.approx(known["intercept"], abs=1e-6)
    assert line.coefficients[1] == pytest.approx(known["slope"], abs=1e-6)
    assert line.coefficients[1] == pytest.approx(known["val_prob_slope"], abs=1e-6)
    assert large.variances(alone)[0] == pytest.approx(known["intercept_variance"], abs=1e-6)
    assert line.variances(alone)[1] == pytest.approx(known["slope_variance"], abs=1e-6)
    assert large.variances(patient)[0] == pytest.approx(known["intercept_clustered"], abs=1e-6)
    assert line.variances(patient)[1] == pytest.approx(known["slope_clustered"], abs=1e-6)


@pytest.mark.parametrize("column", ["a", "b"])
def test_ici_e50_and_e90_equal_those_of_val_prob(column):
    known = KNOWN[column]
    made = curve(DATA[column].to_numpy(), POSITIVE)
    assert made.ici == pytest.approx(known["ici"], abs=1e-6)
    assert made.quantile(0.5) == pytest.approx(known["e50"], abs=1e-6)
    assert made.quantile(0.9) == pytest.approx(known["e90"], abs=1e-6)
    assert made.errors.max() == pytest.approx(known["emax"], abs=1e-6)


def test_a_resample_is_smoothed_as_its_repeated_units_with_the_same_windows():
    p, positive = _honest(60, 0)
    counts = patient_counts(np.arange(60), seed=1, draws=3)
    smoother = lowess(p)
    fitted = smoother.fit(positive.astype(float), counts)
    for row, found in zip(counts, fitted, strict=True):
        for place, weights, height in zip(smoother.places, smoother.weights, found, strict=True):
            line = np.polyfit(p - place, positive.astype(float), 1, w=np.sqrt(weights * row))
            assert height == pytest.approx(line[1], abs=1e-8)


def test_counted_resamples_are_those_of_the_patient_bootstrap():
    patients = np.repeat(np.arange(12), 3)
    seen = []
    patient_bootstrap(lambda r: seen.append(np.bincount(r, minlength=36)) or {}, patients, seed=4, draws=20)
    np.testing.assert_array_equal(patient_counts(patients, seed=4, draws=20), np.array(seen))


def test_doubled_logits_have_half_the_slope_and_a_recalibration_on_others_mends_it():
    slopes, mended = [], []
    for seed in range(10):
        p, positive = _honest(2000, seed)
        doubled = _expit(2 * log_odds(p))
        learn, test = np.arange(2000) < 1000, np.arange(2000) >= 1000
        a, b = slope(doubled[learn], positive[learn]).coefficients
        again = _expit(a + b * log_odds(doubled))
        slopes.append(slope(doubled[test], positive[test]).coefficients[1])
        mended.append(slope(again[test], positive[test]).coefficients[1])
    assert np.mean(slopes) == pytest.approx(0.5, abs=0.02)
    assert np.abs(np.array(slopes) - 0.5).max() < 0.1
    assert np.mean(mended) == pytest.approx(1, abs=0.1)


def test_the_estimates_of_doubled_logits_are_half_a_slope_in_every_scheme():
    p, positive = _honest(1000, 3)
    doubled = _expit(2 * log_odds(p))
    folds = np.arange(1000) % 5
    frames = [_binary(doubled, positive, fold=folds), _binary(doubled, positive, scheme="holdout")]
    made = estimates(table(frames, ("A", "B")), ["calibration_slope", "calibration_intercept", "ici"])
    for scheme, method in (("patient_kfold", "mean of 5 folds, Nadeau–Bengio"), ("holdout", "Wald interval")):
        row = pick(made, "calibration_slope", "class=B", scheme=scheme)
        assert row["value"] == pytest.approx(0.5, abs=0.1)
        assert row["low"] < row["value"] < row["high"] < 1
        assert method in row["method"]
        assert row["note"] == ""
        assert pick(made, "ici", "class=B", scheme=scheme)["value"] > 0.05
    assert "patient bootstrap" in pick(made, "ici", "class=B", scheme="holdout")["method"]


def test_the_wald_interval_of_the_slope_covers_the_truth():
    inside = 0
    for seed in range(60):
        p, positive = _honest(150, seed)
        made = estimates(table([_binary(p, positive, scheme="holdout")], ("A", "B")), ["calibration_slope"])
        row = pick(made, "calibration_slope", "class=B")
        inside += row["low"] <= 1 <= row["high"]
    assert 52 <= inside <= 60


def test_a_slope_under_a_hundred_of_each_is_exploratory():
    p, positive = _honest(190, 0)
    predictions = table([_binary(p, positive, scheme="holdout")], ("A", "B"))
    row = pick(estimates(predictions, ["calibration_slope"]), "calibration_slope", "class=B")
    n = int(positive.sum())
    assert row["note"].startswith(f"exploratory: {n} patients with B")
    assert "(100 needed)" in row["note"]
    told = summary(predictions).set_index(["class", "measure"])
    assert told.loc[("B", "slope"), "note"] == row["note"]
    assert told.loc[("B", "slope"), "value"] == pytest.approx(row["value"])
    assert told.loc[("B", "intercept"), "note"] == ""


def test_the_slope_of_test_sets_under_forty_patients_is_not_averaged():
    row = pick(estimates(cross_validated(120), ["calibration_slope"]), "calibration_slope", "class=A")
    assert np.isnan(row["value"])
    assert row["note"] == "not estimable: the smallest test set has 24 patients (40 needed in each)"


def test_the_slope_of_a_small_test_set_runs_high_which_is_why_forty_patients_are_needed():
    means = {}
    for n in (20, 40, 100):
        found = []
        for seed in range(400):
            p, positive = _honest(n, seed, sd=1.0)
            try:
                found.append(slope(p, positive).coefficients[1])
            except NotEstimable:
                continue
        means[n] = np.mean(found)
    assert means[20] > 1.25
    assert 1.05 < means[40] < 1.2
    assert means[100] < 1.08


def test_separated_classes_have_no_slope_and_the_reason_is_told():
    positive = np.arange(60) % 2 == 0
    p = np.where(positive, 0.7, 0.2) + np.linspace(0, 0.05, 60)
    with pytest.raises(NotEstimable, match="slope is infinite"):
        slope(p, positive)
    made = estimates(table([_binary(p, positive, scheme="holdout")], ("A", "B")), ["calibration_slope"])
    row = pick(made, "calibration_slope", "class=B")
    assert np.isnan(row["value"])
    assert "separate the class from the rest completely: the slope is infinite" in row["note"]
    folds = estimates(table([_binary(p, positive, fold=0), _binary(p, positive, fold=1, repeat=1)], ("A", "B")),
                      ["calibration_slope"])  # fmt: skip
    assert "2 of 2 folds left out" in pick(folds, "calibration_slope", "class=B")["note"]


def test_touching_at_one_probability_is_still_separated():
    p = np.array([0.2, 0.3, 0.4, 0.4, 0.6, 0.7])
    with pytest.raises(NotEstimable, match="infinite"):
        slope(p, np.array([False, False, False, True, True, True]))


def test_certain_probabilities_have_no_log_odds_and_equal_ones_no_slope():
    positive = np.arange(40) % 2 == 0
    with pytest.raises(NotEstimable, match="1 of 40 probabilities are exactly 0 or 1"):
        intercept(np.r_[1.0, np.full(39, 0.4)], positive)
    with pytest.raises(NotEstimable, match="all probabilities are equal"):
        slope(np.full(40, 0.4), positive)
    assert intercept(np.full(40, 0.4), positive).coefficients[0] == pytest.approx(-np.log(0.4 / 0.6))


def test_no_curve_and_no_index_under_two_hundred_patients():
    p, positive = _honest(199, 0)
    predictions = table([_binary(p, positive, scheme="holdout")], ("A", "B"))
    assert smooth(predictions).empty
    told = summary(predictions).set_index(["class", "measure"])
    assert told.loc[("B", "ICI"), "note"] == "not estimable: 199 patients (200 needed for a smooth curve)"
    row = pick(estimates(predictions, ["ici"]), "ici", "class=B")
    assert row["note"] == "not estimable: the test set has 199 patients (200 needed in each)"


def test_two_hundred_images_of_fifty_patients_have_no_curve():
    p, positive = _honest(240, 0)
    frame = _binary(p, positive, scheme="holdout", patient=[f"P{i // 4}" for i in range(240)])
    assert smooth(table([frame], ("A", "B"))).empty


def test_the_band_of_honest_models_holds_the_diagonal_and_that_of_doubled_ones_does_not():
    share = {"honest": [], "doubled": []}
    for seed in range(4):
        p, positive = _honest(600, seed)
        doubled = _expit(2 * log_odds(p))
        both = (("honest", p), ("doubled", doubled))
        frames = [_binary(q, positive, fold=np.arange(600) % 5, model=m) for m, q in both]
        made = smooth(table(frames, ("A", "B"))).query("`class` == 'B'").set_index("model")
        for model, held in share.items():
            mine = made.loc[model]
            assert ((mine["low"] <= mine["observed"]) & (mine["observed"] <= mine["high"])).all()
            assert (np.diff(mine["predicted"]) > 0).all()
            held.append(((mine["low"] <= mine["predicted"]) & (mine["predicted"] <= mine["high"])).mean())
    assert np.mean(share["honest"]) > 0.85
    assert np.mean(share["doubled"]) < 0.4


def test_the_summary_reads_each_unit_once_and_is_the_same_for_any_order_of_rows():
    predictions = cross_validated(240, ("A", "B", "C"), repeats=2)
    told = summary(predictions)
    assert len(told) == 15
    first = predictions.table[predictions.table["repeat"] == 0]
    expected = curve(first["p_C"].to_numpy(), (first["truth"] == "C").to_numpy())
    row = told[(told["class"] == "C") & (told["measure"] == "ICI")].iloc[0]
    assert row["value"] == pytest.approx(expected.ici)
    assert row["low"] < row["value"] < row["high"]
    turned = Predictions(table=predictions.table.sample(frac=1, random_state=0), classes=predictions.classes)
    pd.testing.assert_frame_equal(told, summary(turned))


def test_recalibrated_probabilities_take_the_place_of_the_stated_ones():
    base = cross_validated(60)
    assert recalibrated(base) is None
    q = base.table.assign(q_A=0.25, q_B=0.75)
    made = recalibrated(Predictions(table=q, classes=base.classes))
    assert made is not None
    assert (made.table["p_B"] == 0.75).all()
    assert recalibrated(Predictions(table=q.assign(q_A=q["q_A"].where(q["fold"] > 0)), classes=base.classes)) is None


def test_no_estimate_of_a_dummy_reports_the_perfect_score_that_pooling_gives_it():
    """The dummy states minus the mean of its training patients: pooled over leave-one-out its AUC is 1."""
    n = 60
    positive = np.arange(n) % 2 == 0
    p = 1 - (positive.sum() - positive) / (n - 1)
    assert rank_auc(p, positive) == 1.0
    assert ((p >= 0.5) == positive).all()
    site = ["S1", "S1", "S2", "S2"] * 15
    predictions = table([_binary(p, positive, fold=np.arange(n), site=site)], ("A", "B"))
    made = estimates(predictions)
    assert set(made["metric"]) == set(metrics_reading("probabilities"))
    assert made[["value", "low", "high"]].isna().all(axis=None)
    assert made["note"].str.startswith("not estimable: every test set holds one class only").all()
    assert made["note"].str.endswith("never pooled over folds").all()
    assert decision_curves(predictions).empty
    assert smooth(predictions).empty
    assert summary(predictions)["value"].isna().all()


def test_the_mean_over_left_out_sites_says_how_patients_are_called():
    frames = []
    for s in range(4):
        p, positive = _honest(60, s)
        part = _binary(p, positive, fold=s, scheme="leave_one_site_out", site=f"S{s}",
                       patient=[f"S{s}P{i}" for i in range(60)])  # fmt: skip
        frames.append(part.assign(unit_id=part["patient"]))
    made = estimates(table(frames, ("A", "B")), ["sensitivity", "calibration_slope", "ici"])
    row = pick(made, "sensitivity", "class=B")
    assert "random-effects mean over 4 sites" in row["method"]
    assert row["note"].endswith("called at the most probable class: the study fixes no threshold")
    line = pick(made, "calibration_slope", "class=B")
    assert line["value"] == pytest.approx(1, abs=0.3)
    assert "Wald interval" in pick(made, "calibration_slope", "class=B;site=S0")["method"]
    assert "2 needed" in pick(made, "ici", "class=B")["note"]


def test_several_images_a_patient_widen_the_interval_of_the_slope():
    p, positive = _honest(120, 0)
    copied, same = np.repeat(p, 4), np.repeat(positive, 4)
    frame = _binary(copied, same, scheme="holdout", patient=[f"P{i // 4:03d}" for i in range(480)])
    many = pick(estimates(table([frame], ("A", "B")), ["calibration_slope"]), "calibration_slope", "class=B")
    few = pick(
        estimates(table([_binary(p, positive, scheme="holdout")], ("A", "B")), ["calibration_slope"]),
        "calibration_slope", "class=B",
    )  # fmt: skip
    assert many["value"] == pytest.approx(few["value"])
    assert many["high"] - many["low"] == pytest.approx(few["high"] - few["low"], rel=0.25)


def test_sensitivity_at_a_threshold_fixed_beforehand_is_of_that_class_only():
    p, positive = _honest(200, 1)
    predictions = table([_binary(p, positive, scheme="holdout")], ("A", "B"))
    params = {"sensitivity": {"positive": "B", "threshold": 0.3}}
    made = estimates(predictions, ["sensitivity", "specificity"], params)
    found = made[made["metric"] == "sensitivity"]
    assert list(found["subgroup"]) == ["class=B"]
    row = found.iloc[0]
    assert row["value"] == pytest.approx((p[positive] >= 0.3).mean())
    assert row["note"] == "called B from a probability of 0.3 on, fixed beforehand"
    assert row["method"] == "one test set, Wilson interval"
    assert row["low"] < row["value"] < row["high"]
    plain = made[made["metric"] == "specificity"]
    assert list(plain["subgroup"]) == ["class=A", "class=B"]
    assert plain["note"].str.contains("the study fixes no threshold").all()
    small = estimates(table([_binary(random_p(30, 2, 0)[:, 1], np.arange(30) < 9)], ("A", "B")), ["sensitivity"])
    assert pick(small, "sensitivity", "class=B")["note"] == "not estimable: 9 patients with B (10 needed)"
