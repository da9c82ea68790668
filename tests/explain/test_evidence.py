"""Coefficients with their stability over folds, and what a prediction loses without one of its parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from phenolens.core.types import Bag, Example, Frame, Loaded, Part
from phenolens.explain.coefficients import stability
from phenolens.explain.parts import part_falls

FRAME = Frame(shape=(4, 4, 4), spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), unit="mm")


def part(name: str, value: float | None) -> Part:
    if value is None:
        return Part(name=name, image="", source=None)
    x = np.array([[value]], dtype=np.float32)
    bag = Bag(x=x, coords=np.zeros((1, 3)), extent=1, names=("f",), frame=FRAME, recipe="r")
    return Part(name=name, image=name, source=Loaded(bag=bag))


class SumOfParts:
    """The log-odds of class 1 are the sum of the values that are there."""

    def predict(self, examples: Sequence[Example]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        logits = np.array([sum(float(b.x[0, 0]) for b in e.bags()) for e in examples])
        p = 1 / (1 + np.exp(-logits))
        return np.column_stack([1 - p, p])


def test_a_feature_is_ranked_by_its_weight_and_its_sign_is_followed_over_the_folds() -> None:
    folds = [
        {"a": np.array([-2.0, 2.0]), "b": np.array([0.1, -0.1])},
        {"a": np.array([-1.0, 1.0]), "b": np.array([-0.2, 0.2]), "c": np.array([0.0, 0.0])},
    ]
    table = stability(folds, ["no", "yes"]).set_index(["feature", "class"])
    assert table.index.get_level_values(0)[0] == "a"
    row = table.loc[("a", "yes")]
    assert (row["mean"], row["sd"], row["share_used"], row["share_sign"]) == (1.5, pytest.approx(0.7071, 1e-3), 1, 1)
    assert table.loc[("b", "yes"), "share_sign"] == 0.5
    assert table.loc[("c", "yes"), "share_used"] == 0
    assert table.loc[("a", "yes"), "rank_mean"] == 1


def test_without_folds_or_features_the_table_is_empty() -> None:
    assert stability([], ["a", "b"]).empty


def test_the_fall_of_a_part_is_its_share_of_the_log_odds() -> None:
    example = Example(patient="p", unit_id="p", parts=(part("T1", 1.0), part("T2", -0.5), part("DWI", None)))
    falls = part_falls(SumOfParts(), example, 1)
    assert dict(falls) == {"T1": pytest.approx(1.0), "T2": pytest.approx(-0.5)}


def test_an_example_with_one_part_has_nothing_to_take_away() -> None:
    example = Example(patient="p", unit_id="p", parts=(part("T1", 1.0), part("T2", None)))
    assert part_falls(SumOfParts(), example, 1) == {}
