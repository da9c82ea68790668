"""Net benefit by its definition, its bands, and when there is no decision."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from evaldata import cross_validated, random_p, rows, table

from phenolens.evaluate.decision import THRESHOLDS, decision_curves, net_benefit, positive_of
from phenolens.evaluate.interval import patient_counts

REFERENCE = Path(__file__).with_name("reference")
DATA = pd.read_csv(REFERENCE / "data.csv")
POSITIVE = DATA["y"].to_numpy() == 1


def _held_out(p, positive, **more):
    names = ["AB"[int(t)] for t in positive]
    return table([rows(names, np.column_stack([1 - p, p]), ("A", "B"), scheme="holdout", **more)], ("A", "B"))


def test_net_benefit_equals_the_count_of_r_unit_by_unit():
    known = json.loads((REFERENCE / "net_benefit.json").read_text("utf-8"))
    of_model, of_all = net_benefit(DATA["a"].to_numpy(), POSITIVE, np.array(known["threshold"]))
    assert of_model == pytest.approx(known["model"], abs=1e-6)
    assert of_all == pytest.approx(known["all"], abs=1e-6)
    made = decision_curves(_held_out(DATA["a"].to_numpy(), POSITIVE)).set_index("threshold")
    assert made.loc[known["threshold"], "standardised"].tolist() == pytest.approx(known["standardised"], abs=1e-6)


def test_a_resample_has_the_net_benefit_of_its_repeated_units():
    p = DATA["a"].to_numpy()
    counts = patient_counts(DATA["patient"].to_numpy(), seed=3, draws=5)
    many, everyone = net_benefit(p, POSITIVE, THRESHOLDS, counts)
    for row, of_model, of_all in zip(counts.astype(int), many, everyone, strict=True):
        drawn = np.repeat(np.arange(len(p)), row)
        alone = net_benefit(p[drawn], POSITIVE[drawn], THRESHOLDS)
        np.testing.assert_allclose(of_model, alone[0], atol=1e-12)
        np.testing.assert_allclose(of_all, alone[1], atol=1e-12)


def test_the_perfect_model_gains_the_share_of_the_class_at_every_threshold():
    positive = np.arange(100) < 30
    made = decision_curves(_held_out(np.where(positive, 1.0, 0.0), positive))
    assert made["net_benefit"].tolist() == pytest.approx([0.3] * 99)
    assert made["standardised"].tolist() == pytest.approx([1.0] * 99)
    assert (made["gain_low"] > 0).all()


def test_noise_gains_nothing_over_treating_all_or_none():
    positive = np.arange(300) % 3 == 0
    gains = [decision_curves(_held_out(random_p(300, 2, seed)[:, 1], positive)) for seed in range(12)]
    assert np.mean([(made["gain_low"] > 1e-12).mean() for made in gains]) < 0.05
    good = decision_curves(_held_out(random_p(300, 2, 0, positive.astype(int), 2.0)[:, 1], positive))
    assert (good.set_index("threshold").loc[0.25:0.6, "gain_low"] > 0).all()


def test_the_band_holds_the_curve_and_the_table_is_the_same_twice():
    predictions = cross_validated(120, repeats=2)
    made = decision_curves(predictions)
    assert len(made) == len(THRESHOLDS)
    assert set(made["class"]) == {"B"}
    assert (made["low"] <= made["net_benefit"] + 1e-12).all()
    assert (made["net_benefit"] <= made["high"] + 1e-12).all()
    assert (made["n_patients"] == 120).all()
    pd.testing.assert_frame_equal(made, decision_curves(predictions))
    assert set(decision_curves(predictions, "A")["class"]) == {"A"}


def test_there_is_no_decision_without_a_class_or_with_nine_patients_of_it():
    three = cross_validated(90, ("A", "B", "C"))
    assert decision_curves(three).empty
    assert set(decision_curves(three, "B")["class"]) == {"B"}
    assert positive_of(("A", "B"), "C") is None
    assert decision_curves(_held_out(random_p(60, 2, 0)[:, 1], np.arange(60) < 9)).empty
