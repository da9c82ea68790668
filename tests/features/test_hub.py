"""The hub: rows, pooling, weights and what is said when they are missing."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from phenolens.core.errors import FeatureError, PluginError, WeightsMissingError
from phenolens.core.registry import ENCODERS, Choice
from phenolens.features.encoders import _hub_networks, hub
from phenolens.features.encoders._hub_networks import Row, build, pool, rows, tokens_of
from phenolens.features.encoders._hub_weights import read_state
from phenolens.features.encoders.hub import Forward, Hub

ROWS = dict(rows())
HAS_TRANSFORMERS = importlib.util.find_spec("transformers") is not None
NAMED = {
    "resnet50v2",
    "vgg19",
    "inception_v3",
    "efficientnetv2_s",
    "resnet50",
    "uni",
    "uni2-h",
    "virchow",
    "virchow2",
    "h-optimus-0",
    "h-optimus-1",
    "prov-gigapath",
    "phikon",
    "phikon-v2",
    "hibou-b",
    "hibou-l",
    "midnight",
    "kaiko-vits8",
}


def small_row(**changes: object) -> Row:
    """A ViT small enough to run, with a register, under the name of a real architecture."""
    kwargs = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 0}
    base = dataclasses.replace(
        ROWS["uni"],
        kwargs={**kwargs, "reg_tokens": 1},
        size_px=32,
        dimension=32,
        pooling="cls+mean",
        registers=1,
        file="model.safetensors",
    )
    return dataclasses.replace(base, **changes)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Hub, torch.nn.Module]:
    """A hub encoder of a small row with weights saved in a folder, and its network."""
    row = small_row()
    monkeypatch.setattr(hub, "rows", lambda: {"small": row})
    torch.manual_seed(0)
    network = build(row, None).eval()
    save_file(network.state_dict(), tmp_path / row.file)
    return Hub(variant="small", weights=str(tmp_path), precision="fp32"), network


def tiles(n: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def test_all_models_of_the_plan_are_listed() -> None:
    assert set(ENCODERS.names()) >= NAMED


@pytest.mark.parametrize("name", ROWS)
def test_every_row_is_complete(name: str) -> None:
    row = ROWS[name]
    assert row.library in ("timm", "transformers")
    assert row.pooling in ("cls", "cls+mean", "gap")
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", row.hub)
    assert row.file in ("model.safetensors", "pytorch_model.bin")
    assert len(row.mean) == len(row.std) == 3
    assert all(0 < v < 1 for v in (*row.mean, *row.std))
    assert row.mpp is None or row.mpp == 0.5
    assert row.crop_px is None or row.crop_px < row.size_px
    assert row.licence
    assert len(row.source) > 10
    assert isinstance(row.gated, bool)
    assert str(row.dimension) in row.summary
    assert Choice("encoder", name).create().dimension == row.dimension


@pytest.mark.parametrize("name", ROWS)
def test_every_network_has_the_published_dimension_and_registers(name: str) -> None:
    row = ROWS[name]
    if row.library == "transformers" and not HAS_TRANSFORMERS:
        pytest.skip("transformers is not installed")
    side = row.crop_px or row.size_px
    with torch.device("meta"):
        network = build(row, None).eval()
        tokens = tokens_of(row, network, torch.zeros(2, 3, side, side))
    assert pool(tokens, row.pooling, row.registers).shape == (2, row.dimension)
    if row.library == "timm" and row.pooling != "gap":
        assert network.num_prefix_tokens == 1 + row.registers


def test_pooling_takes_the_class_token_and_leaves_registers_out_of_the_mean() -> None:
    tokens = torch.tensor([[[1.0, 2.0], [100.0, 100.0], [3.0, 4.0], [5.0, 8.0]]])
    assert pool(tokens, "cls", 1).tolist() == [[1.0, 2.0]]
    assert pool(tokens, "cls+mean", 1).tolist() == [[1.0, 2.0, 4.0, 6.0]]
    assert pool(torch.arange(8.0).reshape(1, 2, 2, 2), "gap").tolist() == [[1.5, 5.5]]


def test_features_are_those_of_the_network_on_normalised_tiles(small: tuple[Hub, torch.nn.Module]) -> None:
    encoder, network = small
    made = encoder.load("cpu")(tiles(5, 32), 0.5)
    row = small_row()
    x = torch.tensor(tiles(5, 32)).permute(0, 3, 1, 2) / 255
    x = (x - torch.tensor(row.mean).view(3, 1, 1)) / torch.tensor(row.std).view(3, 1, 1)
    with torch.inference_mode():
        wanted = pool(network.forward_features(x), "cls+mean", 1).numpy()
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, wanted, rtol=1e-5, atol=1e-6)


def test_features_do_not_depend_on_the_batch(small: tuple[Hub, torch.nn.Module]) -> None:
    encoder, _ = small
    one = dataclasses.replace(encoder, batch=1).load("cpu")(tiles(5, 32), 0.5)
    np.testing.assert_allclose(one, encoder.load("cpu")(tiles(5, 32), 0.5), rtol=1e-5, atol=1e-6)


def test_bf16_features_are_near_those_of_fp32(small: tuple[Hub, torch.nn.Module]) -> None:
    encoder, _ = small
    low = dataclasses.replace(encoder, precision="bf16").load("cpu")(tiles(5, 32), 0.5)
    full = encoder.load("cpu")(tiles(5, 32), 0.5)
    assert low.dtype == np.float32
    assert not np.array_equal(low, full)
    np.testing.assert_allclose(low, full, atol=0.05)


def test_tiles_of_another_size_are_resized_with_a_note(small: tuple[Hub, torch.nn.Module]) -> None:
    encoder, _ = small
    flat = np.full((1, 48, 48, 3), 128, np.uint8)
    large = encoder.load("cpu")(flat, 0.5)
    np.testing.assert_allclose(large, encoder.load("cpu")(flat[:, :32, :32], 0.5), atol=1e-5)
    assert encoder.notes(32, 0.5) == ()
    assert encoder.notes(48, 0.5) == ("small was published for tiles of 32 px; tiles of 48 px are resized.",)
    assert encoder.notes(32, 1.0) == ("small was trained at 0.5 mpp; these tiles have 1 mpp.",)


def test_a_centre_crop_keeps_the_middle() -> None:
    row = small_row(size_px=36, crop_px=32, pooling="gap", mean=(0.0,) * 3, std=(1.0,) * 3)
    forward = Forward(row, torch.nn.Identity(), "cpu", 1, "fp32")
    ramp = np.broadcast_to(np.arange(36, dtype=np.uint8)[None, :, None, None], (1, 36, 36, 3))
    rows_kept = forward._pixels(torch.tensor(ramp.copy()))[0, 0, :, 0] * 255
    assert rows_kept.round().tolist() == list(range(2, 34))


class OutOfMemoryOnce(torch.nn.Module):
    """Refuses batches larger than it has room for, as a GPU does."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > self.room:
            raise torch.OutOfMemoryError("out of memory")
        return x.mean((2, 3), keepdim=True)


