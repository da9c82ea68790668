"""`tile_cnn`: a network on tiles, in a fold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bagdata import split_of
from safetensors.numpy import load
from safetensors.torch import save_file
from tiledata import CLASSES, QUICK, example, stripes, textured, tileset

from phenolens.core.errors import FeatureError, ModelError, PluginError, WeightsMissingError
from phenolens.core.registry import MODELS, TASKS, Choice
from phenolens.core.store import Store, canonical
from phenolens.core.types import Example
from phenolens.models.backbones import RANDOM, Backbone, Vectors
from phenolens.models.fit import FitJob, fit, fits_predictions, fits_tiles, run_fold
from phenolens.models.guard import GuardSettings
from phenolens.models.predict import load_fit
from phenolens.models.record import weights_bytes
from phenolens.models.tiles_fitted import evaluated, together
from phenolens.models.tiles_network import TileNetwork, depths, rates
from phenolens.models.tiles_training import Training

TASK = TASKS.create("classification", {"target": "subtype", "classes": CLASSES})
EXAMPLES = textured(14, tiles=8)
SPLIT = split_of(EXAMPLES, tune=0.3, test=0.3)
TEST = [replace(e, targets={}) for e in EXAMPLES if e.patient in SPLIT.test]


def blank(name: str = "test_resnet") -> Vectors:
    return Backbone(name=name, weights=RANDOM).vectors()


def part(name: str, examples: list[Example] = EXAMPLES) -> list[Example]:
    return [e for e in examples if e.patient in getattr(SPLIT, name)]


def fitted(examples: list[Example] = EXAMPLES, **params: Any) -> Any:
    model = MODELS.create("tile_cnn", {**QUICK, **params})
    return model.fit(part("train", examples), part("tune", examples), TASK, seed=3)


@pytest.fixture(scope="module")
def trained() -> Any:
    return fitted()


def job(**params: Any) -> FitJob:
    return FitJob(
        model=Choice("model", "tile_cnn", {**QUICK, "epochs": 1, "tiles_per_epoch": 32, **params}),
        task=Choice("task", "classification", {"target": "subtype", "classes": CLASSES}),
        split=SPLIT,
        examples=tuple(EXAMPLES),
        upstream={e.unit_id: e.unit_id for e in EXAMPLES},
        guard=GuardSettings(),
    )


def test_a_network_from_random_weights_learns_to_tell_textures(trained: Any) -> None:
    p = trained.predict(TEST)
    truth = [TASK.truth(e) for e in part("test")]
    assert p.shape == (len(TEST), 2)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-12)
    assert p[np.arange(len(p)), truth].min() > 0.7
    assert trained.config()["statistics"] == "learnt"


def test_the_epoch_kept_is_that_of_the_least_loss_or_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"epochs": 3, "patience": 1, "tiles_per_epoch": 32}
    made = {}
    for keep in ("best", "last"):
        rising = iter([0.5, 0.6, 0.7])
        monkeypatch.setattr(Training, "tune_loss", lambda self, rising=rising: next(rising))
        made[keep] = fitted(**few, keep=keep)
    told = {keep: (m.config()["kept_epoch"], m.config()["epochs"]) for keep, m in made.items()}
    assert told == {"best": (1, 2), "last": (3, 3)}
    assert weights_bytes(made["best"], "") != weights_bytes(made["last"], "")


def test_a_frozen_backbone_stays_as_it_was_and_an_unfrozen_one_does_not(trained: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    begun = {n: v.clone() for n, v in blank().network.state_dict().items()}
    save_file(begun, file := tmp_path / "w.safetensors")
    made = [fitted(weights=str(file), frozen=frozen, epochs=1) for frozen in (True, False)]
    changed = [
        {n for n, v in m.network.backbone.network.state_dict().items() if not torch.equal(v, begun[n])} for m in made
    ]
    assert changed[0] == set()
    parameters = {n for n, _ in made[1].network.backbone.network.named_parameters()}
    assert changed[1] == parameters  # running means are kept
    assert [m.config()["statistics"] for m in made] == ["kept", "kept"]
    assert {n for n in begun if "running" in n} - changed[1]


def test_the_same_seed_gives_the_same_bytes_in_any_order_and_with_any_number_of_workers(trained: Any) -> None:
    again = fitted(EXAMPLES[::-1], workers=3)
    assert weights_bytes(again, "") == weights_bytes(trained, "")
    assert again.config() == trained.config()
    np.testing.assert_array_equal(again.predict(TEST), trained.predict(TEST))


def test_a_restored_model_gives_exactly_the_same_predictions_and_votes(trained: Any) -> None:
    weights, config = load(weights_bytes(trained, "")), json.loads(canonical(trained.config()))
    restored = MODELS.create("tile_cnn", QUICK).restore(weights, config)
    np.testing.assert_array_equal(restored.predict(TEST), trained.predict(TEST))
    for name, p in trained.votes(TEST).items():
        np.testing.assert_array_equal(restored.votes(TEST)[name], p)
    assert weights_bytes(restored, "") == weights_bytes(trained, "")


def test_a_prediction_is_the_mean_of_the_tiles_and_the_majority_their_shares(trained: Any) -> None:
    p = trained.predict(TEST)
    for i, unit in enumerate(TEST):
        ((image, coords, tiles),) = trained.tiles(unit)
        assert image == unit.parts[0].image
        np.testing.assert_array_equal(coords, unit.parts[0].tiles().coords)
        np.testing.assert_allclose(tiles.mean(0), p[i], atol=1e-12)
        np.testing.assert_array_equal(
            trained.votes([unit])["majority"][0], np.bincount(tiles.argmax(1), minlength=2) / 8
        )
    np.testing.assert_array_equal(np.concatenate([trained.predict([e]) for e in TEST]), p)


def test_what_the_votes_are_made_of_gives_the_same_predictions_without_a_pixel(trained: Any) -> None:
    predictor, bags = trained.condensed(TEST[0])
    np.testing.assert_allclose(predictor.predict([bags]), trained.predict(TEST[:1]), atol=1e-6)
    np.testing.assert_allclose(predictor.attention(bags), trained.attention(TEST[0]), atol=1e-6)
    np.testing.assert_allclose(predictor.tile_probability(bags), trained.tiles(TEST[0])[0][2], atol=1e-6)
    assert trained.attention(TEST[0]).sum() == pytest.approx(1)


def test_a_unit_of_several_slides_is_the_mean_of_all_their_tiles(trained: Any) -> None:
    rng = np.random.default_rng(1)
    sets = [tileset(stripes(rng, n, coarse=True)) for n in (3, 5)]
    whole = trained.predict([example("x", None, *sets)])
    alone = [trained.predict([example("x", None, s)]) for s in sets]
    np.testing.assert_allclose(whole, (3 * alone[0] + 5 * alone[1]) / 8, atol=1e-7)


def test_tiles_of_several_images_judged_together_are_as_judged_alone(trained: Any) -> None:
    rng = np.random.default_rng(2)
    sets = [tileset(stripes(rng, n, coarse=n % 2 == 0)) for n in (3, 40, 1, 1)]
    chosen = list(zip(sets, ([2, 0], range(40), [0], [0]), strict=True))
    with torch.inference_mode():
        made = together(trained.network, chosen, 1)
        for (held, rows), (p, hidden) in zip(chosen, made, strict=True):
            alone = evaluated(trained.network, held, rows, 1)
            np.testing.assert_allclose(p, alone[0], atol=1e-6)
            np.testing.assert_allclose(hidden, alone[1], atol=1e-4)


def test_a_patient_with_a_few_tiles_is_predicted_and_marked(trained: Any) -> None:
    rich = [
        example(f"q{i}", CLASSES[i % 2], tileset(stripes(np.random.default_rng(i), 3 if i == 1 else 40, i % 2 == 0)))
        for i in range(4)
    ]
    made = MODELS.create("tile_cnn", {**QUICK, "epochs": 1, "tiles_per_epoch": 32}).fit(
        rich, EXAMPLES[:4], TASK, seed=0
    )
    assert made.config()["few_tiles"] == {"q1": 3}
    assert made.flags(rich[:2]) == ["", "3 tiles, where a training unit has 40 in the middle"]
    assert np.isfinite(made.predict(rich[:2])).all()


def test_without_a_tune_unit_or_a_class_a_fit_is_refused() -> None:
    model = MODELS.create("tile_cnn", QUICK)
    with pytest.raises(ModelError, match="no tune unit to stop on"):
        model.fit(EXAMPLES, [], TASK, seed=0)
    one = [replace(e, targets={"subtype": "A"}) if e.patient in SPLIT.train else e for e in EXAMPLES]
    with pytest.raises(ModelError, match="no training unit of class B among 6"):
        run_fold(model, TASK, SPLIT, one, seed=0, name="m")


def test_weights_that_are_not_there_stop_a_fit_before_training(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissingError, match=r"no weight file .*gone\.safetensors"):
        fit(job(weights=str(tmp_path / "gone.safetensors")), tmp_path)
    with pytest.raises(WeightsMissingError, match="start"):
        fit(job(weights=None, start=str(tmp_path / "gone")), tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "w.safetensors")
    with pytest.raises(FeatureError, match="weights that do not fit test_resnet"):
        fitted(weights=str(tmp_path / "w.safetensors"))


def test_parameters_out_of_range_and_networks_without_a_map_are_refused() -> None:
    for wrong, told in (
        ({"batch": 1}, "batch must be at least 2"),
        ({"backbone": "resnet5000"}, "neither a row of hub.toml nor a network of timm"),
        ({"backbone": "test_vit"}, "makes no feature map"),
        ({"start": "x"}, "leave weights out"),
        ({"warmup": 1.0}, "warmup must lie in 0 to 1"),
        ({"keep": "first"}, "keep must be best or last"),
        ({"size_power": 2.0}, "size_power must lie in 0 to 1"),
    ):
        with pytest.raises(PluginError, match=told):
            MODELS.create("tile_cnn", {**QUICK, **wrong})


def test_the_key_of_a_fit_holds_the_hash_of_the_weights_and_not_their_place(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {n: v.clone() for n, v in blank().network.state_dict().items()}
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_file(state, tmp_path / name / "w.safetensors")
    choices = [Choice("model", "tile_cnn", {**QUICK, "weights": str(tmp_path / n / "w.safetensors")}) for n in "ab"]
    assert choices[0].keyed() == choices[1].keyed()
    assert str(tmp_path) not in canonical(choices[0].keyed())
    state["conv1.0.weight"] += 1
    save_file(state, tmp_path / "b" / "w.safetensors")
    assert choices[0].keyed() != choices[1].keyed()
    assert Choice("model", "tile_cnn", QUICK).keyed()["weights"] == "random"
    more = Choice("model", "tile_cnn", {**QUICK, "workers": 7})
    assert more.keyed() == Choice("model", "tile_cnn", QUICK).keyed()


def test_a_stored_fit_has_rows_for_each_vote_and_for_each_tile(tmp_path: Path) -> None:
    key = fit(job(), tmp_path)
    store = Store(tmp_path)
    table = fits_predictions(store, key)
    names = {"tile_cnn", "tile_cnn (majority)", "tile_cnn (attention)"}
    assert set(table["model"]) == names
    test = table[table["part"] == "test"]
    assert all(set(test[test["model"] == n]["patient"]) == SPLIT.test for n in names)
    stored = load_fit(store, key)
    own = test[test["model"] == "tile_cnn"].set_index("unit_id")
    np.testing.assert_allclose(
        stored.predict(TEST), own.loc[[e.unit_id for e in TEST], ["p_A", "p_B"]].to_numpy(), atol=1e-12
    )
    tiles = fits_tiles(store, key)
    assert tiles is not None
    assert set(tiles["patient"]) == SPLIT.test | SPLIT.tune
    assert set(tiles["unit"]) == {"tile"}
    means = tiles[tiles["part"] == "test"].groupby("of")[["p_A", "p_B"]].mean()
    np.testing.assert_allclose(means.loc[own.index], own[["p_A", "p_B"]], atol=1e-12)
    assert "weights" not in stored.config["model"]["choice"]["parameters"]
    assert stored.config["model"]["weights"] == "random"


def test_the_votes_have_guards_of_their_own_that_share_what_the_training_looks_like() -> None:
    model = MODELS.create("tile_cnn", {**QUICK, "epochs": 1, "tiles_per_epoch": 32})
    table = run_fold(model, TASK, SPLIT, EXAMPLES, seed=0, name="m", guard=GuardSettings()).table
    test = table[table["part"] == "test"].set_index(["unit_id", "model"])["ood"].unstack()
    assert test["m"].equals(test["m (majority)"].rename("m"))
    assert {"set_90", "q_A"} <= set(table.columns)


def test_the_rates_fall_from_the_head_to_the_stem() -> None:
    made = blank()
    network = TileNetwork(made, 8, 2, frozen=False, statistics=True)
    found = rates(network, head=0.01, backbone=0.001, stem_share=0.1)
    assert set(found) == {n for n, _ in network.named_parameters()}
    assert {found[n] for n in found if not n.startswith("backbone.")} == {0.01}
    assert found["backbone.network.conv1.0.weight"] == pytest.approx(0.0001)
    last = [v for n, v in found.items() if n.startswith("backbone.network.layer4")]
    assert last == pytest.approx([0.001] * len(last))
    deep = depths(made)
    for name, value in deep.items():
        assert found[f"backbone.{name}"] == pytest.approx(0.001 * 0.1 ** (1 - value))
    means = [np.mean([v for n, v in deep.items() if f"layer{i}" in n]) for i in (1, 2, 3, 4)]
    assert means == sorted(means)
    frozen = TileNetwork(blank(), 8, 2, frozen=True, statistics=False)
    assert set(rates(frozen, head=1, backbone=1, stem_share=1)) == {
        "hidden.weight", "hidden.bias", "classify.weight", "classify.bias",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50v2", "vgg19", "inception_v3", "efficientnetv2_s", "resnet50"])
def test_every_weight_of_the_study_s_networks_is_trained(name: str) -> None:
    network = TileNetwork(blank(name), 8, 4, frozen=False, statistics=True).train()
    logits, hidden = network(torch.rand(2, 3, 96, 96))
    assert (logits.shape, hidden.shape) == ((2, 4), (2, 8))
    logits.square().sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []
    deep = depths(network.backbone).values()
    assert (min(deep), max(deep)) == (0, 1)
