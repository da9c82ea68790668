"""Recalibration on the tune patients: what it recovers, and when it is not fitted."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from phenolens.models.calibrator import Calibrator, fit_calibrator
from phenolens.models.linear import softmax

BINARY = ("A", "B")


def drawn(n: int, seed: int, *, stretch: float = 1.0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n, 2) whose logits are `stretch` times the true ones plus `shift`, and the classes drawn."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0.3, 1.5, n)
    truth = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(np.intp)
    p = 1 / (1 + np.exp(-(stretch * logit + shift)))
    return np.column_stack([1 - p, p]), truth


def slope_of(p: np.ndarray, truth: np.ndarray) -> float:
    """The calibration slope, by an unpenalised logistic regression of the truth on the logit."""
    logit = np.log(p[:, 1] / p[:, 0])[:, None]
    return float(LogisticRegression(C=1e8, tol=1e-8).fit(logit, truth).coef_[0, 0])


def names(n: int) -> list[str]:
    return [f"p{i:04d}" for i in range(n)]


def test_doubled_logits_have_slope_one_half_and_recalibrated_ones_slope_one() -> None:
    found = []
    for seed in range(20):
        made = fit_calibrator(*drawn(1000, seed, stretch=2), names(1000), BINARY, slope=True)
        new, truth = drawn(1000, 1000 + seed, stretch=2)
        found.append((slope_of(new, truth), slope_of(made.apply(new), truth)))
    assert np.mean(found, axis=0) == pytest.approx([0.5, 1], abs=0.05)
    assert np.abs(np.array(found)[:, 0] - 0.5).max() < 0.1


def test_the_fitted_slope_and_intercept_are_those_of_a_logistic_regression() -> None:
    p, truth = drawn(300, 2, stretch=0.7, shift=1)
    made = fit_calibrator(p, truth, names(300), BINARY, slope=True)
    told = LogisticRegression(C=1e10, tol=1e-10, max_iter=1000).fit(np.log(p[:, 1] / p[:, 0])[:, None], truth)
    assert made.slope == pytest.approx(told.coef_[0, 0], abs=1e-4)
    assert made.bias[1] == pytest.approx(told.intercept_[0], abs=1e-4)


def test_the_intercept_alone_makes_the_mean_probability_the_share_of_the_class() -> None:
    p, truth = drawn(40, 3, shift=2)
    made = fit_calibrator(p, truth, names(40), BINARY, slope=False)
    assert made.slope == 1
    assert made.apply(p).mean(0) == pytest.approx([np.mean(truth == 0), np.mean(truth == 1)], abs=1e-8)


def test_many_classes_get_one_temperature_and_a_bias_each() -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(3000, 4)) * 2
    truth = np.array([rng.choice(4, p=row) for row in softmax(logits)])
    moved = softmax(3 * logits + np.array([0, 1, -1, 2]))
    made = fit_calibrator(moved, truth, names(3000), tuple("ABCD"), slope=True)
    assert made.slope == pytest.approx(1 / 3, abs=0.03)
    assert made.bias == pytest.approx(np.array([0, -1, 1, -2]) / 3, abs=0.2)


def test_a_patient_weighs_one_however_many_units() -> None:
    p, truth = drawn(30, 5)
    once = fit_calibrator(p, truth, names(30), BINARY, slope=True)
    again = [0, 0, 0, 1, 1, *range(30)]
    many = fit_calibrator(p[again], truth[again], [names(30)[i] for i in again], BINARY, slope=True)
    assert many.slope == pytest.approx(once.slope)
    assert many.bias == pytest.approx(once.bias)


@pytest.mark.parametrize(
    ("n", "truth", "p", "slope", "words"),
    [
        (9, "ABABABABA", 0.6, False, "9 tune patients (10 needed)"),
        (12, "A" * 12, 0.6, False, "no tune patient of class B"),
        (12, "AB" * 6, "right", True, "told apart without error"),
        (12, "AB" * 6, 0.6, True, "all have equal probabilities"),
        (12, "AB" * 6, "wrong", True, "the wrong way round"),
    ],
)
def test_where_nothing_can_be_fitted_the_reason_is_kept(
    n: int, truth: str, p: float | str, slope: bool, words: str
) -> None:
    places = np.array([BINARY.index(c) for c in truth])
    of_b = np.full(n, p) if isinstance(p, float) else np.where((places == 1) == (p == "right"), 0.9, 0.2)
    if p == "wrong":
        of_b[:2] = of_b[1::-1]
    made = fit_calibrator(np.column_stack([1 - of_b, of_b]), places, names(n), BINARY, slope=slope)
    assert not made.fitted
    assert words in made.why
    assert np.isnan(made.apply(np.full((2, 2), 0.5))).all()


def test_it_is_restored_exactly() -> None:
    p, truth = drawn(50, 6)
    made = fit_calibrator(p, truth, names(50), BINARY, slope=True)
    again = Calibrator.restore(made.weights(), made.config())
    np.testing.assert_array_equal(again.apply(p), made.apply(p))
