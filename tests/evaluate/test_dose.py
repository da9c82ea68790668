"""How far predictions moved: means by hand, limits over patients, and what cannot be estimated."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from phenolens.core.predictions import Predictions
from phenolens.evaluate.dose import CHANGE, COLUMNS, KEPT, TRUE_CLASS, under_fault


def predictions(p_a: list[float], *, units: int = 1, model: str = "m") -> Predictions:
    """One row a probability of class A; patients of truth A and B in turn, `units` rows each."""
    n = len(p_a)
    table = pd.DataFrame({
        "experiment": "e", "scheme": "patient_kfold", "target": "t", "model": model, "repeat": 0,
        "fold": [i % 2 for i in range(n)], "part": "test", "patient": [f"P{i // units}" for i in range(n)],
        "unit": "image", "unit_id": [f"I{i}" for i in range(n)], "site": "S", "split_hash": "h",
        "truth": ["AB"[i // units % 2] for i in range(n)], "p_A": p_a, "p_B": [1 - p for p in p_a],
    })  # fmt: skip
    return Predictions(table=table, classes=("A", "B"))


def measured(before: Predictions, after: Predictions) -> pd.DataFrame:
    return under_fault(before, after).set_index("measure")


def test_means_are_those_by_hand() -> None:
    found = measured(predictions([0.9, 0.2, 0.8, 0.1]), predictions([0.4, 0.2, 0.7, 0.6]))
    assert found.loc[TRUE_CLASS, "value"] == pytest.approx((0.4 + 0.8 + 0.7 + 0.4) / 4)
    assert found.loc[CHANGE, "value"] == pytest.approx((-0.5 + 0 - 0.1 - 0.5) / 4)
    assert found.loc[KEPT, "value"] == 0.5
    assert found.loc["macro_auc", "note"].startswith("not estimable")
    assert found.loc[CHANGE, "low"] < found.loc[CHANGE, "value"] < found.loc[CHANGE, "high"]
    assert list(found.reset_index().columns.sort_values()) == sorted(COLUMNS)


def test_whole_patients_are_drawn_so_that_their_units_do_not_count_twice() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.2, 0.8, 40)
    q = p.copy()
    q[::2] -= 0.1 * rng.random(20)
    once = measured(predictions(list(p)), predictions(list(q)))
    p4, q4 = np.repeat(p, 4), np.repeat(q, 4)
    rows = predictions(list(p4), units=4)
    four = measured(rows, predictions(list(q4), units=4))
    width = {name: t.loc[TRUE_CLASS, "high"] - t.loc[TRUE_CLASS, "low"] for name, t in (("once", once), ("four", four))}
    assert four.loc[TRUE_CLASS, "n_patients"] == once.loc[TRUE_CLASS, "n_patients"] == 40
    assert width["four"] == pytest.approx(width["once"], rel=0.1), "half of it, were the units drawn alone"


def test_predictions_that_all_stay_have_an_interval_of_width_for_the_share_and_none_for_the_change() -> None:
    same = predictions([0.9, 0.2, 0.8, 0.1])
    found = measured(same, same)
    assert found.loc[KEPT, ["value", "high"]].tolist() == [1, 1]
    assert found.loc[KEPT, "low"] == pytest.approx(0.510, abs=1e-3), "Wilson, 4 of 4"
    assert found.loc[CHANGE, "value"] == 0
    assert pd.isna(found.loc[CHANGE, "low"])
    assert found.loc[CHANGE, "note"] == "no interval: all units are alike"


def test_only_units_that_could_be_predicted_are_compared() -> None:
    before = predictions([0.9, 0.2, 0.8, 0.1])
    after = Predictions(table=before.table.iloc[:3], classes=("A", "B"))
    assert measured(before, after).loc[KEPT, "n_patients"] == 3
