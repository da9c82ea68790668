"""From predictions to estimates: floors, folds, sites, clusters, and what is never reported."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from evaldata import cross_validated, pick, random_p, rows, table

from phenolens.core.errors import ModelError, PluginError
from phenolens.core.predictions import Predictions
from phenolens.core.registry import METRICS
from phenolens.evaluate.interval import nadeau_bengio
from phenolens.evaluate.metric import metrics_reading, rank_auc
from phenolens.evaluate.score import COLUMNS, estimates, fold_mean, fold_values


def test_the_estimate_is_the_mean_over_folds_with_the_nadeau_bengio_interval():
    predictions = cross_validated(60, repeats=2)
    t = predictions.table
    values = [rank_auc(f["p_A"].to_numpy(), (f["truth"] == "A").to_numpy()) for _, f in t.groupby(["repeat", "fold"])]
    row = pick(estimates(predictions), "auc", "class=A")
    expected = nadeau_bengio(values, 12 / 48, (0.0, 1.0))
    assert expected is not None
    assert row["value"] == pytest.approx(np.mean(values))
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
    assert row["method"] == "mean of 10 folds, Nadeau–Bengio interval"
    assert (row["n_patients"], row["n_events"], row["note"]) == (60, 30, "")


def test_the_table_has_the_agreed_columns_and_every_metric():
    made = estimates(cross_validated(40, sites=2))
    assert tuple(made.columns) == COLUMNS
    assert set(made["metric"]) == set(metrics_reading("probabilities"))
    assert set(made["subgroup"]) == {
        "all", "class=A", "class=B", "site=S0", "site=S1",
        "class=A;site=S0", "class=A;site=S1", "class=B;site=S0", "class=B;site=S1",
    }  # fmt: skip
    pd.testing.assert_frame_equal(made, estimates(cross_validated(40, sites=2)))


def test_tune_rows_count_as_neither_test_nor_training_patients():
    plain = cross_validated(60)
    tune = plain.table.assign(part="tune", fold=(plain.table["fold"] + 1) % 5, p_A=0.0, p_B=1.0)
    both = Predictions(table=pd.concat([plain.table, tune]), classes=plain.classes)
    a, b = pick(estimates(plain), "macro_auc"), pick(estimates(both), "macro_auc")
    assert a["value"] == b["value"]
    assert a["n_patients"] == b["n_patients"] == 60
    widths = [(row["value"] - row["low"]) ** 2 for row in (a, b)]
    assert widths[1] / widths[0] == pytest.approx((1 / 5 + 12 / 36) / (1 / 5 + 12 / 48))


def test_row_order_is_no_matter():
    predictions = cross_validated(40, ("A", "B", "C"), sites=2)
    turned = Predictions(table=predictions.table.sample(frac=1, random_state=1), classes=predictions.classes)
    pd.testing.assert_frame_equal(estimates(predictions), estimates(turned))


def test_auc_under_ten_patients_of_a_class_is_not_estimable_and_accuracy_still_is():
    truth = ["A"] * 9 + ["B"] * 31
    p = random_p(40, 2, 0)
    made = estimates(table([rows(truth, p, ("A", "B"), fold=np.arange(40) % 3)], ("A", "B")))
    for metric, subgroup in (("auc", "class=A"), ("auc", "class=B"), ("macro_auc", "all")):
        row = pick(made, metric, subgroup)
        assert np.isnan(row["value"])
        assert "9 patients with" in row["note"] or "9 patients without" in row["note"]
        assert "10 needed" in row["note"]
    accuracy = pick(made, "accuracy")
    assert 0 <= accuracy["value"] <= 1
    assert (accuracy["n_patients"], accuracy["n_events"]) == (40, 9)


def test_ten_patients_of_a_class_are_enough_over_the_whole_scheme_even_when_each_fold_holds_one():
    classes = ("A", "B", "C", "D")
    predictions = cross_validated(40, classes, folds=10, scheme="one_patient_per_class")
    row = pick(estimates(predictions), "macro_auc")
    assert row["method"] == "mean of 10 folds, Nadeau–Bengio interval"
    assert (row["n_events"], row["note"]) == (10, "")


def test_floors_count_patients_and_not_their_images():
    truth = ["A"] * 20 + ["B"] * 20
    patient = [f"P{i // 4}" for i in range(40)]
    made = estimates(table([rows(truth, random_p(40, 2, 0), ("A", "B"), patient=patient)], ("A", "B")))
    row = pick(made, "macro_auc")
    assert np.isnan(row["value"])
    assert "5 patients with A" in row["note"]
    assert row["n_patients"] == 10


def test_folds_without_the_class_are_left_out_and_counted():
    truth = np.array(["A"] * 12 + ["B"] * 28)
    fold = np.concatenate([np.arange(12) % 3, np.arange(28) % 4])
    row = pick(estimates(table([rows(truth, random_p(40, 2, 1), ("A", "B"), fold=fold)], ("A", "B"))), "macro_auc")
    assert row["method"] == "mean of 3 folds, Nadeau–Bengio interval"
    assert row["note"] == "1 of 4 folds left out: a class is missing in their test sets"


def test_pooled_leave_one_out_of_a_dummy_is_not_reported():
    """The dummy predicts the share of the other class in training: pooled over folds its AUC is 1, with no signal."""
    n = 40
    positive = np.arange(n) % 2 == 0
    share = (positive.sum() - positive) / (n - 1)
    p = np.column_stack([1 - share, share])
    assert rank_auc(p[:, 0], positive) == 1.0
    truth = ["A" if x else "B" for x in positive]
    made = estimates(table([rows(truth, p, ("A", "B"), fold=np.arange(n))], ("A", "B")))
    for metric, subgroup in (("macro_auc", "all"), ("auc", "class=A"), ("auc", "class=B")):
        row = pick(made, metric, subgroup)
        assert np.isnan(row["value"])
        assert "never pooled over folds" in row["note"]


def test_equal_folds_give_no_interval_of_no_width():
    truth = ["A", "B"] * 20
    p = np.array([[0.9, 0.1], [0.1, 0.9]] * 20)
    row = pick(estimates(table([rows(truth, p, ("A", "B"), fold=np.arange(40) // 2 % 5)], ("A", "B"))), "macro_auc")
    assert row["value"] == 1.0
    assert np.isnan(row["low"])
    assert np.isnan(row["high"])
    assert "no interval" in row["note"]


def test_noise_through_a_closed_form_ridge_has_fold_mean_auc_one_half():
    means = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(60, 200)), rng.permutation(np.arange(60) % 2)
        fold = np.empty(60, dtype=int)
        for c in (0, 1):
            fold[y == c] = np.arange(30) % 5
        folds = []
        for f in range(5):
            train, test = fold != f, fold == f
            centre, label = x[train].mean(0), y[train] - y[train].mean()
            inner = x[train] - centre
            weights = inner.T @ np.linalg.solve(inner @ inner.T + 10 * np.eye(train.sum()), label)
            score = 1 / (1 + np.exp(-(x[test] - centre) @ weights))
            folds.append((y[test], np.column_stack([1 - score, score])))
        means.append(fold_mean(METRICS.create("macro_auc"), folds, ("A", "B")))
    assert np.mean(means) == pytest.approx(0.5, abs=0.03)


def test_fold_mean_of_class_aucs_is_the_macro_auc_where_every_fold_holds_every_class():
    truth = np.arange(30) % 3
    folds = [(truth, random_p(30, 3, seed, truth, 1.0)) for seed in range(4)]
    macro, per_class = METRICS.create("macro_auc"), METRICS.create("auc")
    assert fold_mean(macro, folds, "ABC") == pytest.approx(fold_mean(per_class, folds, "ABC"))
    broken = [(np.zeros(5, dtype=int), random_p(5, 3, 0))]
    assert np.isnan(fold_mean(macro, broken, "ABC"))
    assert fold_values(macro, broken, "ABC") == [{}]


def test_a_site_is_the_mean_of_its_share_of_the_folds():
    predictions = cross_validated(80, sites=2)
    t = predictions.table
    inside = t[t["site"] == "S1"]
    values = [rank_auc(f["p_A"].to_numpy(), (f["truth"] == "A").to_numpy()) for _, f in inside.groupby("fold")]
    row = pick(estimates(predictions), "auc", "class=A;site=S1")
    assert row["value"] == pytest.approx(np.mean(values))
    assert (row["n_patients"], row["n_events"]) == (40, 20)


def test_a_site_below_the_floor_is_not_estimable_while_the_whole_is():
    made = estimates(cross_validated(60, sites=4))
    assert np.isfinite(pick(made, "macro_auc")["value"])
    small = pick(made, "macro_auc", "site=S3")
    assert np.isnan(small["value"])
    assert small["note"].startswith("not estimable: ")
    assert np.isfinite(pick(made, "accuracy", "site=S3")["value"])


def _held_out(n: int = 80, patient: list[str] | None = None, signal: float = 1.0) -> Predictions:
    truth = np.arange(n) % 2
    p = random_p(n, 2, 0, truth, signal)
    return table([rows(["AB"[t] for t in truth], p, ("A", "B"), scheme="holdout", patient=patient)], ("A", "B"))


def test_one_test_set_uses_delong_wilson_and_the_patient_bootstrap():
    made = estimates(_held_out())
    assert pick(made, "auc", "class=A")["method"] == "one test set, DeLong interval (logit scale)"
    assert pick(made, "accuracy")["method"] == "one test set, Wilson interval"
    for metric in ("macro_auc", "balanced_accuracy", "log_loss"):
        row = pick(made, metric)
        assert row["method"] == "one test set, patient bootstrap (2000 resamples)"
        assert row["low"] < row["value"] < row["high"]


def test_macro_bootstrap_of_two_classes_agrees_with_delong():
    made = estimates(_held_out(200), metrics=["auc", "macro_auc"])
    a, b = pick(made, "auc", "class=A"), pick(made, "macro_auc")
    assert (a["low"], a["high"]) == pytest.approx((b["low"], b["high"]), abs=0.02)


def test_several_images_a_patient_are_clustered():
    n = 120
    made = estimates(_held_out(n, patient=[f"P{i // 4}" for i in range(n)]))
    for metric, subgroup in (("auc", "class=A"), ("accuracy", "all")):
        row = pick(made, metric, subgroup)
        assert row["method"] == "one test set, patient bootstrap (2000 resamples)"
        assert row["n_patients"] == 30


def _site_left_out(effects: list[float], each: int = 40) -> Predictions:
    frames = []
    for s, signal in enumerate(effects):
        truth = np.arange(each) % 2
        part = rows(["AB"[t] for t in truth], random_p(each, 2, s, truth, signal), ("A", "B"), fold=s,
                    scheme="leave_one_site_out", site=f"S{s}", patient=[f"S{s}P{i}" for i in range(each)])  # fmt: skip
        frames.append(part.assign(unit_id=part["patient"]))
    return table(frames, ("A", "B"))


def test_left_out_sites_are_reported_each_and_as_a_random_effects_mean():
    made = estimates(_site_left_out([1.0, 1.5, 2.0, 0.5]))
    whole = pick(made, "macro_auc")
    sites = [pick(made, "macro_auc", f"site=S{i}") for i in range(4)]
    assert min(s["value"] for s in sites) < whole["value"] < max(s["value"] for s in sites)
    assert all(s["low"] < s["value"] < s["high"] for s in sites)
    assert "random-effects mean over 4 sites (DerSimonian–Laird), prediction interval" in whole["method"]
    assert "confidence interval of the mean" in whole["note"]
    assert pick(made, "auc", "class=A;site=S0")["method"] == "one test set, DeLong interval (logit scale)"


def test_two_left_out_sites_have_a_mean_and_no_prediction_interval():
    whole = pick(estimates(_site_left_out([1.0, 1.5])), "macro_auc")
    assert np.isfinite(whole["value"])
    assert np.isnan(whole["low"])
    assert "3 sites needed" in whole["note"]


def test_left_out_sites_too_small_to_estimate_leave_the_mean_not_estimable():
    made = estimates(_site_left_out([1.0, 1.0, 1.0], each=10))
    whole = pick(made, "macro_auc")
    assert np.isnan(whole["value"])
    assert "0 of 3 sites can be estimated" in whole["note"]
    assert np.isfinite(pick(made, "accuracy")["value"])


def test_a_class_of_two_patients_is_named_and_the_rest_is_shown():
    truth = ["A"] * 20 + ["B"] * 18 + ["C"] * 2
    fold = np.arange(40) % 2
    made = estimates(table([rows(truth, random_p(40, 3, 0), "ABC", fold=fold)], "ABC"))
    assert "2 patients with C" in pick(made, "macro_auc")["note"]
    assert "2 patients with C" in pick(made, "auc", "class=C")["note"]
    assert np.isfinite(pick(made, "auc", "class=A")["value"])
    assert np.isfinite(pick(made, "balanced_accuracy")["value"])


def test_models_and_schemes_are_estimated_apart():
    a, b = cross_validated(40, model="a", seed=1), cross_validated(40, model="b", seed=2)
    both = estimates(table([a.table, b.table, _held_out(40).table.assign(model="a")], ("A", "B")))
    alone = estimates(a)
    pd.testing.assert_series_equal(
        pick(both, "macro_auc", model="a", scheme="patient_kfold"), pick(alone, "macro_auc"), check_names=False
    )
    assert set(zip(both["scheme"], both["model"], strict=True)) == {
        ("patient_kfold", "a"), ("patient_kfold", "b"), ("holdout", "a"),
    }  # fmt: skip


def test_a_truth_that_is_no_class_is_refused():
    predictions = cross_validated(20)
    wrong = Predictions(table=predictions.table.replace({"truth": {"A": "Q"}}), classes=predictions.classes)
    with pytest.raises(ModelError, match="'Q'"):
        estimates(wrong)


def test_an_unknown_metric_is_refused_with_the_nearest():
    with pytest.raises(PluginError, match="macro_auc"):
        estimates(cross_validated(20), metrics=["macro_auk"])


def test_a_metric_dropped_into_the_door_is_estimated(monkeypatch, tmp_path):
    (tmp_path / "error_rate.py").write_text(
        "from dataclasses import dataclass\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class ErrorRate:\n"
        "    version = 1\n    summary = 'share of wrong predictions'\n    reads = 'probabilities'\n"
        "    better = 'lower'\n    per_class = False\n"
        "    def compute(self, truth, p, classes):\n        return float((p.argmax(1) != truth).mean())\n"
        "plugin = ErrorRate\n"
    )
    import phenolens.evaluate.metrics as door

    monkeypatch.setattr(door, "__path__", [*door.__path__, str(tmp_path)])
    monkeypatch.delitem(METRICS.__dict__, "_homes", raising=False)
    try:
        made = estimates(cross_validated(40))
    finally:
        METRICS.__dict__.pop("_homes", None)
        sys.modules.pop("phenolens.evaluate.metrics.error_rate", None)
    assert pick(made, "error_rate")["value"] == pytest.approx(1 - pick(made, "accuracy")["value"])


def test_evaluation_loads_neither_torch_nor_a_model():
    code = (
        "import sys, phenolens.evaluate.score, phenolens.evaluate.compare, phenolens.evaluate.curves\n"
        "from phenolens.core.registry import METRICS\n"
        "[METRICS.create(n) for n in METRICS.names()]\n"
        "rooms = tuple('phenolens.' + room for room in ('models', 'features', 'slides', 'tasks'))\n"
        "bad = [m for m in sys.modules if m in ('torch', 'sklearn') or m.startswith(rooms)]\n"
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
