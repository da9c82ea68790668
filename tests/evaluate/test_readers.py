"""Readers beside models: the same patients, honest limits, an exact test."""

from __future__ import annotations

import evaldata
import numpy as np
import pytest

from phenolens.core.predictions import Predictions
from phenolens.evaluate.readers import mcnemar, readers


@pytest.mark.parametrize(("b", "c", "p"), [(0, 0, 1.0), (1, 5, 0.21875), (10, 2, 0.03857421875), (6, 6, 1.0)])
def test_mcnemar_is_the_exact_binomial_test_of_discordant_pairs(b: int, c: int, p: float) -> None:
    assert mcnemar(b, c) == pytest.approx(p)


def table(model_right: int, reader_right: int, n: int = 60) -> Predictions:
    truth = np.arange(n) % 2
    scores = np.where(np.arange(n) < model_right, truth, 1 - truth) * 0.8 + 0.1
    names = np.array(["A", "B"])
    made = evaldata.table([evaldata.rows(names[truth], np.column_stack([1 - scores, scores]), names)], list(names))
    call = np.where(np.arange(n) >= n - reader_right, names[truth], names[1 - truth])
    return Predictions(table=made.table.assign(r_expert=call), classes=made.classes)


def test_the_difference_is_the_models_share_minus_the_readers() -> None:
    rows = readers(table(54, 30)).set_index("measure").loc["accuracy"]
    assert rows["model_value"] == pytest.approx(0.9)
    assert rows["reader_value"] == pytest.approx(0.5)
    assert rows["difference"] == pytest.approx(0.4)
    assert rows["low"] > 0
    assert rows["p"] < 0.001


def test_a_class_with_nine_patients_is_not_estimable() -> None:
    rows = readers(table(16, 10, n=18)).set_index("measure").loc["sensitivity"]
    assert rows["note"].str.startswith("not estimable: 9 patients").all()
    assert rows["difference"].isna().all()


def test_a_table_without_readers_gives_an_empty_table() -> None:
    made = table(50, 50)
    plain = Predictions(table=made.table.drop(columns="r_expert"), classes=made.classes)
    assert readers(plain).empty
