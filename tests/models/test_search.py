"""The workflow search: inner folds of whole patients, no look at what is held out, an ensemble that is only arrays."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from bagdata import CLASSES, split_of
from safetensors.numpy import load
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from tabledata import cohort, unit

from phenolens.core.errors import ModelError, PluginError
from phenolens.core.registry import MODELS
from phenolens.core.store import canonical
from phenolens.models.columns import TableModel
from phenolens.models.fit import run_fold
from phenolens.models.record import weights_bytes
from phenolens.models.search.fit import inner_split, platt, score, try_all
from phenolens.models.search.space import draw_workflows
from phenolens.models.tabular import Table, fit_table
from phenolens.tasks.classification import Classification

TASK = Classification(target="subtype", classes=CLASSES)
THREE = Classification(target="subtype", classes=("A", "B", "C"))
FEW = {"workflows": 40, "ensemble": 5}


def table_of(n: int, task: Classification = TASK, **more: float) -> Table:
    return fit_table(TableModel(), cohort(n, classes=task.classes, **more), task)  # type: ignore[arg-type]


@pytest.mark.parametrize("task", [TASK, THREE])
def test_the_search_learns_and_is_the_same_after_restoring(task: Classification) -> None:
    examples = cohort(150, classes=task.classes, signal=2.5, absent=0.2)
    model = MODELS.create("search", {**FEW, "missing": "impute", "combat": "site"})
    fitted = model.fit(examples[:80], examples[80:100], task, seed=0)
    p, truth = fitted.predict(examples[100:]), np.array([task.truth(e) for e in examples[100:]])
    assert np.mean([roc_auc_score(truth == c, p[:, c]) for c in range(len(task.classes))]) > 0.85
    restored = model.restore(load(weights_bytes(fitted, "")), json.loads(canonical(fitted.config())))
    np.testing.assert_array_equal(restored.predict(examples), fitted.predict(examples))
    assert weights_bytes(restored, "") == weights_bytes(fitted, "")
    assert restored.config() == fitted.config()


def test_every_classifier_is_kept_as_arrays_that_give_its_predictions_again() -> None:
    examples = cohort(70)
    model = MODELS.create("search", {"workflows": 40, "ensemble": 40})
    fitted = model.fit(examples[:50], examples[50:], TASK, seed=0)
    assert len(fitted.config()["search"]["kept"]) == 7
    restored = model.restore(load(weights_bytes(fitted, "")), json.loads(canonical(fitted.config())))
    np.testing.assert_array_equal(restored.predict(examples), fitted.predict(examples))


def test_the_first_workflows_do_not_depend_on_how_many_are_drawn() -> None:
    assert draw_workflows(50, seed=3)[:20] == draw_workflows(20, seed=3)
    assert draw_workflows(20, seed=4) != draw_workflows(20, seed=3)


def test_the_order_of_examples_changes_no_byte_and_the_seed_changes_the_search() -> None:
    examples = cohort(60)
    model = MODELS.create("search", FEW)
    a, b, c = (
        weights_bytes(model.fit(train, examples[40:], TASK, seed=s), "")
        for train, s in ((examples[:40], 1), (examples[:40][::-1], 1), (examples[:40], 2))
    )
    assert a == b
    assert a != c


def test_an_inner_fold_is_decided_on_by_fits_that_saw_neither_its_labels_nor_its_features() -> None:
    table, drawn = table_of(60), draw_workflows(60, seed=0)
    fold = inner_split(table, 3, seed=0)
    held = fold == 1
    before = try_all(table, drawn, fold)
    turned = replace(table, truth=np.where(held, 1 - table.truth, table.truth))
    np.testing.assert_array_equal(try_all(turned, drawn, fold)[:, held], before[:, held])
    one = np.flatnonzero(held)[0]
    x = table.x.copy()
    x[one] = 1e6
    others = held & (np.arange(len(x)) != one)
    np.testing.assert_allclose(try_all(replace(table, x=x), drawn, fold)[:, others], before[:, others], atol=1e-10)


def test_inner_folds_keep_patients_whole_and_hold_every_class() -> None:
    units = [unit(f"p{i // 2:02d}", "AB"[i // 2 % 4 == 0], unit_id=f"p{i // 2:02d}/{i}", T1=[i, 1]) for i in range(80)]
    table = fit_table(TableModel(), units, TASK)
    fold = inner_split(table, 5, seed=0)
    assert set(fold) == set(range(5))
    for patient in set(table.patients):
        assert len({f for f, p in zip(fold, table.patients, strict=True) if p == patient}) == 1
    for f in range(5):
        assert np.bincount(table.truth[fold == f]).tolist() == [12, 4]


def test_a_small_class_makes_fewer_inner_folds_and_a_single_patient_is_refused() -> None:
    units = [unit(f"p{i:02d}", "B" if i < 3 else "A", T1=[i, 1]) for i in range(20)]
    assert set(inner_split(fit_table(TableModel(), units, TASK), 5, seed=0)) == {0, 1, 2}
    with pytest.raises(ModelError, match="a class with 1 training patient"):
        inner_split(fit_table(TableModel(), units[2:], TASK), 5, seed=0)


@pytest.mark.parametrize("task", [TASK, THREE])
def test_the_score_is_the_mean_auc_of_the_inner_folds(task: Classification) -> None:
    table = table_of(60, task)
    fold = inner_split(table, 4, seed=0)
    decisions = np.round(np.random.default_rng(0).normal(size=(3, 60, 1 if task is TASK else 3)), 1)
    columns = [(0, 1)] if task is TASK else [(c, c) for c in range(3)]
    expected = [
        np.mean([roc_auc_score(table.truth[fold == f] == c, d[fold == f, j]) for f in range(4) for j, c in columns])
        for d in decisions
    ]
    np.testing.assert_allclose(score(decisions, table.truth, fold, len(task.classes)), expected)


def test_decisions_become_probabilities_by_platts_curve() -> None:
    draw = np.random.default_rng(0)
    truth = (draw.random(400) < 0.5).astype(np.intp)
    decisions = 3.0 * (truth + draw.normal(size=400))[:, None] + 7
    slope, offset = platt(decisions, truth, np.ones(2))
    free = LogisticRegression(C=np.inf, tol=1e-10).fit(decisions, truth)
    np.testing.assert_allclose([slope[0], offset[0]], [free.coef_[0, 0], free.intercept_[0]], rtol=0.03)
    slope, _ = platt(-decisions, truth, np.ones(2))
    assert slope[0] == 0


def test_on_noise_the_whole_search_gives_an_auc_of_one_half() -> None:
    found = []
    for seed in range(10):
        examples = cohort(60, seed=seed, signal=0, d=5)
        table = run_fold(
            MODELS.create("search", FEW), TASK, split_of(examples, test=1 / 3), examples, seed=seed, name="s"
        ).table
        test = table[table["part"] == "test"]
        found.append(roc_auc_score(test["truth"] == "B", test["p_B"]))
    assert abs(np.mean(found) - 0.5) < 0.12


def test_probabilities_are_about_right_on_new_units() -> None:
    examples = cohort(400, signal=1.5)
    p = MODELS.create("search", FEW).fit(examples[:120], examples[120:160], TASK, seed=0).predict(examples[160:])
    truth = np.array([TASK.truth(e) for e in examples[160:]])
    for low, high in ((0, 0.3), (0.3, 0.7), (0.7, 1)):
        there = (p[:, 1] >= low) & (p[:, 1] <= high)
        assert abs(truth[there].mean() - p[there, 1].mean()) < 0.2


@pytest.mark.parametrize("params", [{"ensemble": 300}, {"workflows": 0}, {"inner_folds": 1}])
def test_impossible_searches_are_refused(params: dict[str, int]) -> None:
    with pytest.raises(PluginError):
        MODELS.create("search", params)
