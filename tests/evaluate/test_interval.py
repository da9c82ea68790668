"""Intervals against hand computations and published or brute-force references."""

from __future__ import annotations

import math

import numpy as np
import pytest

from phenolens.evaluate import interval
from phenolens.evaluate.metric import rank_auc


def test_nadeau_bengio_equals_the_example_computed_by_hand():
    # mean 0.75, deviations -.05 .05 -.15 .15, squares .0025 .0025 .0225 .0225, their sum .05, s^2 = .05 / 3
    made = interval.nadeau_bengio([0.7, 0.8, 0.6, 0.9], ratio=1 / 3)
    half = 3.182446305284263 * math.sqrt(0.05 / 3 * (1 / 4 + 1 / 3))
    assert made is not None
    assert (made.low, made.high) == pytest.approx((0.75 - half, 0.75 + half), abs=1e-12)
    assert "Nadeau–Bengio" in made.method


def test_nadeau_bengio_is_clipped_to_the_range_of_the_metric():
    made = interval.nadeau_bengio([0.7, 0.8, 0.6, 1.0], ratio=1 / 3, bounds=(0.0, 1.0))
    assert made is not None
    assert made.high == 1.0
    assert made.low > 0.0


@pytest.mark.parametrize("values", [[0.8], [0.8, 0.8, 0.8], []])
def test_nadeau_bengio_claims_no_certainty_without_spread(values):
    assert interval.nadeau_bengio(values, ratio=0.25) is None


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_equals_the_table_of_newcombe_1998(right, total, low, high):
    assert interval.wilson(right, total) == pytest.approx((low, high), abs=5e-5)


def _brute_delong(scores, positive):
    """Variance from the placement of every positive and negative, by the definition of DeLong 1988."""
    kernel = np.array(
        [[(x > y) + 0.5 * (x == y) for y in scores[~positive]] for x in scores[positive]]  # positives by negatives
    )
    m, n = kernel.shape
    return kernel.mean(), kernel.mean(1).var(ddof=1) / m + kernel.mean(0).var(ddof=1) / n


@pytest.mark.parametrize("seed", range(5))
def test_delong_equals_brute_force_with_ties(seed):
    rng = np.random.default_rng(seed)
    positive = rng.permutation(np.arange(25) % 3 == 0)
    scores = rng.integers(0, 6, 25) / 6 + 0.2 * positive
    assert interval.delong(scores, positive) == pytest.approx(_brute_delong(scores, positive), abs=1e-12)


def test_delong_interval_holds_the_auc_and_stays_inside_its_range():
    rng = np.random.default_rng(0)
    positive = np.arange(40) % 2 == 0
    scores = rng.normal(size=40) + 2.5 * positive
    made = interval.delong_interval(scores, positive)
    assert made is not None
    assert 0 < made.low < rank_auc(scores, positive) < made.high < 1
    assert interval.delong_interval(positive.astype(float), positive) is None


def test_bootstrap_draws_whole_patients():
    patients = np.repeat(np.arange(10), 4)
    seen = []

    def count(rows):
        seen.append(np.bincount(patients[rows], minlength=10))
        return {"n": float(len(rows))}

    values = interval.patient_bootstrap(count, patients, seed=1, draws=50)
    assert (np.array(seen) % 4 == 0).all()
    assert (values["n"] == 40).all()


def test_bootstrap_of_copied_units_is_as_wide_as_that_of_the_patients():
    x = np.random.default_rng(0).normal(size=30)
    one = interval.patient_bootstrap(lambda r: {"m": float(x[r].mean())}, np.arange(30), seed=3)["m"]
    copied = np.repeat(x, 8)
    many = interval.patient_bootstrap(lambda r: {"m": float(copied[r].mean())}, np.repeat(np.arange(30), 8), seed=3)
    assert many["m"].std() == pytest.approx(one.std(), rel=1e-9)


def test_bootstrap_gives_no_interval_when_resamples_have_no_value():
    assert interval.percentile_interval(np.linspace(0, 1, 1700)) is None
    assert interval.percentile_interval(np.ones(2000)) is None


def test_random_effects_equal_the_example_computed_by_hand():
    # y 0.6 0.7 0.9, v 0.01 each: Q = sum (y - 0.7333)^2 / 0.01 = 4.6667, C = 300 - 30000/300 = 200, tau2 = 2.6667/200
    made = interval.random_effects([0.6, 0.7, 0.9], [0.01, 0.01, 0.01])
    tau2 = (4 + 2 / 3 - 2) / 200
    assert made.mean == pytest.approx(2.2 / 3)
    assert made.tau == pytest.approx(math.sqrt(tau2))
    error2 = (0.01 + tau2) / 3  # Hartung-Knapp scale is exactly 1 here: Q at these weights is 2 = k - 1
    assert made.confidence[1] - made.mean == pytest.approx(4.302652729911275 * math.sqrt(error2))
    assert made.prediction is not None
    assert made.prediction[1] - made.mean == pytest.approx(12.706204736432095 * math.sqrt(tau2 + error2))


def test_two_sites_have_no_prediction_interval():
    assert interval.random_effects([0.6, 0.8], [0.01, 0.01]).prediction is None


def test_the_coverage_note_says_what_the_interval_really_covers():
    assert "87–92%" in interval.COVERAGE_NOTE
