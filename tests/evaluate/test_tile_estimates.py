"""Estimates over tiles: the patient stays the unit of every interval."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from evaldata import rows
from sklearn.metrics import accuracy_score, balanced_accuracy_score, precision_score, recall_score

from phenolens.core.predictions import Predictions
from phenolens.evaluate.score import estimates
from phenolens.evaluate.tiles import METRICS, tile_estimates

CLASSES = ("A", "B", "C")


def tiles(
    *, patients: int = 30, each: int = 20, seed: int = 0, scheme: str = "holdout", folds: int = 1
) -> pd.DataFrame:
    """Tiles of patients, some of whom are told well and some badly, all tiles of one alike."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(patients), each)
    truth = who % 3
    skill = rng.normal(0.7, 1.0, patients)[who]
    logits = rng.normal(size=(len(who), 3))
    logits[np.arange(len(who)), truth] += skill
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    names = [f"P{i:03d}" for i in who]
    made = rows([CLASSES[t] for t in truth], p, CLASSES, scheme=scheme, patient=names, fold=list(who % folds))
    return made.assign(unit="tile")


def test_tile_estimates_are_those_of_the_tiles() -> None:
    table = tiles()
    truth = table["truth"].to_numpy()
    called = np.array(CLASSES)[table[["p_A", "p_B", "p_C"]].to_numpy().argmax(1)]
    found = tile_estimates(table).set_index("metric")["value"]
    assert set(found.index) == set(METRICS)
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, called))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, called))
    assert found["macro_precision"] == pytest.approx(precision_score(truth, called, average="macro"))
    assert found["macro_recall"] == pytest.approx(recall_score(truth, called, average="macro"))


def test_on_one_test_set_the_interval_is_that_of_whole_patients_drawn_again() -> None:
    table = tiles()
    quick = tile_estimates(table)
    slow = estimates(Predictions(table=table, classes=CLASSES), METRICS)
    pd.testing.assert_frame_equal(quick, slow)
    assert quick["method"].str.contains("patient bootstrap").all()
    assert set(quick["n_patients"]) == {30}


def test_more_tiles_of_the_same_patients_make_no_interval_narrower() -> None:
    def width(each: int) -> float:
        found = tile_estimates(tiles(each=each)).set_index("metric").loc["accuracy"]
        return float(found["high"] - found["low"])

    alone = 2 * 1.96 * 0.5 / np.sqrt(30 * 400)  # what 12,000 independent tiles would give, at most
    assert width(400) > 0.8 * width(40)
    assert width(400) > 5 * alone


def test_in_cross_validation_the_interval_is_that_of_the_folds() -> None:
    found = tile_estimates(tiles(scheme="patient_kfold", folds=5)).set_index("metric")
    assert found["method"].str.contains("Nadeau").all()
    assert found["low"].notna().all()
    assert (found["low"] < found["value"]).all()


def test_tune_tiles_are_not_counted() -> None:
    table = tiles()
    more = tiles(seed=1).assign(part="tune")
    more = more.assign(patient=more["patient"] + "t", unit_id=more["unit_id"] + "t")
    pd.testing.assert_frame_equal(tile_estimates(pd.concat([table, more])), tile_estimates(table))
