"""The tables behind the figures."""

from __future__ import annotations

import numpy as np
import pytest
from evaldata import cross_validated, pick, random_p, rows, table
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import trapezoid

from phenolens.evaluate.curves import calibration, confusion, roc, roc_points
from phenolens.evaluate.metric import rank_auc
from phenolens.evaluate.score import estimates


@given(values=st.lists(st.integers(0, 5), min_size=4, max_size=40), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_the_area_under_the_roc_points_is_the_auc(values, seed):
    x = np.array(values, dtype=float)
    positive = np.random.default_rng(seed).permutation(np.arange(len(x)) % 2 == 0)
    fpr, tpr = roc_points(x, positive)
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert trapezoid(tpr, fpr) == pytest.approx(rank_auc(x, positive))


def test_the_mean_curve_has_about_the_area_of_the_mean_auc():
    predictions = cross_validated(200, ("A", "B", "C"), signal=1.0)
    curves, made = roc(predictions), estimates(predictions, metrics=["auc"])
    for name in "ABC":
        mine = curves[curves["class"] == name]
        assert (mine["folds"] == 5).all()
        assert (np.diff(mine["tpr"]) >= -1e-12).all()
        assert mine["tpr"].iloc[-1] == 1.0
        area = trapezoid(mine["tpr"], mine["fpr"])
        assert area == pytest.approx(pick(made, "auc", f"class={name}")["value"], abs=0.01)


def test_a_class_below_the_floor_has_no_curve():
    truth = ["A"] * 20 + ["B"] * 16 + ["C"] * 4
    predictions = table([rows(truth, random_p(40, 3, 0), "ABC", fold=np.arange(40) % 2)], "ABC")
    assert set(roc(predictions)["class"]) == {"A", "B"}


def test_confusion_counts_every_patient_once_over_repeats():
    predictions = cross_validated(60, ("A", "B", "C"), repeats=3)
    made = confusion(predictions)
    assert len(made) == 9
    assert made["units"].sum() == made["patients"].sum() == 60
    first = predictions.table[predictions.table["repeat"] == 0]
    right = made[made["truth"] == made["predicted"]]["units"].sum()
    guess = first[["p_A", "p_B", "p_C"]].to_numpy().argmax(1)
    assert right == (np.array(list("ABC"))[guess] == first["truth"]).sum()


def test_confusion_counts_patients_beside_images():
    truth = ["A"] * 8 + ["B"] * 8
    p = np.array([[0.9, 0.1]] * 8 + [[0.1, 0.9]] * 8)
    made = confusion(table([rows(truth, p, ("A", "B"), patient=[f"P{i // 4}" for i in range(16)])], ("A", "B")))
    assert made[made["truth"] == made["predicted"]][["units", "patients"]].to_numpy().tolist() == [[8, 2], [8, 2]]


def test_calibration_bins_hold_every_unit_once_with_their_observed_share():
    predictions = cross_validated(300, signal=1.0, repeats=2)
    made = calibration(predictions)
    mine = made[made["class"] == "A"]
    assert len(mine) == 10
    assert mine["units"].sum() == 300
    assert ((mine["low"] <= mine["observed"]) & (mine["observed"] <= mine["high"])).all()
    assert (np.diff(mine["predicted"]) > 0).all()
    assert (mine["observed"] * mine["units"]).sum() == pytest.approx(150)


def test_few_patients_get_few_bins_and_equal_probabilities_one():
    assert len(calibration(cross_validated(20))) == 4
    truth = ["A", "B"] * 20
    flat = table([rows(truth, np.full((40, 2), 0.5), ("A", "B"))], ("A", "B"))
    assert calibration(flat)["units"].tolist() == [40, 40]
