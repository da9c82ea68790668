"""Size alone as a model: of the region by its volume, of the image by its frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phenolens.core.errors import ModelError
from phenolens.core.registry import MODELS
from phenolens.core.types import Bag, Example, Frame, Loaded, Part
from phenolens.tasks.classification import Classification
from phenolens.tasks.survival import Survival

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


FOLLOWED = Survival(target="os", time="days", event="dead", horizons=(200, 800))


def followed(n: int, *, effect: float = 1.0, seed: int = 0) -> list[Example]:
    """Units whose log hazard is `effect` times the standardised log volume; a third is censored."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        size = rng.normal()
        days, limit = rng.exponential(600 / np.exp(effect * size)), rng.exponential(1200)
        one = example(i, volume=float(np.exp(5 + size)), side=20)
        told = {"days": min(days, limit) + 0.01, "dead": int(days <= limit)}
        made.append(replace(one, targets=told))
    return made


def test_size_alone_orders_the_follow_up_where_it_tells_and_is_that_of_a_cox_regression() -> None:
    units = followed(650)
    train, tune, test = units[:500], units[500:600], units[600:]
    fitted = MODELS.create("volume_only").fit(train, tune, FOLLOWED, seed=0)
    p = fitted.predict(test)
    assert p.shape == (50, 2 + len(FOLLOWED.times))
    assert FOLLOWED.unsound(p) == ""
    volume = np.array([np.log(e.parts[0].load().x[0, 1]) for e in test])
    assert (np.argsort(p[:, 0]) == np.argsort(volume)).all(), "larger means earlier"
    assert float(fitted.weights()["coef"][0]) == pytest.approx(1.0, abs=0.2)
    again = MODELS.create("volume_only").restore(fitted.weights(), fitted.config())
    np.testing.assert_array_equal(again.predict(test), p)
    np.testing.assert_array_equal(np.concatenate([fitted.predict([e]) for e in test]), p)
    blind = MODELS.create("image_size").fit(train, tune, FOLLOWED, seed=0).predict(test)
    assert np.ptp(blind[:, 0]) < 1e-9


def test_a_baseline_of_survival_needs_a_tune_part_as_one_of_classes_does() -> None:
    with pytest.raises(ModelError, match="no tune unit"):
        MODELS.create("volume_only").fit(followed(20), [], FOLLOWED, seed=0)
