"""The metrics door: a contract that every metric keeps, and values against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from evaldata import random_p
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from phenolens.core.errors import ModelError, PluginError
from phenolens.core.registry import METRICS
from phenolens.evaluate.metric import NotEstimable, bounds_of, metrics_reading, midranks, rank_auc

CLASSES = ("A", "B", "C")


def _numbers(metric, truth, p):
    value = metric.compute(truth, p, CLASSES)
    parts = list(value.values()) if isinstance(value, dict) else [value]
    return np.array([float("nan") if isinstance(x, NotEstimable) else x for x in parts])


@pytest.mark.parametrize("name", metrics_reading("probabilities"))
def test_every_metric_declares_itself_and_stays_in_its_bounds(name):
    metric = METRICS.create(name)
    assert isinstance(metric.version, int)
    assert metric.summary
    assert metric.reads == "probabilities"
    assert metric.better in ("higher", "lower", "target")
    assert (metric.better == "target") == hasattr(metric, "target")
    low, high = bounds_of(metric)
    for seed in range(20):
        truth = np.arange(30) % 3
        values = _numbers(metric, truth, random_p(30, 3, seed, truth, signal=seed / 4))
        assert len(values) == (3 if metric.per_class else 1)
        known = values[~np.isnan(values)]
        assert ((known >= low) & (known <= high)).all()
        assert len(known) == len(values) or metric.better == "target"


@pytest.mark.parametrize("name", [n for n in metrics_reading("probabilities") if METRICS.create(n).better == "target"])
def test_every_metric_with_a_target_is_nearer_to_it_for_honest_probabilities(name):
    metric = METRICS.create(name)
    honest = random_p(900, 3, 5)
    truth = (honest.cumsum(1) < np.random.default_rng(6).random((900, 1))).sum(1)
    lying = honest**3 * np.array([4.0, 1.0, 0.2])
    lying /= lying.sum(1, keepdims=True)
    away = [np.abs(_numbers(metric, truth, p) - metric.target) for p in (honest, lying)]
    assert (away[0] < 0.3).all()
    assert (away[0] < away[1]).all()


@pytest.mark.parametrize("name", [n for n in metrics_reading("probabilities") if METRICS.create(n).better != "target"])
def test_every_metric_gets_worse_when_predictions_do(name):
    metric = METRICS.create(name)
    truth = np.arange(90) % 3
    good = random_p(90, 3, 0, truth, signal=4.0)
    bad = good[np.random.default_rng(1).permutation(90)]
    change = _numbers(metric, truth, good) - _numbers(metric, truth, bad)
    assert (change > 0).all() if metric.better == "higher" else (change < 0).all()


@pytest.mark.parametrize("name", metrics_reading("probabilities"))
def test_the_order_of_units_is_no_matter_to_any_metric(name):
    metric = METRICS.create(name)
    truth = np.arange(60) % 3
    p = random_p(60, 3, 3, truth, signal=1.0)
    turned = np.random.default_rng(0).permutation(60)
    np.testing.assert_allclose(
        _numbers(metric, truth, p), _numbers(metric, truth[turned], p[turned]), rtol=1e-12, atol=1e-12
    )


scores = st.lists(st.integers(0, 8), min_size=2, max_size=60)


@given(values=scores, data=st.data())
@settings(max_examples=200, deadline=None)
def test_auc_with_ties_equals_scikit_learn(values, data):
    positive = np.array(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))))
    x = np.array(values) / 8
    if positive.all() or not positive.any():
        with pytest.raises(NotEstimable):
            rank_auc(x, positive)
    else:
        assert rank_auc(x, positive) == pytest.approx(oracle.roc_auc_score(positive, x), abs=1e-12)


def test_midranks_share_the_mean_of_equal_scores():
    np.testing.assert_array_equal(midranks(np.array([3.0, 1.0, 3.0, 2.0])), [3.5, 1.0, 3.5, 2.0])


@given(seed=st.integers(0, 10_000), n=st.integers(6, 40))
@settings(max_examples=60, deadline=None)
def test_every_metric_equals_scikit_learn(seed, n):
    truth = np.random.default_rng(seed).permutation(np.arange(n) % 3)
    p = random_p(n, 3, seed, truth, signal=0.5)
    guess = p.argmax(1)
    expected = {
        "accuracy": oracle.accuracy_score(truth, guess),
        "balanced_accuracy": oracle.balanced_accuracy_score(truth, guess),
        "macro_recall": oracle.recall_score(truth, guess, average="macro"),
        "macro_precision": oracle.precision_score(truth, guess, average="macro", zero_division=0),
        "log_loss": oracle.log_loss(truth, p, labels=[0, 1, 2]),
        "macro_auc": oracle.roc_auc_score(truth, p, multi_class="ovr", average="macro"),
        "brier": ((p - np.eye(3)[truth]) ** 2).sum(1).mean() / 2,
    }
    for name, value in expected.items():
        assert METRICS.create(name).compute(truth, p, CLASSES) == pytest.approx(value, abs=1e-9), name


def test_a_class_never_predicted_counts_as_precision_zero():
    truth = np.array([0, 0, 1, 1, 2])
    p = np.array([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    assert METRICS.create("macro_precision").compute(truth, p, CLASSES) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


def test_macro_auc_of_two_classes_is_the_auc_of_either():
    truth = np.arange(20) % 2
    p = random_p(20, 2, 0, truth, signal=1.0)
    both = METRICS.create("auc").compute(truth, p, ("A", "B"))
    assert both["A"] == pytest.approx(both["B"])
    assert METRICS.create("macro_auc").compute(truth, p, ("A", "B")) == pytest.approx(both["A"])


def test_auc_has_no_value_without_a_class_and_names_it():
    truth = np.array([0, 0, 1])
    with pytest.raises(NotEstimable, match="no patient with C"):
        METRICS.create("macro_auc").compute(truth, random_p(3, 3, 0), CLASSES)
    assert set(METRICS.create("auc").compute(truth, random_p(3, 3, 0), CLASSES)) == {"A", "B"}


def test_sensitivity_and_specificity_at_the_most_probable_class_equal_scikit_learn():
    truth = np.random.default_rng(0).permutation(np.arange(40) % 3)
    p = random_p(40, 3, 1, truth, signal=0.7)
    guess = p.argmax(1)
    found = METRICS.create("sensitivity").compute(truth, p, CLASSES)
    left = METRICS.create("specificity").compute(truth, p, CLASSES)
    assert list(found.values()) == pytest.approx(list(oracle.recall_score(truth, guess, average=None)))
    for i, name in enumerate(CLASSES):
        assert left[name] == pytest.approx(oracle.recall_score(truth != i, guess != i))


def test_sensitivity_at_a_threshold_calls_everyone_from_it_on():
    truth = np.array([1, 1, 1, 1, 0, 0])
    p = np.array([0.3, 0.2, 0.9, 0.25, 0.3, 0.1])
    both = np.column_stack([1 - p, p])
    params = {"positive": "B", "threshold": 0.3}
    assert METRICS.create("sensitivity", params).compute(truth, both, ("A", "B")) == {"B": 0.5}
    assert METRICS.create("specificity", params).compute(truth, both, ("A", "B")) == {"B": 0.5}
    assert METRICS.create("sensitivity", params).counted(truth, both, ("A", "B"), "B") == (2, 4)


def test_a_positive_class_that_is_none_of_the_classes_is_named():
    metric = METRICS.create("sensitivity", {"positive": "desmoplasic"})
    with pytest.raises(ModelError, match="desmoplasic"):
        metric.compute(np.array([0, 1]), random_p(2, 2, 0), ("other", "desmoplastic"))
    with pytest.raises(PluginError, match="between 0 and 1"):
        METRICS.create("sensitivity", {"threshold": 1.2})


def test_certain_errors_cost_a_finite_log_loss():
    p = np.array([[1.0, 0.0, 0.0]])
    assert METRICS.create("log_loss").compute(np.array([1]), p, CLASSES) == pytest.approx(36.04, abs=0.01)


@pytest.mark.parametrize("name", [n for n, m in metrics_reading("probabilities").items() if hasattr(m, "resampled")])
def test_resamples_at_once_are_the_values_of_the_repeated_units(name):
    metric = METRICS.create(name)
    truth = np.arange(24) % 3
    p = random_p(24, 3, 7, truth, signal=0.5).round(1)
    p /= p.sum(1, keepdims=True)
    counts = np.random.default_rng(2).multinomial(24, np.ones(24) / 24, 60).astype(float)
    counts[0, truth == 2] = 0
    for row, value in zip(counts.astype(int), metric.resampled(truth, p, CLASSES, counts), strict=True):
        drawn = np.repeat(np.arange(24), row)
        try:
            assert value == pytest.approx(metric.compute(truth[drawn], p[drawn], CLASSES), abs=1e-12)
        except NotEstimable:
            assert np.isnan(value)
