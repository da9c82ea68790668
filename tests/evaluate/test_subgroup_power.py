"""How often a difference between subgroups is found where there is one and where there is none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from evaldata import rows, table

from phenolens.core.predictions import Predictions
from phenolens.evaluate.subgroup import subgroups

SEEDS = 200


def study(seed: int, *, inside: float, outside: float, n: int = 400, share: float = 0.3, d: int = 30) -> Predictions:
    """Five folds of a ridge on noise with one feature that separates the classes by `inside` in the subgroup."""
    rng = np.random.default_rng(seed)
    truth, mine = rng.integers(0, 2, n), rng.random(n) < share
    x = rng.normal(size=(n, d))
    x[:, 0] += truth * np.where(mine, inside, outside)
    fold = rng.permutation(n) % 5
    frames = []
    for k in range(5):
        train, test = fold != k, fold == k
        centre = x[train].mean(0)
        z = x[train] - centre
        weights = np.linalg.solve(z.T @ z + 20 * np.eye(d), z.T @ (truth[train] - truth[train].mean()))
        p = 1 / (1 + np.exp(-4 * ((x[test] - centre) @ weights)))
        names = [f"P{i:03d}" for i in np.flatnonzero(test)]
        made = rows([("A", "B")[t] for t in truth[test]], np.stack([1 - p, p], 1), "AB", fold=k, patient=names)
        frames.append(made.assign(unit_id=names, g_half=np.where(mine[test], "inside", "outside")))
    return table(frames, "AB")


def detected(**planted: float) -> tuple[float, float]:
    """The share of seeds whose interval of the difference leaves out 0, and the mean difference."""
    found = [subgroups(study(seed, **planted)).iloc[0] for seed in range(SEEDS)]
    told = pd.DataFrame(found)
    return float(((told["difference_low"] > 0) | (told["difference_high"] < 0)).mean()), float(
        told["difference"].mean()
    )


@pytest.mark.slow
def test_a_planted_difference_of_a_quarter_is_found_in_four_of_five_seeds() -> None:
    share, mean = detected(inside=0.0, outside=1.35)
    assert mean == pytest.approx(-0.25, abs=0.03)
    assert share >= 0.8


@pytest.mark.slow
def test_without_a_difference_the_interval_leaves_out_zero_in_few_seeds() -> None:
    share, mean = detected(inside=1.0, outside=1.0)
    assert abs(mean) < 0.02
    assert share <= 0.07
