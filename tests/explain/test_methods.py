"""Explanations find planted evidence, and fidelity tells a good map from a random one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from phenolens.core.registry import EXPLAINERS
from phenolens.core.types import Bag, Example, Frame, Heatmap, Loaded, Part
from phenolens.explain.draw import colours, overlay
from phenolens.explain.fidelity import fidelity
from phenolens.explain.heatmaps import heatmaps, top
from phenolens.explain.methods.occlusion import neighbourhoods

FRAME = Frame(shape=(1000, 500), spacing=(1.0, 1.0), origin=(0, 0), unit="um")


class MeanModel:
    """Probability of class 1 is the sigmoid of the mean of the first feature: the evidence of a tile is known."""

    def predict(self, examples: Sequence[Example]) -> npt.NDArray[np.float64]:
        p = np.array([1 / (1 + np.exp(-e.instances()[:, 0].mean())) for e in examples])
        return np.column_stack([1 - p, p])

    def tile_probability(self, example: Example) -> npt.NDArray[np.float64]:
        p = 1 / (1 + np.exp(-example.instances()[:, 0].astype(float)))
        return np.column_stack([1 - p, p])

    def attention(self, example: Example) -> npt.NDArray[np.float64]:
        x = np.exp(example.instances()[:, 0].astype(float))
        weights: npt.NDArray[np.float64] = x / x.sum()
        return weights


def example(*evidence: Sequence[float]) -> Example:
    """One image a sequence; the tiles stand in a row, 50 um apart."""
    parts = []
    for i, values in enumerate(evidence):
        x = np.array(values, np.float32)[:, None]
        coords = np.column_stack([np.arange(len(values)) * 50.0, np.zeros(len(values))])
        bag = Bag(x=x, coords=coords, extent=50.0, names=None, frame=FRAME, recipe="r")
        parts.append(Part(name="slide", image=f"i{i}", source=Loaded(bag=bag)))
    return Example(patient="P", unit_id="P", parts=tuple(parts))


@pytest.mark.parametrize("method", ["attention", "occlusion", "tile_probability"])
def test_every_method_puts_the_planted_tile_first(method: str) -> None:
    scores = EXPLAINERS.create(method).scores(MeanModel(), example([0, 0.1, 6, -0.2], [0.05, -3]), 1)
    assert scores.shape == (6,)
    assert scores.argmax() == 2
    assert scores.argmin() == 5


def test_occlusion_is_signed_by_the_class() -> None:
    one = example([0, 0, 6, -6, 0])
    method = EXPLAINERS.create("occlusion")
    np.testing.assert_allclose(method.scores(MeanModel(), one, 1), -method.scores(MeanModel(), one, 0), atol=1e-9)


def test_a_single_tile_cannot_be_taken_away() -> None:
    np.testing.assert_array_equal(EXPLAINERS.create("occlusion").scores(MeanModel(), example([2.0]), 1), [0])


def test_large_bags_are_occluded_by_neighbourhoods_within_one_image() -> None:
    blocks = neighbourhoods(example(range(300), range(300)), 64)
    assert blocks.max() < 64
    assert set(blocks) == set(range(blocks.max() + 1))
    assert not set(blocks[:300]) & set(blocks[300:])


def test_fidelity_tells_a_true_map_from_a_random_one() -> None:
    rng = np.random.default_rng(0)
    evidence = rng.normal(0, 2, 60)
    one = example(evidence)
    true = fidelity(MeanModel(), one, 1, evidence, seed=1)
    noise = fidelity(MeanModel(), one, 1, rng.normal(size=60), seed=1)
    assert true["insertion"] > true["insertion_random"] + 0.1
    assert true["deletion"] < true["deletion_random"] - 0.1
    assert abs(noise["insertion"] - noise["insertion_random"]) < 0.1
    assert true == fidelity(MeanModel(), one, 1, evidence, seed=1)


def test_fidelity_of_one_tile_is_its_probability() -> None:
    figures = fidelity(MeanModel(), example([0.0]), 1, np.array([1.0]), seed=0)
    assert set(figures.values()) == {0.5}


def test_a_unit_with_two_images_gets_a_heatmap_each() -> None:
    made = heatmaps(MeanModel(), example([0, 1], [5, 0, 0]), "attention", 1, "LMS")
    assert [h.image for h in made] == ["i0", "i1"]
    assert [len(h.scores) for h in made] == [2, 3]
    np.testing.assert_array_equal(top(made[1], 1), [[0, 0]])
    assert made[0].explains == "LMS"


def test_the_overlay_colours_the_tile_where_it_lies() -> None:
    heatmap = Heatmap(
        image="i", scores=np.array([0.0, 1.0], np.float32), coords=np.array([[0.0, 0.0], [900.0, 400.0]]), extent=100.0,
        frame=FRAME, method="attention", explains="A", fidelity={},
    )  # fmt: skip
    picture = overlay(np.full((50, 100, 3), 200, np.uint8), heatmap, signed=False).astype(int)
    assert picture.shape == (50, 100, 3)
    hot, background = picture[45, 95], picture[25, 50]
    assert hot[0] > hot[2] + 40
    assert len(set(background)) == 1


def test_signed_scores_are_blue_below_and_red_above_zero() -> None:
    low, zero, high = colours(np.array([-1.0, 0.0, 1.0]), signed=True)
    assert low[2] > low[0]
    assert high[0] > high[2]
    assert np.ptp(zero) < 1
