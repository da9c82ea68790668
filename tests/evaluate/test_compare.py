"""Models are compared on the same test sets or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from evaldata import cross_validated, random_p, rows, table
from scipy import stats

from phenolens.core.errors import SplitError
from phenolens.core.registry import METRICS
from phenolens.evaluate.compare import _swapped_at_once, _swapped_each, benjamini_hochberg, compare, corrected_t, holm
from phenolens.evaluate.folds import groups
from phenolens.evaluate.interval import delong_pair
from phenolens.evaluate.score import fold_values


def _models(*signals: float, repeats: int = 2):
    base = cross_validated(60, repeats=repeats, model="m0", signal=signals[0])
    frames = [base.table]
    for i, signal in enumerate(signals[1:], 1):
        t = base.table.assign(model=f"m{i}")
        truth = (t["truth"] == "B").to_numpy().astype(int)
        t[["p_A", "p_B"]] = random_p(len(t), 2, 77 + i, truth, signal)
        frames.append(t)
    return table(frames, ("A", "B"))


def test_the_corrected_t_equals_the_formula():
    predictions = _models(0.3, 2.0)
    folds = [fold_values(METRICS.create("macro_auc"), ((f.truth, f.p) for f in g.folds), g.classes)
             for g in groups(predictions)]  # fmt: skip
    d = np.array([a[None] - b[None] for a, b in zip(*folds, strict=True)])
    t = d.mean() / np.sqrt(d.var(ddof=1) * (1 / 10 + 12 / 48))
    row = compare(predictions).iloc[0]
    assert row["difference"] == pytest.approx(d.mean())
    assert row["p"] == pytest.approx(2 * stats.t.sf(abs(t), 9))
    assert row["low"] < row["difference"] < row["high"] < 0
    assert (row["model_a"], row["model_b"], row["n_folds"]) == ("m0", "m1", 10)


def test_holm_equals_the_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    adjusted = holm([0.01, float("nan"), 0.8])
    assert adjusted[0] == pytest.approx(0.02)
    assert np.isnan(adjusted[1])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_every_pair_is_compared_and_corrected():
    made = compare(_models(0.0, 1.0, 2.0))
    assert list(zip(made["model_a"], made["model_b"], strict=True)) == [("m0", "m1"), ("m0", "m2"), ("m1", "m2")]
    assert (made["p_holm"] >= made["p"]).all()


def test_different_splits_are_refused():
    a, b = cross_validated(40, model="a", seed=1), cross_validated(40, model="b", seed=2)
    with pytest.raises(SplitError, match="different units"):
        compare(table([a.table, b.table], ("A", "B")))
    with pytest.raises(SplitError, match="different splits"):
        compare(table([a.table, a.table.assign(model="b", split_hash="other")], ("A", "B")))


def test_equal_models_differ_by_nothing_with_p_one():
    base = cross_validated(40)
    row = compare(table([base.table, base.table.assign(model="n")], ("A", "B"))).iloc[0]
    assert (row["difference"], row["p"]) == (0.0, 1.0)


def test_a_holdout_is_compared_by_swapping_patients():
    truth = np.arange(80) % 2
    names = ["AB"[t] for t in truth]
    good, noise, more = random_p(80, 2, 0, truth, 2.0), random_p(80, 2, 1), random_p(80, 2, 2)
    frames = [rows(names, p, ("A", "B"), scheme="holdout", model=m) for m, p in
              (("good", good), ("more", more), ("noise", noise))]  # fmt: skip
    made = compare(table(frames, ("A", "B")), "log_loss").set_index(["model_a", "model_b"])
    assert made.loc[("good", "noise"), "p"] < 0.01
    assert made.loc[("more", "noise"), "p"] > 0.05
    assert "swapped" in made.loc[("good", "noise"), "method"]


REFERENCE = Path(__file__).with_name("reference")


def _two_scores(scheme="holdout", patient=None):
    """The table of the references as two models on one test set."""
    data = pd.read_csv(REFERENCE / "data.csv")
    names = ["AB"[t] for t in data["y"]]
    who = data["patient"].astype(str).tolist() if patient else None
    frames = [rows(names, np.column_stack([1 - data[m], data[m]]), ("A", "B"), scheme=scheme, model=m, patient=who)
              for m in ("a", "b")]  # fmt: skip
    return table(frames, ("A", "B"))


def test_the_paired_delong_test_equals_proc():
    known = json.loads((REFERENCE / "delong.json").read_text("utf-8"))
    data = pd.read_csv(REFERENCE / "data.csv")
    areas, covariance = delong_pair(data[["a", "b"]].to_numpy().T, data["y"].to_numpy() == 1)
    assert areas == pytest.approx(known["auc"], abs=1e-6)
    assert covariance.diagonal() == pytest.approx(known["variance"], abs=1e-6)
    assert covariance[0, 1] == pytest.approx(known["covariance"], abs=1e-6)
    row = compare(_two_scores()).iloc[0]
    assert row["method"] == "paired DeLong test on one test set"
    assert row["difference"] == pytest.approx(known["auc"][0] - known["auc"][1], abs=1e-6)
    assert (row["low"], row["high"]) == pytest.approx((known["low"], known["high"]), abs=1e-6)
    assert row["p"] == pytest.approx(known["p"], abs=1e-6)
    assert row["p"] == pytest.approx(known["p"], rel=1e-6)


def test_delong_is_not_used_where_a_patient_has_several_units_or_a_class_is_small():
    assert "swapped" in compare(_two_scores(patient=True)).iloc[0]["method"]
    truth = np.arange(40) < 9
    frames = [rows(["AB"[int(t)] for t in truth], random_p(40, 2, seed), ("A", "B"), scheme="holdout", model=f"m{seed}")
              for seed in (0, 1)]  # fmt: skip
    assert "swapped" in compare(table(frames, ("A", "B")), floor=False).iloc[0]["method"]


def test_what_is_not_estimable_of_one_model_is_not_of_two():
    names = ["AB"[int(t)] for t in np.arange(40) < 9]
    frames = [rows(names, random_p(40, 2, seed), ("A", "B"), scheme="holdout", model=f"m{seed}") for seed in (0, 1)]
    row = compare(table(frames, ("A", "B"))).iloc[0]
    assert np.isnan(row[["difference", "p", "p_holm"]].astype(float)).all()
    assert row["note"] == "not estimable: 9 patients without A and 9 patients with B (10 needed)"
    assert np.isfinite(compare(table(frames, ("A", "B")), "balanced_accuracy").iloc[0]["difference"])


@pytest.mark.parametrize("at_once", [True, False])
def test_a_difference_on_a_holdout_has_the_interval_of_paired_resamples(at_once, monkeypatch):
    metric = "log_loss"
    if not at_once:
        monkeypatch.delattr(METRICS.plugin(metric)[0], "resampled")
    truth = np.arange(80) % 2
    names, good, noise = ["AB"[t] for t in truth], random_p(80, 2, 0, truth, 2.0), random_p(80, 2, 1)
    frames = [rows(names, p, ("A", "B"), scheme="holdout", model=m) for m, p in (("a", good), ("b", noise))]
    row = compare(table(frames, ("A", "B")), metric).iloc[0]
    measure, rng = METRICS.create(metric), np.random.default_rng(5)
    drawn = [rng.integers(0, 80, 80) for _ in range(2000)]
    differences = [measure.compute(truth[r], good[r], ("A", "B")) - measure.compute(truth[r], noise[r], ("A", "B"))
                   for r in drawn]  # fmt: skip
    spread = np.std(differences)
    assert (row["low"], row["high"]) == pytest.approx(np.quantile(differences, [0.025, 0.975]), abs=0.25 * spread)
    assert row["low"] < row["difference"] < row["high"]
    again = compare(table(frames[::-1], ("A", "B")), metric).iloc[0]
    assert (again["low"], again["high"]) == (row["low"], row["high"])


def test_two_models_that_order_patients_alike_on_a_holdout_differ_by_nothing():
    one = _two_scores()
    other = one.table[one.table["model"] == "a"].assign(model="b")
    row = compare(table([one.table[one.table["model"] == "a"], other], ("A", "B"))).iloc[0]
    assert (row["difference"], row["p"]) == (0.0, 1.0)
    assert "alike" in row["note"]


def test_benjamini_hochberg_equals_the_worked_example():
    assert benjamini_hochberg([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    adjusted = benjamini_hochberg([0.01, float("nan"), 0.8])
    assert adjusted[0] == pytest.approx(0.02)
    assert np.isnan(adjusted[1])
    assert benjamini_hochberg([]) == []
    made = compare(_models(0.0, 1.0, 2.0))
    assert (made["p"] <= made["p_bh"] + 1e-15).all()
    assert (made["p_bh"] <= made["p_holm"] + 1e-15).all()


def test_the_corrected_t_equals_the_one_computed_by_r():
    known = json.loads((REFERENCE / "nadeau_bengio.json").read_text("utf-8"))
    made = corrected_t(np.array(known["values"]), known["n_test"] / known["n_train"])
    assert (made["low"], made["high"], made["p"]) == pytest.approx((known["low"], known["high"], known["p"]), abs=1e-6)


def test_a_metric_that_is_per_class_is_refused():
    with pytest.raises(ValueError, match="one number a class"):
        compare(cross_validated(20), metric="auc")


@pytest.mark.parametrize("classes", [("A", "B"), ("A", "B", "C")])
def test_swaps_of_the_area_at_once_equal_swaps_one_by_one(classes):
    a, b = groups(table([cross_validated(60, classes, folds=3, model=m, seed=s).table.assign(fold=f, split_hash="h")
                         for m, s in (("a", 0), ("b", 1)) for f in (0, 1)], classes))  # fmt: skip
    for fold in (*a.folds, *b.folds):
        fold.p.round(1, out=fold.p)
    metric, patients = METRICS.create("macro_auc"), np.arange(60)
    coins = np.random.default_rng(0).integers(0, 2, (30, 60)).astype(bool)
    at_once, each = (swap(a, b, metric, patients, coins) for swap in (_swapped_at_once, _swapped_each))
    np.testing.assert_allclose(at_once, each, atol=1e-12)
