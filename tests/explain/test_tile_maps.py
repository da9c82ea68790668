"""Maps of models that judge tiles: drawn from what was said of the tiles, without reading a pixel again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from phenolens.core.types import Bag, Example, Frame, Loaded, Part
from phenolens.explain.heatmaps import heatmaps

FRAME = Frame(shape=(1000, 500), spacing=(1.0, 1.0), origin=(0, 0), unit="um")


@dataclass
class Votes:
    """The mean of stored probabilities."""

    def predict(self, examples: Sequence[Example]) -> np.ndarray:
        return np.array([e.instances()[:, :2].mean(0) for e in examples])

    def tile_probability(self, example: Example) -> np.ndarray:
        return example.instances()[:, :2].astype(float)


@dataclass
class Judge:
    """A model that says of three tiles how likely class 1 is; it counts how often it is asked."""

    asked: list[str] = field(default_factory=list)

    def predict(self, examples: Sequence[Example]) -> np.ndarray:
        raise AssertionError("the pixels are not to be read again")

    def condensed(self, example: Example) -> tuple[Votes, Example]:
        self.asked.append(example.unit_id)
        p = np.array([0.1, 0.9, 0.5], np.float32)
        coords = np.array([[0.0, 0], [50, 0], [100, 0]])
        bag = Bag(x=np.column_stack([1 - p, p]), coords=coords, extent=50.0, names=None, frame=FRAME, recipe="r")
        part = Part(name="s", image="i0", source=Loaded(bag=bag))
        return Votes(), Example(patient="P", unit_id=example.unit_id, parts=(part,))


@pytest.mark.parametrize("method", ["tile_probability", "occlusion"])
def test_a_map_of_tiles_asks_the_network_once_and_is_in_order(method: str) -> None:
    judge = Judge()
    (heatmap,) = heatmaps(judge, Example(patient="P", unit_id="P", parts=()), method, 1, "one")
    assert judge.asked == ["P"]
    assert heatmap.scores.argsort().tolist() == [0, 2, 1]
    assert heatmap.image == "i0"
    np.testing.assert_array_equal(heatmap.coords[:, 0], [0, 50, 100])
    assert heatmap.fidelity["deletion"] < heatmap.fidelity["deletion_random"]


def test_the_map_of_a_class_is_the_probability_of_its_tiles() -> None:
    (one,) = heatmaps(Judge(), Example(patient="P", unit_id="P", parts=()), "tile_probability", 1, "one")
    (none,) = heatmaps(Judge(), Example(patient="P", unit_id="P", parts=()), "tile_probability", 0, "none")
    np.testing.assert_allclose(one.scores, [0.1, 0.9, 0.5])
    np.testing.assert_allclose(one.scores + none.scores, 1)
