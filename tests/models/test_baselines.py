"""Size alone as a model: of the region by its volume, of the image by its frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phenolens.core.errors import ModelError
from phenolens.core.registry import MODELS
from phenolens.core.types import Bag, Example, Frame, Loaded, Part
from phenolens.tasks.classification import Classification

TASK = Classification(target="kind", classes=("small", "large"))


def example(i: int, *, volume: float, side: int, name: str = "morph_volume_RNU0") -> Example:
    frame = Frame(shape=(side, side, side), spacing=(1.0, 1.0, 2.0), origin=(0.0, 0.0, 0.0), unit="mm")
    x = np.array([[0.5, volume]], dtype=np.float32)
    bag = Bag(x=x, coords=np.zeros((1, 3)), extent=1, names=("other", name), frame=frame, recipe="r")
    parts = (Part(name="T1", image=f"i{i}", source=Loaded(bag=bag)), Part(name="T2", image="", source=None))
    return Example(patient=f"p{i}", unit_id=f"p{i}", parts=parts, targets={"kind": TASK.classes[i % 2]})


def cohort(*, by_volume: bool) -> list[Example]:
    rng = np.random.default_rng(0)
    large = [(i % 2) * 1.5 + rng.normal(0, 0.3) for i in range(40)]
    if by_volume:
        return [example(i, volume=float(np.exp(5 + v)), side=20) for i, v in enumerate(large)]
    return [example(i, volume=100.0, side=round(float(np.exp(3 + v)))) for i, v in enumerate(large)]


@pytest.mark.parametrize(("name", "by_volume"), [("volume_only", True), ("image_size", False)])
def test_a_baseline_tells_classes_by_its_size_and_by_nothing_else(name: str, by_volume: bool) -> None:
    model = MODELS.create(name)
    told, other = cohort(by_volume=by_volume), cohort(by_volume=not by_volume)
    fitted = model.fit(told[:24], told[24:32], TASK, seed=0)
    p = fitted.predict(told[32:])
    assert [bool(a > b) for a, b in p] == [i % 2 == 0 for i in range(8)]
    blind = model.fit(other[:24], other[24:32], TASK, seed=0).predict(other[32:])
    assert np.ptp(blind[:, 0]) < 1e-9


def test_features_without_a_volume_are_refused_by_name() -> None:
    examples = [example(i, volume=1.0, side=9, name="texture") for i in range(12)]
    with pytest.raises(ModelError, match="without the volume"):
        MODELS.create("volume_only").fit(examples[:8], examples[8:], TASK, seed=0)


def test_a_unit_without_any_image_is_refused() -> None:
    alone = replace(example(0, volume=1.0, side=9), parts=(Part(name="T1", image="", source=None),))
    with pytest.raises(ModelError, match="no image"):
        MODELS.create("image_size").pool(alone)
