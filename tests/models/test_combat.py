"""ComBat against the R package sva, and against a slow reference written from the equations of Johnson and others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from phenolens.core.errors import ModelError
from phenolens.models.harmonise import Combat

Matrix = npt.NDArray[np.float64]
SVA = json.loads((Path(__file__).parent / "reference" / "combat.json").read_text())["cases"]


def batches(seed: int = 0, n: int = 60, m: int = 12) -> tuple[Matrix, list[str]]:
    """Three batches with shifts and stretches of their own, features of different scale."""
    draw = np.random.default_rng(seed)
    at = draw.integers(3, size=n)
    shift, stretch = draw.normal(size=(3, m)), draw.uniform(0.5, 2, size=(3, m))
    x = (shift[at] + stretch[at] * draw.normal(size=(n, m))) * 10.0 ** draw.integers(-2, 4, size=m) + 5
    return x, ["abc"[i] for i in at]


def reference(x: Matrix, batch: list[str]) -> Matrix:
    """Every feature and every batch in a loop, as the paper writes it; iterated to the end."""
    n, m = x.shape
    out = x.copy()
    names = sorted(set(batch))
    rows = {b: [i for i in range(n) if batch[i] == b] for b in names}
    z = np.empty_like(x)
    alpha, sigma = np.empty(m), np.empty(m)
    for g in range(m):
        means = {b: sum(x[i, g] for i in rows[b]) / len(rows[b]) for b in names}
        alpha[g] = sum(len(rows[b]) * means[b] for b in names) / n  # so that the shifts sum to zero over the units
        sigma[g] = (sum((x[i, g] - means[batch[i]]) ** 2 for i in range(n)) / n) ** 0.5
        z[:, g] = (x[:, g] - alpha[g]) / sigma[g]
    for b in names:
        k = len(rows[b])
        hat = [sum(z[i, g] for i in rows[b]) / k for g in range(m)]
        hat2 = [sum((z[i, g] - hat[g]) ** 2 for i in rows[b]) / (k - 1) for g in range(m)]
        mean, tau2 = sum(hat) / m, sum((h - sum(hat) / m) ** 2 for h in hat) / (m - 1)
        v = sum(hat2) / m
        s2 = sum((h - v) ** 2 for h in hat2) / (m - 1)
        lam, theta = (v * v + 2 * s2) / s2, (v**3 + v * s2) / s2
        for g in range(m):
            gamma, delta2 = hat[g], hat2[g]
            for _ in range(500):
                gamma = (k * tau2 * hat[g] + delta2 * mean) / (k * tau2 + delta2)
                delta2 = (theta + 0.5 * sum((z[i, g] - gamma) ** 2 for i in rows[b])) / (k / 2 + lam - 1)
            for i in rows[b]:
                out[i, g] = sigma[g] / delta2**0.5 * (z[i, g] - gamma) + alpha[g]
    return out


def applied(made: Combat, x: Matrix, batch: list[str]) -> Matrix:
    return np.stack([made.apply(row, b, "u") for row, b in zip(x, batch, strict=True)])


@pytest.mark.parametrize("case", sorted(SVA))
def test_the_harmonised_values_are_those_of_sva(case: str) -> None:
    """reference/combat.R: parametric, location and scale, iterated to the end (sva itself stops at 1e-4)."""
    x, batch, wanted = np.array(SVA[case]["x"]), SVA[case]["batch"], np.array(SVA[case]["harmonised"])
    made = Combat.fit(x, batch, [slice(0, x.shape[1])], unseen="refuse")
    got = applied(made, x, batch)
    spread = wanted.std(0)
    assert np.abs((got - wanted) / spread).max() < 1e-6
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6 * spread.min())
    assert (np.abs(got - x).max(0) > 0.1 * spread).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_the_harmonised_values_are_those_of_the_equations(seed: int) -> None:
    x, batch = batches(seed)
    made = Combat.fit(x, batch, [slice(0, x.shape[1])], unseen="refuse")
    np.testing.assert_allclose(applied(made, x, batch), reference(x, batch), rtol=1e-6)


def test_one_feature_of_two_batches_worked_by_hand() -> None:
    """A single feature has no prior: batches 0, 2 and 10, 14 have the means 1 and 12 and come to the pooled 6.5.

    Pooled spread: sqrt((1 + 1 + 4 + 4) / 4) = sqrt(2.5). Own spreads (n - 1): sqrt(2) and sqrt(8). So 0 becomes
    6.5 - sqrt(2.5) / sqrt(2), and 14 becomes 6.5 + 2 sqrt(2.5) / sqrt(8), which differs from it in sign alone.
    """
    x = np.array([[0.0], [2], [10], [14]])
    made = Combat.fit(x, ["a", "a", "b", "b"], [slice(0, 1)], unseen="refuse")
    step = (2.5 / 2) ** 0.5
    np.testing.assert_allclose(
        applied(made, x, ["a", "a", "b", "b"])[:, 0], [6.5 - step, 6.5 + step, 6.5 - step, 6.5 + step], rtol=1e-12
    )


def test_blocks_have_priors_of_their_own_and_units_without_a_block_do_not_count() -> None:
    x, batch = batches()
    gone = np.arange(len(x)) % 4 == 0
    x[gone, 6:] = np.nan
    made = Combat.fit(x, batch, [slice(0, 6), slice(6, 12)], unseen="refuse")
    got = applied(made, x, batch)
    np.testing.assert_allclose(got[:, :6], reference(x[:, :6], batch), rtol=1e-6)
    there = [b for b, g in zip(batch, gone, strict=True) if not g]
    np.testing.assert_allclose(got[~gone, 6:], reference(x[~gone, 6:], there), rtol=1e-6)
    assert np.isnan(got[gone, 6:]).all()


def test_a_feature_that_only_names_the_batch_is_emptied_and_a_constant_one_stays() -> None:
    x, batch = batches()
    x[:, 0] = ["abc".index(b) for b in batch]
    x[:, 1] = 7
    got = applied(Combat.fit(x, batch, [slice(0, 12)], unseen="refuse"), x, batch)
    assert np.ptp(got[:, 0]) < 1e-12
    np.testing.assert_allclose(got[:, 1], 7)
    assert np.isfinite(got).all()


def test_a_batch_of_one_unit_counts_as_unseen() -> None:
    x, batch = batches()
    x, batch = np.vstack([x, x[:1]]), [*batch, "d"]
    with pytest.raises(ModelError, match="batch 'd', with fewer than 2 training units"):
        Combat.fit(x, batch, [slice(0, 12)], unseen="refuse").apply(x[0], "d", "u")
    pooled = Combat.fit(x, batch, [slice(0, 12)], unseen="pool")
    np.testing.assert_array_equal(pooled.apply(x[0], "d", "u"), x[0])
    np.testing.assert_array_equal(pooled.apply(x[0], "never seen", "u"), x[0])


def test_one_batch_is_nothing_to_harmonise() -> None:
    with pytest.raises(ModelError, match="one batch, 'a', in 3 training units"):
        Combat.fit(np.eye(3), ["a"] * 3, [slice(0, 3)], unseen="refuse")


def test_what_is_stored_harmonises_alike() -> None:
    x, batch = batches()
    made = Combat.fit(x, batch, [slice(0, 12)], unseen="pool")
    again = Combat.restore(made.weights(), made.config())
    np.testing.assert_array_equal(applied(again, x, batch), applied(made, x, batch))
