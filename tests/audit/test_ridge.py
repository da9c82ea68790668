"""The closed-form model: equal to its definition, learnt from training rows alone, ranked like every other model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from phenolens.audit.ridge import Place, auc_by_row, encode, fold_mean_auc, p_of, refit, refits
from phenolens.core.registry import METRICS
from phenolens.evaluate.score import fold_mean

PLACE = Place(train=np.arange(0, 30), test=np.arange(30, 40))


def _table(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"scanner": rng.choice(["X", "Y", "Z"], 40), "thickness": rng.normal(size=40),
                         "field": rng.choice([1.5, 3.0], 40)})  # fmt: skip


@pytest.mark.parametrize("m", [4, 60])
def test_scores_are_those_of_a_ridge_regression_with_few_and_with_many_columns(m):
    rng = np.random.default_rng(m)
    z, y = rng.normal(size=(40, m)), (rng.random(40) < 0.4).astype(float)
    train, test = z[:30] - z[:30].mean(0), z[30:] - z[:30].mean(0)
    penalty = (train**2).sum() / 30
    weights = np.linalg.solve(train.T @ train + penalty * np.eye(m), train.T @ (y[:30] - y[:30].mean()))
    made = refit(z[:30], z[30:], PLACE).scores(y[None])[0]
    np.testing.assert_allclose(made, test @ weights + y[:30].mean(), atol=1e-8)


def test_encoding_is_learnt_from_the_training_rows_alone():
    table = _table()
    changed = table.copy()
    changed.loc[30:, "thickness"] = 1e9
    changed.loc[30:, "scanner"] = "unheard of"
    np.testing.assert_array_equal(encode(table, PLACE)[0], encode(changed, PLACE)[0])
    assert np.abs(encode(changed, PLACE)[1]).max() <= 5


def test_what_is_missing_is_a_level_and_a_column_without_spread_falls_away():
    table = pd.DataFrame({"a": [1.0, np.nan] * 20, "b": [7.0] * 40, "c": [None, "x"] * 20})
    train, test = encode(table, PLACE)
    assert train.shape[1] == test.shape[1] == 3
    assert set(np.unique(train)) == {-1.0, 1.0}


def test_the_statistic_is_the_fold_mean_auc_of_the_estimates():
    places = [Place(train=np.flatnonzero(np.arange(40) % 4 != f), test=np.flatnonzero(np.arange(40) % 4 == f))
              for f in range(4)]  # fmt: skip
    truth = np.random.default_rng(1).integers(0, 3, (2, 40))
    fitted = refits(_table(), places)
    metric = METRICS.create("auc")
    for row, value in zip(truth, fold_mean_auc(fitted, truth, 3), strict=True):
        folds = [(row[f.place.test], np.stack([f.scores((row[None] == c).astype(float))[0] for c in range(3)], axis=1))
                 for f in fitted]  # fmt: skip
        assert value == pytest.approx(fold_mean(metric, folds, ("A", "B", "C")))


def test_a_row_of_one_class_has_no_area_and_ties_count_half():
    scores = np.array([[1.0, 1.0, 2.0], [1.0, 2.0, 3.0]])
    area = auc_by_row(scores, np.array([[True, False, True], [True, True, True]]))
    assert area[0] == 0.75
    assert np.isnan(area[1])


def test_p_counts_the_draws_that_reach_the_real_value():
    assert p_of(np.array([0.7, 0.6, 0.7, 0.8])) == 3 / 4
    assert p_of(np.array([0.9, 0.6, 0.7, 0.8])) == 1 / 4
    assert p_of(np.array([np.nan, 0.6])) == 1
