"""What each part adds to a decision of a model whose logits are sums over parts."""

from __future__ import annotations

import numpy as np
import pytest

from phenolens.core.types import Example
from phenolens.explain.parts import part_shares

EXAMPLE = Example(patient="p", unit_id="p", parts=())


class Adds:
    """A model with known contributions."""

    def __init__(self, **logits: list[float]) -> None:
        self.logits = {name: np.array(v) - np.mean(v) for name, v in logits.items()}

    def contributions(self, example: Example) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
        del example
        return self.logits


def test_with_two_classes_the_shares_add_up_to_the_log_odds() -> None:
    shares = part_shares(Adds(T1=[0.5, 1.0], T2=[2.0, -1.0]), EXAMPLE, 0)
    assert shares == pytest.approx({"T1": -0.5, "T2": 3.0})


def test_with_more_classes_a_share_is_that_of_the_class_above_the_mean_of_the_others() -> None:
    shares = part_shares(Adds(T1=[3.0, 1.0, 0.0], T2=[0.0, 0.0, 6.0]), EXAMPLE, 0)
    assert shares == pytest.approx({"T1": 2.5, "T2": -3.0})


def test_a_single_part_is_compared_with_nothing() -> None:
    assert part_shares(Adds(**{"T1+T2": [0.5, 1.0]}), EXAMPLE, 0) == {}
