"""The partial likelihood, its ridge estimate and its baseline hazard against R, with many tied times."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from phenolens.core.errors import ModelError
from phenolens.models.linear import row_space
from phenolens.models.partial_likelihood import RiskSets, ridge_path

R = json.loads((Path(__file__).parent / "reference" / "cox.json").read_text("utf-8"))
X, TIME, EVENT = np.array(R["x"]), np.array(R["time"], dtype=float), np.array(R["event"]) == 1
SETS = RiskSets.of(TIME, EVENT)


def test_the_reference_has_ties_and_censoring() -> None:
    assert len(np.unique(TIME[EVENT])) < EVENT.sum() < len(TIME)


@pytest.mark.parametrize("place", range(3))
def test_coefficients_likelihood_and_hazard_are_those_of_r(place: int) -> None:
    fit = R["fits"][place]
    (coef,) = ridge_path(X, SETS, [1 / fit["theta"]])
    np.testing.assert_allclose(coef, fit["coef"], rtol=0, atol=1e-7)
    assert SETS.log_likelihood(X @ coef) == pytest.approx(fit["log_likelihood"], abs=1e-7)
    np.testing.assert_allclose(SETS.hazard(X @ coef, R["times"]), fit["hazard"], rtol=1e-6)


def test_scores_and_information_are_those_of_r() -> None:
    np.testing.assert_allclose(SETS.score(X) ** 2, R["score_chi_square"], rtol=1e-8)
    coef = np.array(R["free_coef"])
    gradient, information = SETS.newton(X, X @ coef)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.inv(information), R["variance_at_free_fit"], rtol=1e-6)


def test_the_slope_is_that_of_the_likelihood() -> None:
    coef, step = np.array([0.3, -0.2, 0.1, 0.4]), 1e-6
    gradient, information = SETS.newton(X, X @ coef)
    for j in range(4):
        ahead, back = coef.copy(), coef.copy()
        ahead[j] += step
        back[j] -= step
        rise = SETS.log_likelihood(X @ ahead) - SETS.log_likelihood(X @ back)
        assert rise / (2 * step) == pytest.approx(gradient[j], abs=1e-4)
        bend = (SETS.newton(X, X @ ahead)[0] - SETS.newton(X, X @ back)[0]) / (2 * step)
        np.testing.assert_allclose(-bend, information[j], rtol=1e-5, atol=1e-4)


def test_a_path_ends_where_a_fit_from_nothing_does() -> None:
    *_, last = ridge_path(X, SETS, [0.001, 0.1, 10.0])
    (alone,) = ridge_path(X, SETS, [10.0])
    np.testing.assert_allclose(last, alone, atol=1e-9)


def test_with_more_features_than_units_the_row_space_holds_the_estimate() -> None:
    z = np.random.default_rng(0).normal(size=(70, 120))
    rows, basis = row_space(z)
    assert basis is not None
    (inner,), (whole,) = ridge_path(rows, SETS, [0.1]), ridge_path(z, SETS, [0.1])
    np.testing.assert_allclose(inner @ basis, whole, atol=1e-8)


def test_neither_the_unit_of_time_nor_the_order_of_rows_matters() -> None:
    (coef,) = ridge_path(X, SETS, [0.5])
    order = np.random.default_rng(1).permutation(len(X))
    (other,) = ridge_path(X[order], RiskSets.of(TIME[order] * 30.4375, EVENT[order]), [0.5])
    np.testing.assert_allclose(other, coef, atol=1e-9)


def test_a_feature_that_orders_all_events_has_a_finite_coefficient() -> None:
    x = -np.argsort(np.argsort(TIME))[:, None].astype(float) / 20
    *_, coef = ridge_path(x, SETS, [0.01, 1.0, 100.0])
    assert np.isfinite(coef).all()
    assert coef[0] > 0


def test_no_event_means_nothing_is_likelier_than_anything() -> None:
    none = RiskSets.of(TIME, np.zeros(len(TIME), dtype=bool))
    assert none.log_likelihood(X[:, 0]) == 0
    assert none.hazard(X[:, 0], [1.0, 9.0]).tolist() == [0, 0]
    (coef,) = ridge_path(X, none, [1.0])
    assert not coef.any()


def test_a_fit_that_cannot_converge_says_so() -> None:
    with pytest.raises(ModelError, match="does not converge"), np.errstate(all="ignore"):
        list(ridge_path(np.full_like(X, np.nan), SETS, [1.0]))
