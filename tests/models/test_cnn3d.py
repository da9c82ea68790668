"""A network on volumes: it learns, stops, forgets nothing when stored, and says what it cannot read."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load
from volumedata import CLASSES, example, rimmed, volume

from phenolens.core.errors import ModelError, PluginError
from phenolens.core.registry import MODELS
from phenolens.core.store import canonical
from phenolens.core.types import Example, Held
from phenolens.models import volumes
from phenolens.models.record import weights_bytes
from phenolens.tasks.classification import Classification

TASK = Classification(target="subtype", classes=CLASSES)
EXAMPLES = rimmed(72)
TEST, TUNE, TRAIN = EXAMPLES[:20], EXAMPLES[20:34], EXAMPLES[34:]
QUICK = {"epochs": 2, "network": "small", "width": 4}


def without(one: Example, *names: str) -> Example:
    """The same unit, where some sequences are absent."""
    return replace(one, parts=tuple(replace(p, source=None) if p.name in names else p for p in one.parts))


def fit(train: list[Example], tune: list[Example], **params: Any) -> Any:
    return MODELS.create("cnn3d", {**QUICK, **params}).fit(train, tune, TASK, seed=3)


@pytest.fixture(scope="module")
def learnt() -> Any:
    """Fitted with a third of each sequence missing in training."""
    gappy = [without(e, ("T1", "T2", "")[i // 2 % 3]) for i, e in enumerate(TRAIN)]
    return fit(gappy, TUNE, epochs=16, width=8)


def accuracy(fitted: Any, examples: list[Example]) -> float:
    return float((fitted.predict(examples).argmax(1) == [TASK.truth(e) for e in examples]).mean())


def test_a_planted_signal_in_one_sequence_is_learnt_although_sequences_are_missing(learnt: Any) -> None:
    assert accuracy(learnt, TEST) >= 0.9
    assert accuracy(learnt, [without(e, "T2") for e in TEST]) >= 0.9
    assert accuracy(learnt, [without(e, "T1") for e in TEST]) <= 0.75
    assert learnt.config()["sets"] == ["T1", "T1+T2", "T2"]


def test_probabilities_are_one_row_a_unit_and_sum_to_one(learnt: Any) -> None:
    p = learnt.predict(TEST)
    assert p.shape == (len(TEST), 2)
    assert p.dtype == np.float64
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-12)


def test_a_prediction_does_not_depend_on_the_others_nor_on_the_label_nor_on_the_order_of_parts(learnt: Any) -> None:
    together = learnt.predict(TEST)
    alone = [learnt.predict([replace(e, targets={}, parts=e.parts[::-1])]) for e in TEST]
    np.testing.assert_array_equal(together, np.concatenate(alone))


def test_what_each_sequence_adds_sums_to_the_log_odds(learnt: Any) -> None:
    added = learnt.contributions(TEST[1])
    assert sorted(added) == ["T1", "T2"]
    logits = added["T1"] + added["T2"]
    p = learnt.predict([TEST[1]])[0]
    assert logits[1] - logits[0] == pytest.approx(np.log(p[1]) - np.log(p[0]), abs=1e-5)
    sure = [e for e in TEST if abs(learnt.predict([e])[0, 1] - 0.5) > 0.4]
    shares = [{n: np.ptp(v) for n, v in learnt.contributions(e).items()} for e in sure]
    assert np.mean([s["T1"] > s["T2"] for s in shares]) > 0.8


def test_the_same_seed_gives_the_same_bytes_in_whatever_order_examples_come() -> None:
    a = fit(TRAIN[:10], TUNE[:4])
    b = fit(TRAIN[:10][::-1], TUNE[:4][::-1])
    assert weights_bytes(a, "") == weights_bytes(b, "")
    assert a.config() == b.config()
    assert weights_bytes(a, "") != weights_bytes(fit(TRAIN[:11], TUNE[:4]), "")


@pytest.mark.parametrize("params", [{}, {"join": "channels"}, {"sequence": "T1"}])
def test_a_restored_model_gives_exactly_the_same_predictions(params: dict[str, Any]) -> None:
    made = fit(TRAIN[:10], TUNE[:4], **params)
    model = MODELS.create("cnn3d", {**QUICK, **params})
    restored = model.restore(load(weights_bytes(made, "")), json.loads(canonical(made.config())))
    np.testing.assert_array_equal(restored.predict(TEST), made.predict(TEST))
    assert weights_bytes(restored, "") == weights_bytes(made, "")
    assert restored.config() == json.loads(canonical(made.config()))


def test_volumes_beyond_the_cache_are_read_again_and_give_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = weights_bytes(fit(TRAIN[:10], TUNE[:4]), "")
    monkeypatch.setattr(volumes, "CACHE_BYTES", 10**5)
    assert weights_bytes(fit(TRAIN[:10], TUNE[:4]), "") == kept


def test_standardisation_is_learnt_from_training_volumes_alone() -> None:
    made = fit(TRAIN[:10], TUNE[:4])
    far = [
        replace(e, parts=tuple(replace(p, source=Held(volume=volume(p.volume().x + 50))) for p in e.parts))
        for e in TUNE[:4]
    ]
    other = fit(TRAIN[:10], far)
    voxels = np.concatenate([e.parts[0].volume().x.ravel() for e in TRAIN[:10]])
    assert made.weights()["scaler.0.mean"] == pytest.approx(voxels.mean(), abs=1e-4)
    assert made.weights()["scaler.0.scale"] == pytest.approx(voxels.std(), abs=1e-4)
    assert other.weights()["scaler.0.mean"] == made.weights()["scaler.0.mean"]


def test_training_stops_on_the_tune_split_and_keeps_its_best_epoch() -> None:
    draw = np.random.default_rng(1)
    noise = [example(f"p{i}", CLASSES[i % 2], {"T1": volume(draw.normal(size=(18, 18, 18)))}) for i in range(16)]
    config = fit(noise[:10], noise[10:], epochs=40, patience=2).config()
    assert config["epochs"] == config["kept_epoch"] + 2
    assert config["epochs"] < 40


@pytest.mark.parametrize("network", ["resnet10", "resnet18"])
def test_larger_networks_fit_and_predict(network: str) -> None:
    made = fit(TRAIN[:6], TUNE[:2], network=network, epochs=1)
    assert made.predict(TEST[:2]).shape == (2, 2)


def test_a_dense_network_reads_slices_as_channels_in_two_dimensions() -> None:
    draw = np.random.default_rng(0)
    flat = [example(f"p{i}", CLASSES[i % 2], {"T1": volume(draw.normal(size=(3, 1, 64, 64)))}) for i in range(6)]
    made = fit(flat[:4], flat[4:], network="densenet121", width=2, epochs=1)
    assert made.predict(flat).shape == (6, 2)
    assert made.gradients(flat[0], 1)["T1"].shape == (3, 1, 64, 64)


def test_too_small_a_volume_for_the_network_is_refused() -> None:
    with pytest.raises(ModelError, match="at least 64 voxels"):
        fit(TRAIN[:6], TUNE[:2], network="densenet121")


def test_a_unit_that_has_nothing_to_read_is_refused_unless_declared(learnt: Any) -> None:
    with pytest.raises(ModelError, match="found no image in unit 'p000'"):
        learnt.predict([without(TEST[0], "T1", "T2")])
    with pytest.raises(ModelError, match="found T2 in unit .* expected T1"):
        fit([*TRAIN[:8], without(TRAIN[8], "T1")], TUNE[:2], sequence="T1")
    with pytest.raises(ModelError, match=r"expected T1 \+ T2"):
        fit(TRAIN[:8], [without(TUNE[0], "T1"), *TUNE[1:3]], join="channels")
    made = fit([*TRAIN[:8], without(TRAIN[8], "T1")], TUNE[:2], sequence="T1", fallback="prior")
    assert made.config()["left_out"] == 1
    np.testing.assert_array_equal(made.predict([without(TEST[0], "T1")]), [[0.5, 0.5]])
    assert made.flags([TEST[0], without(TEST[0], "T1")]) == [
        "",
        "nothing the model reads is there: equal probabilities",
    ]


def test_a_sequence_that_training_never_saw_is_refused_and_a_set_of_sequences_as_declared() -> None:
    made = fit([without(e, "T2") for e in TRAIN[:4]] + TRAIN[4:8], TUNE[:2], new_subset="refuse")
    assert made.predict([without(TEST[0], "T2")]).shape == (1, 2)
    lenient = MODELS.create("cnn3d", QUICK).restore(made.weights(), made.config())
    assert lenient.flags([TEST[0], without(TEST[0], "T1")]) == ["", "no training unit had exactly T2"]
    assert lenient.predict([without(TEST[0], "T1")]).shape == (1, 2)
    with pytest.raises(ModelError, match="the sequences T2 in unit 'p000', a set that no training unit had"):
        made.predict([without(TEST[0], "T1")])
    other = replace(TEST[0], parts=(*TEST[0].parts, replace(TEST[0].parts[0], name="DWI")))
    with pytest.raises(ModelError, match="sequence 'DWI' in unit 'p000'"):
        made.predict([other])
    twice = replace(TEST[0], parts=(*TEST[0].parts, TEST[0].parts[0]))
    with pytest.raises(ModelError, match="two images of sequence 'T1'"):
        made.predict([twice])


def test_volumes_of_another_kind_are_refused(learnt: Any) -> None:
    x = TEST[0].parts[0].volume().x
    broken = x.copy()
    broken[0, 3, 3, 3] = np.nan
    for made, words in (
        (volume(np.concatenate([x, x])), "2 channels in image 'p-T1' of unit 'p' and 1 in "),
        (volume(x[:, 1:]), "20 x 20 x 19 voxels"),
        (volume(x, spacing=(2.0, 2.0, 3.0)), "voxels of 2 x 2 x 3 mm"),
        (volume(broken), "1 voxels that are not finite"),
    ):
        with pytest.raises(ModelError, match=words):
            learnt.predict([example("p", None, {"T1": made})])


def test_without_a_tune_split_nothing_is_fitted() -> None:
    with pytest.raises(ModelError, match="no tune unit"):
        fit(TRAIN, [])


@pytest.mark.parametrize(
    "params", [{"network": "vgg"}, {"width": 0}, {"drop_sequence": 1.0}, {"join": "early"}, {"learning_rate": 0}]
)
def test_impossible_parameters_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(PluginError, match=next(iter(params))):
        MODELS.create("cnn3d", params)


def test_computing_leaves_torch_as_it_was() -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state().clone(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    fit(TRAIN[:6], TUNE[:2]).gradients(TEST[0], 1)
    after = torch.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_describing_the_model_imports_neither_torch_nor_monai() -> None:
    code = (
        "import sys; from phenolens.core.registry import MODELS; MODELS.describe('cnn3d');"
        "sys.exit(str([m for m in ('torch', 'monai') if m in sys.modules] or '') or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_bfloat16_learns_the_same_signal_as_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []

    def halved(device: torch.device) -> Any:
        """What a GPU does, on the CPU."""
        seen.append(torch.bfloat16)
        return torch.autocast(device.type, torch.bfloat16)

    monkeypatch.setattr("phenolens.models.volume_fit.autocast", halved)
    fitted = fit(TRAIN, TUNE, epochs=16, width=8)
    assert seen
    assert accuracy(fitted, TEST) >= 0.9
    assert all(np.isfinite(w).all() and w.dtype != np.float16 for w in fitted.weights().values())
