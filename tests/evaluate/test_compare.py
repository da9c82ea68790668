"""Models are compared on the same test sets or not at all."""

from __future__ import annotations

import numpy as np
import pytest
from evaldata import cross_validated, random_p, rows, table
from scipy import stats

from phenolens.core.errors import SplitError
from phenolens.core.registry import METRICS
from phenolens.evaluate.compare import compare, holm
from phenolens.evaluate.folds import groups
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
    made = compare(table(frames, ("A", "B"))).set_index(["model_a", "model_b"])
    assert made.loc[("good", "noise"), "p"] < 0.01
    assert made.loc[("more", "noise"), "p"] > 0.05
    assert "swapped" in made.loc[("good", "noise"), "method"]


def test_a_metric_that_is_per_class_is_refused():
    with pytest.raises(ValueError, match="one number a class"):
        compare(cross_validated(20), metric="auc")
