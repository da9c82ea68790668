"""Logistic regression on named parts: scikit-learn's numbers, coefficients by name, sparse where asked."""

from __future__ import annotations

import json

import numpy as np
import pytest
from bagdata import CLASSES
from safetensors.numpy import load
from sklearn.linear_model import LogisticRegression
from tabledata import cohort

from phenolens.core.registry import MODELS
from phenolens.core.store import canonical
from phenolens.models.columns import TableModel
from phenolens.models.linear import GRID
from phenolens.models.record import weights_bytes
from phenolens.models.regression import elastic_net
from phenolens.models.tabular import fit_table
from phenolens.tasks.classification import Classification

TASK = Classification(target="subtype", classes=CLASSES)
THREE = Classification(target="subtype", classes=("A", "B", "C"))


def standardised(n: int, task: Classification, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    table = fit_table(TableModel(), cohort(n, seed=seed, classes=task.classes, signal=1), task)
    return (table.x - table.x.mean(0)) / table.x.std(0), table.truth


@pytest.mark.parametrize("task", [TASK, THREE])
@pytest.mark.parametrize(("c", "ratio"), [(0.05, 0.5), (1.0, 1.0), (10.0, 0.2)])
def test_the_elastic_net_is_that_of_scikit_learn(task: Classification, c: float, ratio: float) -> None:
    z, truth = standardised(90, task)
    weights = 1.0 + 0.5 * (truth == 0)
    q = 1 if len(task.classes) == 2 else len(task.classes)
    mine = elastic_net(z, truth, weights, c=c, l1_ratio=ratio, start=np.zeros((q, z.shape[1] + 1)))
    solver = LogisticRegression(solver="saga", l1_ratio=ratio, C=c, tol=1e-10, max_iter=200_000, random_state=0)
    solver.fit(z, truth, sample_weight=weights)
    np.testing.assert_allclose(mine[:, :-1], solver.coef_, atol=3e-4)
    np.testing.assert_array_equal(mine[:, :-1] == 0, solver.coef_ == 0)


def test_the_penalty_is_the_one_with_the_least_tune_loss() -> None:
    config = MODELS.create("logistic").fit(cohort(60), cohort(30, seed=1), TASK, seed=0).config()["search"]
    assert list(config["tune_loss"]) == [f"{c:g}" for c in GRID]
    assert config["tune_loss"][f"{config['C']:g}"] == min(config["tune_loss"].values())


@pytest.mark.parametrize("task", [TASK, THREE])
def test_coefficients_are_named_by_part_and_feature_and_point_to_the_signal(task: Classification) -> None:
    examples = cohort(150, classes=task.classes)
    fitted = MODELS.create("logistic").fit(examples[:100], examples[100:], task, seed=0)
    found = fitted.coefficients()
    assert {len(v) for v in found.values()} == {len(task.classes)}
    assert max(found, key=lambda name: found[name][0]) == "T1/size"
    assert max(found, key=lambda name: found[name][1]) == "T2/shape"


def test_the_lasso_leaves_noise_out() -> None:
    examples = cohort(200, signal=3)
    fitted = MODELS.create("logistic", {"l1_ratio": 1.0}).fit(examples[:100], examples[100:], TASK, seed=0)
    used = fitted.config()["search"]["used"]
    assert used >= 2
    assert used == sum(bool((v != 0).any()) for v in fitted.coefficients().values())


def test_a_model_with_absent_parts_and_combat_is_the_same_after_restoring() -> None:
    model = MODELS.create("logistic", {"missing": "impute", "combat": "site", "l1_ratio": 0.5})
    examples = cohort(60, absent=0.3)
    fitted = model.fit(examples[:40], examples[40:], TASK, seed=0)
    restored = model.restore(load(weights_bytes(fitted, "")), json.loads(canonical(fitted.config())))
    np.testing.assert_array_equal(restored.predict(examples), fitted.predict(examples))
    assert weights_bytes(restored, "") == weights_bytes(fitted, "")
    assert restored.config() == fitted.config()