def test_out_of_memory_halves_the_batch_once_and_goes_on() -> None:
    row = small_row(pooling="gap", dimension=3)
    wanted = Forward(row, OutOfMemoryOnce(100), "cpu", 8, "fp32")(tiles(13, 32), 0.5)
    forward = Forward(row, OutOfMemoryOnce(4), "cpu", 8, "fp32")
    np.testing.assert_allclose(forward(tiles(13, 32), 0.5), wanted, rtol=1e-6)
    assert forward.batch == 4


def test_out_of_memory_twice_says_which_batch_to_set() -> None:
    row = small_row(pooling="gap", dimension=3)
    with pytest.raises(FeatureError, match=r"features: \{batch: 1\}"):
        Forward(row, OutOfMemoryOnce(1), "cpu", 8, "fp32")(tiles(8, 32), 0.5)


def test_the_classifier_of_imagenet_weights_does_not_enter_the_features(tmp_path: Path) -> None:
    row = ROWS["resnet50"]
    torch.manual_seed(1)
    network = build(row, None).eval()
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    encoder = Hub(variant="resnet50", weights=str(tmp_path / "model.safetensors"), precision="fp32")
    made = encoder.load("cpu")(tiles(2, 64), 0.5)
    assert made.shape == (2, 2048)
    x = Forward(row, network, "cpu", 2, "fp32")._pixels(torch.tensor(tiles(2, 64)))
    with torch.inference_mode():
        np.testing.assert_allclose(made, network.forward_features(x).mean((2, 3)).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_the_fingerprint_is_the_hash_of_the_weights(
    small: tuple[Hub, torch.nn.Module], tmp_path: Path, suffix: str
) -> None:
    encoder, network = small
    file = tmp_path / f"other{suffix}"
    save_file(network.state_dict(), file) if suffix == ".safetensors" else torch.save(network.state_dict(), file)
    other = dataclasses.replace(encoder, weights=str(file))
    assert other.fingerprint() == hashlib.sha256(file.read_bytes()).hexdigest()
    np.testing.assert_array_equal(other.load("cpu")(tiles(2, 32), 0.5), encoder.load("cpu")(tiles(2, 32), 0.5))


def test_a_pickle_with_code_is_refused(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (str(tmp_path / "ran"),)

    file = tmp_path / "weights.bin"
    file.write_bytes(pickle.dumps({"a": Harm()}, protocol=2))
    with pytest.raises(FeatureError, match="cannot be read as tensors"):
        read_state(file)
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_network_are_refused(small: tuple[Hub, torch.nn.Module], tmp_path: Path) -> None:
    encoder, network = small
    state = dict(network.state_dict())
    state.pop("norm.weight")
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(FeatureError, match=r"do not fit vit_large_patch16_224.*model\.safetensors of MahmoodLab/UNI"):
        encoder.load("cpu")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    import huggingface_hub.constants as constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_missing_weights_offline_say_which_file_to_put_where(offline: Path) -> None:
    with pytest.raises(WeightsMissingError) as caught:
        Hub(variant="resnet50").fingerprint()
    text = str(caught.value)
    assert "model.safetensors of timm/resnet50.tv_in1k is not in" in text
    assert f"models--timm--resnet50.tv_in1k into {offline}" in text
    assert "HF_HUB_OFFLINE is set" in text
    assert "weights: PATH" in text
    assert "request access" not in text


def test_missing_weights_of_a_gated_model_name_the_gate(offline: Path) -> None:
    with pytest.raises(WeightsMissingError) as caught:
        Hub(variant="uni2-h").load("cpu")
    assert "request access at https://huggingface.co/MahmoodLab/UNI2-h" in caught.value.todo
    assert "hf auth login" in caught.value.todo
    assert "CC-BY-NC-ND-4.0" in caught.value.expected


def test_weights_in_the_offline_cache_are_found(offline: Path) -> None:
    folder = offline / "models--timm--resnet50.tv_in1k"
    snapshot = folder / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("a" * 40)
    (snapshot / "model.safetensors").write_bytes(b"weights")
    import huggingface_hub

    found = huggingface_hub.try_to_load_from_cache("timm/resnet50.tv_in1k", "model.safetensors", cache_dir=offline)
    assert found == str(snapshot / "model.safetensors")
    assert Hub(variant="resnet50").fingerprint() == hashlib.sha256(b"weights").hexdigest()


def test_a_wrong_weights_path_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissingError, match=r"no weight file .*nowhere"):
        Hub(variant="uni", weights=str(tmp_path / "nowhere")).load("cpu")


@pytest.mark.skipif(HAS_TRANSFORMERS, reason="transformers is installed")
def test_a_missing_package_names_the_pip_command() -> None:
    with pytest.raises(FeatureError, match=r"pip install \"phenolens\[hub\]\""):
        Hub(variant="phikon").fingerprint()


@pytest.mark.skipif(not HAS_TRANSFORMERS, reason="transformers is not installed: pip install phenolens[hub]")
@pytest.mark.parametrize("name", ["phikon", "phikon-v2", "hibou-b"])
def test_weights_of_transformers_rows_are_loaded(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    kwargs = {**ROWS[name].kwargs, **(small if name == "phikon" else {k: small[k] for k in list(small)[:3]})}
    row = dataclasses.replace(ROWS[name], kwargs=kwargs, dimension=24, file="model.safetensors")
    monkeypatch.setattr(hub, "rows", lambda: {name: row})
    network = build(row, None).eval()
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, tmp_path / row.file)
    made = Hub(variant=name, weights=str(tmp_path), precision="fp32").load("cpu")(tiles(2, 224), 0.5)
    wanted = Forward(row, network, "cpu", 2, "fp32")(tiles(2, 224), 0.5)
    np.testing.assert_allclose(made, wanted, rtol=1e-4, atol=1e-5)


def test_faulty_parameters_are_refused_with_a_sentence() -> None:
    with pytest.raises(PluginError, match="batch is 0"):
        ENCODERS.create("uni", {"batch": 0})
    with pytest.raises(PluginError, match="precision is 'fp8'"):
        ENCODERS.create("uni", {"precision": "fp8"})
    with pytest.raises(PluginError, match="did you mean 'weights'"):
        ENCODERS.create("uni", {"weight": "x"})


def test_a_changed_fact_of_a_row_changes_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Choice("encoder", "uni").identity()
    changed = {**ROWS, "uni": dataclasses.replace(ROWS["uni"], mean=(0.5, 0.5, 0.5))}
    monkeypatch.setattr(hub, "rows", lambda: changed)
    assert Choice("encoder", "uni").identity() != before
    reworded = {**ROWS, "uni": dataclasses.replace(ROWS["uni"], summary="other words")}
    monkeypatch.setattr(hub, "rows", lambda: reworded)
    assert Choice("encoder", "uni").identity() == before


def test_listing_the_hub_loads_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from phenolens.core.registry import ENCODERS; ENCODERS.describe('uni');"
        "assert not {'torch', 'timm', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_auto_precision_on_a_cpu_is_bf16_only_with_amx(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, wanted in ((False, "fp32"), (True, "bf16")):
        monkeypatch.setattr(hub, "_has_amx", lambda there=there: there)
        assert Hub(variant="uni").numerics("cpu") == {"precision": wanted}
    assert Hub(variant="uni", precision="fp32").numerics("cpu") == {"precision": "fp32"}


def test_rows_are_read_from_the_table_beside_the_file() -> None:
    assert _hub_networks.rows()["virchow2"].registers == 4
