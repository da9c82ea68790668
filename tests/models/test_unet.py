"""A U-Net finds planted lesions, on volumes of any size, and gives the same masks when stored and restored."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load
from volumedata import ball, example, volume

from phenolens.core.errors import ModelError, PluginError
from phenolens.core.registry import MODELS, TASKS
from phenolens.core.store import canonical
from phenolens.core.types import Example
from phenolens.models.record import weights_bytes
from phenolens.models.segment import patch_of
from phenolens.tasks.classification import Classification

TASK = TASKS.create("segmentation")
QUICK = {"patch": 16, "width": 4, "levels": 3}


def lesions(n: int, seed: int = 0) -> list[Example]:
    """Bright balls of several sizes at any place of a noisy volume, whose size differs too; small cubes distract."""
    draw = np.random.default_rng(seed)
    made = []
    for i in range(n):
        shape = tuple(int(s) for s in draw.integers(18, 28, 3))
        mask = ball(shape, centre=tuple(draw.uniform(6, s - 6) for s in shape), radius=draw.uniform(3, 5.5))
        x = draw.normal(size=shape) + 2.5 * mask
        for _ in range(6):
            a, b, c = (int(draw.integers(0, s - 2)) for s in shape)
            x[a : a + 2, b : b + 2, c : c + 2] += 2.5
        made.append(example(f"p{i:03d}", None, {"T2": replace(volume(x), mask=mask)}))
    return made


EXAMPLES = lesions(22)
TEST, TUNE, TRAIN = EXAMPLES[:5], EXAMPLES[5:9], EXAMPLES[9:]


def fit(train: list[Example], tune: list[Example], **params: Any) -> Any:
    return MODELS.create("unet", {**QUICK, **params}).fit(train, tune, TASK, seed=1)


@pytest.fixture(scope="module")
def learnt() -> Any:
    return fit(TRAIN, TUNE, epochs=24, width=8)


def test_planted_lesions_are_found(learnt: Any) -> None:
    measured = [TASK.measure(mask, e) for mask, e in zip(learnt.masks(TEST, TASK), TEST, strict=True)]
    assert np.mean([m["dice"] for m in measured]) > 0.8
    assert np.mean([m["surface_dice"] for m in measured]) > 0.9


def test_the_drawn_mask_of_what_is_to_be_segmented_is_not_looked_at(learnt: Any) -> None:
    held = TASK.volume(TEST[0])
    np.testing.assert_array_equal(learnt.probability(replace(held, mask=None)), learnt.probability(held))


def test_a_volume_smaller_than_a_patch_is_segmented_too(learnt: Any) -> None:
    small = volume(TASK.volume(TEST[0]).x[:, :9, :14, :10])
    p = learnt.probability(small)
    assert p.shape == (9, 14, 10)
    assert ((p >= 0) & (p <= 1)).all()


def test_a_restored_model_gives_exactly_the_same_probabilities() -> None:
    made = fit(TRAIN[:3], TUNE[:1], epochs=1)
    restored = MODELS.create("unet", QUICK).restore(load(weights_bytes(made, "")), json.loads(canonical(made.config())))
    np.testing.assert_array_equal(restored.probability(TASK.volume(TEST[0])), made.probability(TASK.volume(TEST[0])))
    assert weights_bytes(restored, "") == weights_bytes(made, "")
    assert restored.config() == json.loads(canonical(made.config()))


def test_the_same_seed_gives_the_same_bytes_in_whatever_order_examples_come() -> None:
    a, b = (fit(train, TUNE[:2], epochs=2) for train in (TRAIN[:4], TRAIN[:4][::-1]))
    assert weights_bytes(a, "") == weights_bytes(b, "")
    assert a.config() == b.config()


def test_patches_lie_around_the_lesion_as_often_as_asked() -> None:
    x = np.arange(30 * 20 * 24, dtype=np.float32).reshape(1, 30, 20, 24)
    mask = ball((30, 20, 24), centre=(4.0, 15.0, 3.0), radius=1.5)
    draw = np.random.default_rng(0)
    for share in (0.0, 1.0):
        cuts = [patch_of(x, mask, (8, 8, 4), share, draw) for _ in range(60)]
        assert all(cut.shape == (1, 4, 8, 8) and m.shape == (4, 8, 8) for cut, m in cuts)
        assert (np.mean([m.any() for _, m in cuts]) > 0.99) == (share == 1.0)
    cut, m = patch_of(x, mask, (8, 8, 4), 1.0, draw)
    np.testing.assert_array_equal(mask.ravel()[cut.astype(int).ravel()], m.ravel())


def test_a_small_volume_is_padded_with_the_mean_and_nothing() -> None:
    x, mask = np.ones((2, 3, 10, 10), np.float32), np.ones((3, 10, 10), bool)
    cut, m = patch_of(x, mask, (8, 8, 8), 0.0, np.random.default_rng(0))
    assert cut.shape == (2, 8, 8, 8)
    assert cut.sum() == 2 * m.sum() == 2 * 3 * 64


def test_another_task_no_tune_split_or_no_mask_is_refused() -> None:
    model = MODELS.create("unet", QUICK)
    with pytest.raises(ModelError, match="task of kind 'classification'"):
        model.fit(TRAIN, TUNE, Classification(target="t", classes=("A", "B")), seed=0)
    with pytest.raises(ModelError, match="no tune unit"):
        model.fit(TRAIN, [], TASK, seed=0)
    bare = example("bare", None, {"T2": replace(TASK.volume(TEST[0]), mask=None)})
    with pytest.raises(ModelError, match="no lesion in the volume of unit 'bare'"):
        fit([*TRAIN[:2], bare], TUNE[:1], epochs=1)


def test_voxels_of_another_size_are_refused(learnt: Any) -> None:
    with pytest.raises(ModelError, match="voxels of 2 x 2 x 5 mm"):
        learnt.predict_mask(volume(np.zeros((20, 20, 20)), spacing=(2.0, 2.0, 5.0)))


@pytest.mark.parametrize(
    "params", [{"patch": 18}, {"patch": [16, 16]}, {"levels": 1}, {"foreground": 1.5}, {"learning_rate": 0}]
)
def test_impossible_parameters_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(PluginError, match=next(iter(params))):
        MODELS.create("unet", params)
