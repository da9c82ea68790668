"""Survival estimates: how folds, one test set and sites become a number, and when there is none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from survivaldata import TIMES, cross_validated, curves, followed, pick, rows, table

from phenolens.core.errors import ModelError, PluginError, SplitError
from phenolens.core.registry import METRICS
from phenolens.evaluate.compare import compare, compare_survival
from phenolens.evaluate.interval import BOOTSTRAP, nadeau_bengio
from phenolens.evaluate.metric import NotEstimable, metrics_reading
from phenolens.evaluate.score import COLUMNS, estimates
from phenolens.evaluate.survival_curves import censoring_curve, kaplan_meier
from phenolens.evaluate.survival_folds import survival_groups
from phenolens.evaluate.survival_score import survival_estimates

NAMES = metrics_reading("survival")


def holdout(n: int = 120, **more: object):
    time, event, x = followed(n)
    return table([rows(time, event, x, curves(np.exp(x) / 40), scheme="holdout", **more)])


@pytest.mark.parametrize("name", NAMES)
def test_every_survival_metric_declares_itself_and_stays_in_its_bounds(name):
    metric = METRICS.create(name)
    assert isinstance(metric.version, int)
    assert metric.summary
    assert metric.better in ("higher", "lower")
    low, high = metric.bounds
    for seed in range(5):
        (fold,) = next(survival_groups(cross_validated(60, folds=1, seed=seed))).folds
        found = metric.compute(fold.sample)
        assert isinstance(found, dict) == metric.per_horizon
        values = list(found.values()) if metric.per_horizon else [found]
        assert len(values) == (2 if metric.per_horizon else 1)
        assert all(low <= v <= high for v in values)


@pytest.mark.parametrize("name", NAMES)
def test_every_survival_metric_gets_worse_when_forecasts_do(name):
    metric = METRICS.create(name)
    fold = next(survival_groups(cross_validated(200, folds=1))).folds[0]
    turned = fold.rows(np.random.default_rng(0).permutation(200)).sample
    bad = fold.sample.mixed(np.ones(200, dtype=bool), turned)
    values = [np.mean(list(m.values()) if isinstance(m, dict) else m) for m in map(metric.compute, (fold.sample, bad))]
    assert values[0] > values[1] if metric.better == "higher" else values[0] < values[1]


@pytest.mark.parametrize("name", NAMES)
def test_a_resample_by_counts_equals_the_resample_by_rows(name):
    metric, rng = METRICS.create(name), np.random.default_rng(1)
    fold = next(survival_groups(cross_validated(80, folds=1))).folds[0]
    chosen = [rng.integers(0, 80, 80) for _ in range(4)]
    quick = metric.resampled(fold.sample, np.array([np.bincount(c, minlength=80) for c in chosen], dtype=float))
    slow = [metric.compute(fold.rows(c).sample) for c in chosen]
    for part in ["12", "24"] if metric.per_horizon else [None]:
        values = quick[part] if metric.per_horizon else quick
        np.testing.assert_allclose(values, [s[part] if metric.per_horizon else s for s in slow], rtol=1e-10)


def test_the_estimate_is_the_mean_over_folds_with_the_nadeau_bengio_interval():
    predictions = cross_validated(120, repeats=2)
    group = next(survival_groups(predictions))
    values = [METRICS.create("uno_c").compute(fold.sample) for fold in group.folds]
    expected = nadeau_bengio(values, 24 / 96, (0.0, 1.0))
    row = pick(survival_estimates(predictions), "uno_c")
    assert row["value"] == pytest.approx(np.mean(values))
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
    assert row["method"] == "mean of 10 folds, Nadeau–Bengio interval"
    assert (row["n_patients"], row["note"]) == (120, "")


def test_the_table_has_the_agreed_columns_every_metric_horizon_and_site():
    predictions = cross_validated(160, sites=2)
    made = survival_estimates(predictions)
    assert tuple(made.columns) == COLUMNS
    assert set(made["metric"]) == set(NAMES)
    assert set(made["subgroup"]) == {
        "all", "horizon=12", "horizon=24", "site=S0", "site=S1",
        "horizon=12;site=S0", "horizon=12;site=S1", "horizon=24;site=S0", "horizon=24;site=S1",
    }  # fmt: skip
    turned = table([predictions.table.sample(frac=1, random_state=0)])
    pd.testing.assert_frame_equal(made, survival_estimates(turned))


def test_events_are_counted_up_to_the_horizon_or_tau():
    predictions = cross_validated(120)
    t = predictions.table
    made = survival_estimates(predictions)
    for metric, subgroup, until in (("uno_c", "all", 36), ("brier_at_horizon", "horizon=12", 12)):
        seen = int(((t["event"] == 1) & (t["time"] <= until)).sum())
        assert pick(made, metric, subgroup)["n_events"] == seen


def test_concordance_is_not_estimable_under_ten_events():
    time, event, x = followed(60)
    few = event & (np.cumsum(event) <= 9)
    made = survival_estimates(table([rows(time, few, x, curves(np.exp(x) / 40), fold=np.arange(60) % 3)]))
    row = pick(made, "uno_c")
    seen = int((few & (time <= 36)).sum())
    assert np.isnan(row["value"])
    assert row["note"] == f"not estimable: {seen} patients with the event by 36 (10 needed)"


def test_a_horizon_is_not_estimable_under_ten_patients_followed_beyond_it():
    time, event, x = followed(60)
    early = np.where(np.arange(60) < 9, time, np.minimum(time, 20))
    made = survival_estimates(table([rows(early, event, x, curves(np.exp(x) / 40), fold=np.arange(60) % 3)]))
    row = pick(made, "cumulative_auc", "horizon=24")
    beyond = int((early > 24).sum())
    assert beyond < 10
    assert np.isnan(row["value"])
    assert row["note"] == f"not estimable: {beyond} patients followed beyond 24 (10 needed)"
    assert pick(made, "cumulative_auc", "horizon=12")["value"] > 0.5


def test_one_test_set_has_a_patient_bootstrap():
    row = pick(survival_estimates(holdout()), "uno_c")
    assert row["low"] < row["value"] < row["high"]
    assert row["method"] == f"one test set, patient bootstrap ({BOOTSTRAP} resamples)"


def test_patients_with_several_units_are_drawn_whole():
    n = 160
    time, event, x = followed(n // 4)
    each = [np.repeat(v, 4) for v in (time, event, x)]
    patient = [f"P{i // 4:04d}" for i in range(n)]
    many = table([rows(*each, curves(np.exp(each[2]) / 40), scheme="holdout", patient=patient)])
    once = table([rows(time, event, x, curves(np.exp(x) / 40), scheme="holdout")])
    a, b = pick(survival_estimates(many), "uno_c"), pick(survival_estimates(once), "uno_c")
    assert (a["n_patients"], a["n_events"]) == (b["n_patients"], b["n_events"])
    assert (a["low"], a["high"]) == pytest.approx((b["low"], b["high"]), abs=1e-9)


def test_leave_one_site_out_is_a_mean_over_sites_with_a_prediction_interval():
    made = survival_estimates(cross_validated(320, sites=4, scheme="leave_one_site_out"))
    row = pick(made, "uno_c")
    assert row["method"] == "random-effects mean over 4 sites (DerSimonian–Laird), prediction interval for a new site"
    assert row["low"] < row["value"] < row["high"]
    assert set(made[made["metric"] == "uno_c"]["subgroup"]) == {"all", "site=S0", "site=S1", "site=S2", "site=S3"}


def test_censoring_is_estimated_from_every_patient_of_the_table_once():
    base = cross_validated(100, repeats=3)
    tune = base.table[base.table["repeat"] == 0].assign(part="tune", repeat=7)
    other = base.table.assign(experiment="other", time=1.0)
    group = next(survival_groups(table([base.table, tune, other])))
    time, event, _ = followed(100)
    curve = censoring_curve(time, event)
    np.testing.assert_array_equal(group.follow_up.censoring.times, curve.times)
    np.testing.assert_array_equal(group.follow_up.censoring.values, curve.values)


def test_a_patient_with_two_follow_ups_is_named():
    base = cross_validated(40, repeats=2)
    wrong = base.table.copy()
    wrong.loc[0, "time"] = 77.0
    with pytest.raises(ModelError, match=r"patient 'P0000' with the times .*77"):
        survival_estimates(table([wrong]))


def test_a_metric_of_the_other_kind_is_refused_by_name():
    with pytest.raises(PluginError, match="metric 'accuracy', which reads probabilities"):
        survival_estimates(cross_validated(40), metrics=["accuracy"])
    with pytest.raises(PluginError, match="metric 'uno_c', which reads survival"):
        estimates(cross_validated(40), metrics=["uno_c"])  # type: ignore[arg-type]


def test_integrated_scores_need_two_times():
    time, event, x = followed(60)
    one = table([rows(time, event, x, curves(np.exp(x) / 40, (12.0,)), times=(12.0,))], (12.0,), (12.0,))
    fold = next(survival_groups(one)).folds[0]
    with pytest.raises(NotEstimable, match="fewer than two times"):
        METRICS.create("integrated_brier").compute(fold.sample)


def test_nobody_followed_so_far_means_no_brier_score():
    time, event, x = followed(80)
    short = table([rows(np.minimum(time, 20), event & (time < 20), x, curves(np.exp(x) / 40))])
    fold = next(survival_groups(short)).folds[0]
    assert set(METRICS.create("brier_at_horizon").compute(fold.sample)) == {"12"}
    with pytest.raises(NotEstimable, match="followed up to tau"):
        METRICS.create("integrated_brier").compute(fold.sample)


def test_forecasting_everyone_kaplan_meier_scores_zero():
    time, event, x = followed(150)
    everyone = kaplan_meier(time, event).curve.at(TIMES)
    flat = table([rows(time, event, x, np.tile(everyone, (150, 1)))])
    assert pick(survival_estimates(flat), "scaled_integrated_brier")["value"] == pytest.approx(0, abs=1e-12)


def test_the_better_model_is_told_from_the_worse_on_the_same_folds():
    good, bad = cross_validated(200, repeats=2, model="good"), cross_validated(200, repeats=2, model="bad", noise=2.0)
    row = compare_survival(table([good.table, bad.table])).iloc[0]
    groups = survival_groups(table([bad.table, good.table]))
    folds = [[METRICS.create("uno_c").compute(fold.sample) for fold in group.folds] for group in groups]
    assert row["difference"] == pytest.approx(np.mean(np.subtract(*folds)))
    assert (row["model_a"], row["model_b"], row["n_folds"]) == ("bad", "good", 10)
    assert row["high"] < 0
    assert row["p"] < 0.05
    assert row["method"] == "corrected resampled t on 10 folds (Nadeau–Bengio)"


def test_on_one_test_set_models_are_swapped_patient_by_patient():
    time, event, x = followed(80)
    noise = x + np.random.default_rng(9).normal(scale=3, size=80)
    forecasts = {"a": x, "b": noise}
    frames = [rows(time, event, r, curves(np.exp(r) / 40), scheme="holdout", model=m) for m, r in forecasts.items()]
    row = compare_survival(table(frames)).iloc[0]
    assert row["difference"] > 0
    assert row["p"] < 0.05
    assert row["method"].startswith("models swapped patient by patient")


def test_models_on_other_folds_or_by_a_metric_per_horizon_are_not_compared():
    a, b = cross_validated(60, model="a"), cross_validated(60, model="b", folds=4)
    with pytest.raises(SplitError, match="different splits"):
        compare_survival(table([a.table, b.table]))
    with pytest.raises(ValueError, match="one number a horizon"):
        compare_survival(a, "cumulative_auc")
    with pytest.raises(PluginError, match="reads survival"):
        compare(a, "uno_c")  # type: ignore[arg-type]


def test_a_random_risk_has_concordance_one_half():
    values = []
    for seed in range(8):
        time, event, _ = followed(200, seed)
        rng = np.random.default_rng(seed + 50)
        frames = []
        for repeat in range(2):
            risk = rng.normal(size=200)
            fold = rng.permutation(200) % 5
            frames.append(rows(time, event, risk, curves(np.exp(risk) / 40), fold=fold, repeat=repeat))
        values.append(pick(survival_estimates(table(frames), ["uno_c"]), "uno_c")["value"])
    assert np.mean(values) == pytest.approx(0.5, abs=0.03)
