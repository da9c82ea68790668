"""A U-Net on tiles finds what is outlined, repeats itself, and comes back from its file without the backbone's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from outlinedata import tile_example
from safetensors.numpy import load
from safetensors.torch import save_file

from phenolens.core.compat import import_timm
from phenolens.core.errors import FeatureError, ModelError, PluginError, WeightsMissingError
from phenolens.core.registry import MODELS, TASKS, Choice
from phenolens.core.store import canonical
from phenolens.models.backbones import Backbone
from phenolens.models.fit_masks import model_identity
from phenolens.models.record import weights_bytes
from phenolens.models.tile_network import TileUnet
from phenolens.tasks.classification import Classification

TASK = TASKS.create("segmentation")
TINY = {"backbone": "test_resnet", "weights": "none", "width": 8, "tiles": 6, "batch": 6}
TRAIN = [tile_example(f"P{i}", i) for i in range(4)]
TUNE, TEST = [tile_example("P8", 8)], tile_example("P9", 9)


def fit(train: Any = TRAIN, tune: Any = TUNE, task: Any = TASK, **params: Any) -> Any:
    return MODELS.create("tile_unet", {**TINY, **params}).fit(train, tune, task, seed=1)


@pytest.fixture(scope="module")
def learnt() -> Any:
    return fit(epochs=10, learning_rate=0.005)


def told(fitted: Any, example: Any = TEST) -> np.ndarray:
    with fitted.at_work() as tell:
        return tell(example.parts[0].tiles().pixels(range(12)))


def test_what_is_outlined_is_found_on_tiles_of_another_patient(learnt: Any) -> None:
    p, truth = told(learnt), TEST.parts[0].tiles().inside(range(12))
    assert p.shape == truth.shape
    found = p >= 0.5
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.75


def test_the_same_seed_gives_the_same_bytes_in_whatever_order_slides_come() -> None:
    one, other = fit(epochs=1), fit(TRAIN[::-1], epochs=1)
    assert weights_bytes(one, "") == weights_bytes(other, "")
    assert one.config() == other.config()


def test_a_restored_model_says_exactly_the_same_and_a_tile_does_not_depend_on_the_others(learnt: Any) -> None:
    weights, config = load(weights_bytes(learnt, "")), json.loads(canonical(learnt.config()))
    gone = MODELS.create("tile_unet", {**TINY, "weights": "/gone/model.safetensors"})
    restored = gone.restore(weights, config)
    np.testing.assert_array_equal(told(restored), told(learnt))
    assert weights_bytes(restored, "") == weights_bytes(learnt, "")
    with learnt.at_work() as tell:
        alone = tell(TEST.parts[0].tiles().pixels([5]))
    np.testing.assert_allclose(alone[0], told(learnt)[5], atol=1e-5)


def test_the_outlines_of_what_is_told_are_not_looked_at(learnt: Any) -> None:
    np.testing.assert_array_equal(told(learnt, tile_example("P9", 9, outlines=False)), told(learnt))


def test_training_leaves_torch_as_it_was() -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state().clone(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    told(fit(epochs=1))
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())


def test_what_cannot_be_learnt_from_is_refused() -> None:
    with pytest.raises(ModelError, match="no tune unit"):
        fit(tune=())
    with pytest.raises(ModelError, match="a model that finds masks"):
        fit(task=Classification(target="t", classes=("a", "b")))
    with pytest.raises(FeatureError, match="without outlines"):
        fit([tile_example("P0", 0, outlines=False)])
    with pytest.raises(ModelError, match="tiles of one size and spacing|tiles of 32 px and 96 um"):
        fit([*TRAIN, tile_example("P5", 5, mpp=3.0)])
    with pytest.raises(PluginError, match="smallest_mm2"):
        fit(smallest_mm2=-1)


@pytest.mark.parametrize("name", ["vgg19", "resnetv2_50", "inception_v3", "tf_efficientnetv2_s", "test_convnext"])
def test_any_backbone_gives_a_logit_a_pixel(name: str) -> None:
    with torch.device("meta"):
        maps = import_timm().create_model(name, features_only=True)
        network = TileUnet(maps, maps.feature_info.channels(), 8, (0.5,) * 3, (0.5,) * 3)
        assert network.eval()(torch.zeros(2, 3, 96, 96)).shape == (2, 1, 96, 96)


def test_weights_of_a_file_are_taken_and_their_hash_is_the_identity(tmp_path: Path) -> None:
    whole = import_timm().create_model("test_resnet", pretrained=False)
    save_file(whole.state_dict(), tmp_path / "own.safetensors")
    known = Backbone(name="test_resnet", weights=str(tmp_path / "own.safetensors"))
    made = known.maps().state_dict()
    same = [k for k, v in whole.state_dict().items() if k in made and torch.equal(v, made[k])]
    assert set(made) == set(same)
    moved = (tmp_path / "own.safetensors").rename(tmp_path / "moved.safetensors")
    again = Choice("model", "tile_unet", {**TINY, "weights": str(moved)})
    assert (
        model_identity(again)["parameters"]["weights"] == Backbone(name="test_resnet", weights=str(moved)).fingerprint()
    )
    assert "moved" not in canonical(model_identity(again))


def test_a_backbone_or_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"'resnet_50v2' is neither .* \(did you mean 'resnet50v2'\?\)"):
        MODELS.create("tile_unet", {"backbone": "resnet_50v2"})
    with pytest.raises(PluginError, match="'phikon' gives no maps"):
        MODELS.create("tile_unet", {"backbone": "phikon"})
    with pytest.raises(WeightsMissingError, match="no weight file"):
        Backbone(name="resnet50v2", weights=str(tmp_path / "no.safetensors")).fingerprint()
    save_file({"stem.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="weights that hold 0 of the"):
        Backbone(name="test_resnet", weights=str(tmp_path / "other.safetensors")).maps()
