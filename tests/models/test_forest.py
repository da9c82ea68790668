"""The forest kept as arrays is scikit-learn's forest."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load
from tabledata import cohort

from phenolens.core.registry import MODELS
from phenolens.core.store import canonical
from phenolens.models.columns import TableModel
from phenolens.models.forest import grow
from phenolens.models.record import weights_bytes
from phenolens.models.tabular import fit_table
from phenolens.tasks.classification import Classification

CLASSES = ("A", "B", "C")
FEW = {"trees": 40}


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("limits", [{"leaf": 1, "depth": None}, {"leaf": 4, "depth": 3}])
def test_predictions_are_those_of_scikit_learn(k: int, limits: dict[str, int | None]) -> None:
    task = Classification(target="subtype", classes=CLASSES[:k])
    train, test = cohort(80, classes=task.classes), cohort(40, seed=1, classes=task.classes)
    fitted = MODELS.create("forest", FEW | limits).fit(train, (), task, seed=5)
    table = fit_table(TableModel(), train, task)
    forest = grow(table, seed=5, trees=40, **limits)
    rows = np.stack([table.reader.row(e) for e in test])
    np.testing.assert_allclose(fitted.predict(test), forest.predict_proba(rows), rtol=0, atol=1e-12)


def test_importances_point_to_the_signal_and_sum_to_one() -> None:
    task = Classification(target="subtype", classes=CLASSES)
    fitted = MODELS.create("forest", FEW).fit(cohort(150, classes=CLASSES), (), task, seed=0)
    found = fitted.coefficients()
    assert set(sorted(found, key=lambda name: -found[name][0])[:2]) == {"T1/size", "T2/shape"}
    assert sum(v[0] for v in found.values()) == pytest.approx(1)
    assert {v.shape for v in found.values()} == {(3,)}


def test_a_forest_of_absent_parts_is_the_same_after_restoring() -> None:
    task = Classification(target="subtype", classes=CLASSES[:2])
    model = MODELS.create("forest", {**FEW, "missing": "impute", "combat": "site"})
    examples = cohort(60, absent=0.3)
    fitted = model.fit(examples, (), task, seed=0)
    restored = model.restore(load(weights_bytes(fitted, "")), json.loads(canonical(fitted.config())))
    np.testing.assert_array_equal(restored.predict(examples), fitted.predict(examples))
    assert weights_bytes(restored, "") == weights_bytes(fitted, "")


def test_another_seed_grows_another_forest() -> None:
    task = Classification(target="subtype", classes=CLASSES[:2])
    a, b = (MODELS.create("forest", FEW).fit(cohort(40), (), task, seed=s).predict(cohort(10, seed=1)) for s in (0, 1))
    assert not np.array_equal(a, b)
