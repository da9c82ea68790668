"""Fusion of sequences: any subset predicts, what training never had is flagged or refused, zeros are no absence."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from bagdata import bag, shifted
from safetensors.numpy import load
from tabledata import cohort, unit, without
from volumedata import CLASSES, example, rimmed, volume

from phenolens.core.errors import ModelError, PluginError
from phenolens.core.registry import MODELS
from phenolens.core.store import canonical
from phenolens.core.types import Example, Loaded
from phenolens.models.bags import Scaler
from phenolens.models.fit import run_fold
from phenolens.models.fusion_fit import _drawn, _left_out
from phenolens.models.fusion_inputs import Space, f_statistics
from phenolens.models.fusion_network import Head
from phenolens.models.record import weights_bytes
from phenolens.tasks.classification import Classification

TASK = Classification(target="subtype", classes=CLASSES)
THREE = Classification(target="subtype", classes=("A", "B", "C"))
QUICK = {"members": 5, "epochs": 40, "patience": 10}
EXAMPLES = cohort(90, classes=("A", "B", "C"), absent=0.3, signal=2.5)
TEST, TUNE, TRAIN = EXAMPLES[:24], EXAMPLES[24:39], EXAMPLES[39:]
VOLUMES = rimmed(48)
OF_VOLUMES = {"epochs": 2, "maps": 4, "width": 8}


def fit(train: list[Example], tune: list[Example], task: Any = THREE, *, seed: int = 3, **params: Any) -> Any:
    return MODELS.create("sequence_fusion", {**QUICK, **params}).fit(train, tune, task, seed=seed)


@pytest.fixture(scope="module")
def learnt() -> Any:
    return fit(TRAIN, TUNE, epochs=None, patience=None)


@pytest.fixture(scope="module")
def of_volumes() -> Any:
    gappy = [without(e, ("T1", "T2", "")[i // 2 % 3]) for i, e in enumerate(VOLUMES[24:])]
    return fit(gappy, VOLUMES[14:24], TASK, epochs=12, learning_rate=0.003, width=16, maps=8, batch=4)


def accuracy(fitted: Any, examples: list[Example], task: Any = THREE) -> float:
    return float((fitted.predict(examples).argmax(1) == [task.truth(e) for e in examples]).mean())


def test_what_no_sequence_tells_alone_is_learnt_from_units_that_lack_some(learnt: Any) -> None:
    whole = cohort(60, seed=9, classes=("A", "B", "C"), signal=2.5)
    assert accuracy(learnt, whole) > 0.75
    for gone in ("T1", "T2"):
        assert 0.45 < accuracy(learnt, [without(e, gone) for e in whole]) < accuracy(learnt, whole)


def test_any_subset_of_the_sequences_predicts(learnt: Any) -> None:
    whole = next(e for e in TEST if all(p.present for p in e.parts))
    p = learnt.predict([whole, without(whole, "T1"), without(whole, "T2")])
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-12)
    assert np.abs(p[0] - p[1]).max() > 1e-3
    assert np.abs(p[0] - p[2]).max() > 1e-3


def test_a_part_that_is_absent_and_one_that_is_not_listed_are_the_same(learnt: Any) -> None:
    absent = without(TEST[1], "T2")
    unlisted = replace(absent, parts=absent.parts[:1])
    np.testing.assert_array_equal(learnt.predict([absent]), learnt.predict([unlisted]))


def test_a_prediction_does_not_depend_on_the_others_nor_on_the_order_of_parts(learnt: Any) -> None:
    alone = [learnt.predict([replace(e, targets={}, parts=e.parts[::-1])]) for e in TEST]
    np.testing.assert_array_equal(learnt.predict(TEST), np.concatenate(alone))


def test_lesions_of_a_sequence_are_averaged() -> None:
    made = fit(TRAIN, TUNE)
    x = TEST[1].parts[0].load()
    assert x is not None
    twice = replace(x, x=np.repeat(x.x, 2, axis=0), coords=np.repeat(x.coords, 2, axis=0))
    doubled = replace(TEST[1], parts=(replace(TEST[1].parts[0], source=Loaded(bag=twice)), TEST[1].parts[1]))
    np.testing.assert_allclose(made.predict([doubled]), made.predict([TEST[1]]), atol=1e-6)


def test_what_each_sequence_adds_sums_to_the_logits_and_attention_to_one(learnt: Any) -> None:
    whole = next(e for e in TEST if all(p.present for p in e.parts))
    for held in (whole, without(whole, "T1")):
        added, p = learnt.contributions(held), learnt.predict([held])[0]
        assert sorted(added) == sorted(part.name for part in held.parts if part.present)
        logits = np.sum(list(added.values()), axis=0)
        np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(), p, atol=1e-6)
        attention = learnt.parts(held)
        assert sorted(attention) == sorted(added)
        assert sum(attention.values()) == pytest.approx(1, abs=1e-6)


def test_attention_ignores_what_is_absent_and_starts_even() -> None:
    torch.manual_seed(0)
    head = Head(2, 3, 4, 5, 2)
    h, there = torch.randn(2, 1, 3, 4), torch.tensor([True, False, True]).expand(2, 1, 3)
    attention, added = head(h, there)
    torch.testing.assert_close(attention[0, 0], torch.tensor([0.5, 0.0, 0.5]))
    torch.testing.assert_close(added[0, 0].sum(0), h[0, 0, 0] @ head.classify[0] + h[0, 0, 2] @ head.classify[0])
    torch.nn.init.normal_(head.score)
    changed = h.clone()
    changed[:, :, 1] = 100.0
    torch.testing.assert_close(head(changed, there)[1], head(h, there)[1])
    assert not torch.allclose(head(h, there)[0][0, 0], attention[0, 0])


def test_sequences_are_left_out_by_chance_but_never_all_of_a_unit() -> None:
    torch.manual_seed(0)
    there = torch.rand(4, 500, 3) < 0.6
    there[..., 0] |= ~there.any(-1)
    left = _drawn(there, 0.5)
    assert bool((left & ~there).any()) is False
    assert bool(left.any(-1).all())
    assert torch.equal(_drawn(there, 0.0), there)
    single = there.sum(-1) == 1
    assert torch.equal(left[single], there[single])
    assert 0.55 < float(left.sum() / there.sum()) < 0.85


def test_every_five_members_leave_out_each_patient_once_with_all_lesions() -> None:
    units = [unit(f"p{i // 2:02d}", "AB"[i // 2 % 2], unit_id=f"p{i // 2:02d}/{i % 2}", T1=[1, 2]) for i in range(60)]
    truth = np.array([TASK.truth(e) for e in units])
    out = _left_out(units, truth, 10, np.random.default_rng(0)).numpy()
    np.testing.assert_array_equal(out[:5].sum(0), 1)
    np.testing.assert_array_equal(out[5:].sum(0), 1)
    np.testing.assert_array_equal(out[:, ::2], out[:, 1::2])
    assert all(truth[row].mean() == 0.5 for row in out)
    assert not np.array_equal(out[:5], out[5:])
    assert not _left_out(units[:2], truth[:2], 5, np.random.default_rng(0)).any()


def test_the_f_statistic_is_that_of_the_analysis_of_variance() -> None:
    from scipy.stats import f_oneway

    draw = np.random.default_rng(0)
    z, truth = draw.normal(size=(40, 3)), np.arange(40) % 3
    z[:, 1] += truth
    expected = f_oneway(*(z[truth == c] for c in range(3))).statistic
    np.testing.assert_allclose(f_statistics(z, truth), expected, rtol=1e-10)
    np.testing.assert_array_equal(f_statistics(z[:3], truth[:3]), 1)


def test_directions_weigh_features_by_what_they_tell_and_have_unit_mean_square_each() -> None:
    draw = np.random.default_rng(0)
    truth = np.arange(60) % 2
    x = draw.normal(size=(60, 6)).astype(np.float32) * 100 + 7
    x[:, 2] += 200 * truth
    bags = [row[None] for row in x]
    plain, screened = (Space.fit(bags, truth, screen=s, components=4) for s in (0.0, 1.0))
    for space in (plain, screened):
        points = np.stack([space.apply(b) for b in bags])
        np.testing.assert_allclose(points.mean(0), 0, atol=1e-9)
        assert (points**2).sum(1).mean() == pytest.approx(4)
    share = [np.abs(s.basis[2]).sum() / np.abs(s.basis).sum() for s in (plain, screened)]
    assert share[1] > 2 * share[0]


def test_directions_of_constant_features_and_of_one_unit_are_finite() -> None:
    for bags in ([np.ones((1, 3), np.float32)] * 5, [np.arange(3, dtype=np.float32)[None]]):
        space = Space.fit(bags, np.arange(len(bags)) % 2, screen=1.0, components=2)
        np.testing.assert_array_equal(space.apply(bags[0]), 0)


def test_standardisation_is_learnt_from_training_units_alone() -> None:
    far = [replace(e, parts=tuple(_moved(p, 50) for p in e.parts)) for e in TUNE]
    a, b = (fit(TRAIN, tune, epochs=1).weights() for tune in (TUNE, far))
    names = [n for n in a if n.startswith("space.")]
    assert len(names) == 8
    for name in names:
        np.testing.assert_array_equal(a[name], b[name])
    rows = [e.parts[0].load().x for e in TRAIN if e.parts[0].present]
    np.testing.assert_allclose(a["space.0.mean"], Scaler.fit(rows).mean)


def _moved(part: Any, by: float) -> Any:
    held = part.load()
    return part if held is None else replace(part, source=Loaded(bag=replace(held, x=held.x + by)))


def test_a_set_of_sequences_that_training_never_had_is_flagged_or_refused_as_declared() -> None:
    train = [e for e in cohort(40) if all(p.present for p in e.parts)]
    alone = without(TEST[1], "T2")
    made = fit(train[:30], train[30:], TASK)
    assert made.config()["sets"] == {"T1+T2": 30}
    assert made.flags([train[0], alone]) == ["", "the sequences T1, a set that no training unit had"]
    assert made.predict([alone]).shape == (1, 2)
    strict = fit(train[:30], train[30:], TASK, new_subset="refuse")
    with pytest.raises(ModelError, match=r"the sequences T1 in unit 'p001', a set .* expected one of T1\+T2"):
        strict.predict([alone])


def test_sequences_dropped_in_training_do_not_count_as_seen() -> None:
    made = fit(cohort(30), cohort(8, seed=1), TASK, drop_sequence=0.8)
    assert made.config()["sets"] == {"T1+T2": 30}


def test_a_sequence_that_training_never_had_is_always_refused() -> None:
    train = [without(e, "T2") for e in cohort(30)]
    made = fit(train[:20], train[20:], TASK)
    assert made.config()["sequences"] == ["T1"]
    with pytest.raises(ModelError, match="sequence 'T2' in unit 'p000', .* expected some of T1"):
        made.predict(cohort(1))


def test_absence_filled_with_zeros_is_refused_in_training_and_in_prediction(learnt: Any) -> None:
    filled = unit("z", "A", T1=[1, 2, 3, 4, 5], T2=[0, 0, 0, 0, 0])
    with pytest.raises(ModelError, match="5 zeros for sequence 'T2' of unit 'z': every feature is exactly 0"):
        learnt.predict([filled])
    with pytest.raises(ModelError, match="every feature is exactly 0"):
        fit([*TRAIN, filled], TUNE)
    assert learnt.predict([unit("z", "A", T1=[0, 0, 0, 0, 1e-6], T2=None)]).shape == (1, 3)


def test_what_cannot_be_read_is_refused_by_name(learnt: Any) -> None:
    with pytest.raises(ModelError, match="no image of unit 'p'"):
        learnt.predict([unit("p", "A", T1=None, T2=None)])
    with pytest.raises(ModelError, match="2 features in image 'p-T1' of unit 'p'"):
        learnt.predict([unit("p", "A", T1=[1, 2])])
    with pytest.raises(ModelError, match="nan in feature 'shape'"):
        learnt.predict([unit("p", "A", T1=[1, np.nan, 1, 1, 1])])
    with pytest.raises(ModelError, match="two images of sequence 'T1'"):
        learnt.predict([replace(TEST[1], parts=(TEST[1].parts[0], TEST[1].parts[0]))])
    with pytest.raises(ModelError, match="no instance in image 'p-T1'"):
        learnt.predict([unit("p", "A", T1=np.zeros((0, 5)))])
    with pytest.raises(ModelError, match="no tune unit"):
        fit(TRAIN, [])


def test_parts_that_are_not_sequences_are_refused() -> None:
    slides = [unit(f"p{i}", "AB"[i % 2], **{f"slide{i}": [1.0 * i, 2.0]}) for i in range(8)]
    with pytest.raises(ModelError, match="6 parts whose names no two training patients share"):
        fit(slides[:6], slides[6:], TASK)


def test_the_same_seed_gives_the_same_bytes_in_whatever_order_examples_come() -> None:
    a, b, other = fit(TRAIN, TUNE), fit(TRAIN[::-1], TUNE[::-1]), fit(TRAIN, TUNE, seed=4)
    assert weights_bytes(a, "") == weights_bytes(b, "")
    assert a.config() == b.config()
    assert weights_bytes(a, "") != weights_bytes(other, "")


def test_training_stops_and_keeps_its_best_epoch() -> None:
    draw = np.random.default_rng(1)
    noise = [unit(f"p{i:02d}", "AB"[i % 2], T1=draw.normal(size=5), T2=draw.normal(size=5)) for i in range(40)]
    config = fit(noise[:30], noise[30:], TASK, epochs=200, patience=5).config()
    assert config["epochs"] == config["kept_epoch"] + 5
    assert config["epochs"] < 200


def test_classes_weigh_the_same_however_rare_one_is() -> None:
    draw = np.random.default_rng(0)
    rare = [unit(f"r{i}", "B", T1=draw.normal(size=4), T2=draw.normal(size=4)) for i in range(9)]
    many = [unit(f"m{i}", "A", T1=draw.normal(size=4), T2=draw.normal(size=4)) for i in range(60)]
    made = fit(rare[:6] + many[:40], rare[6:] + many[40:], TASK)
    assert abs(made.predict(rare + many)[:, 1].mean() - 0.5) < 0.2


def test_a_fold_writes_the_flag_beside_each_prediction() -> None:
    from bagdata import split_of

    held = [without(e, "T1") if i == 0 else e for i, e in enumerate(cohort(50))]
    model = MODELS.create("sequence_fusion", QUICK)
    table = run_fold(model, TASK, split_of(held), held, seed=0, name="sequence_fusion").table
    flags = table.set_index("patient")["flag"]
    assert flags["p000"] == "the sequences T2, a set that no training unit had"
    assert (flags.drop("p000") == "").all()


def test_volumes_are_fused_by_one_network(of_volumes: Any) -> None:
    test = VOLUMES[:14]
    assert of_volumes.config()["reads"] == "volume"
    assert accuracy(of_volumes, test, TASK) >= 0.85
    assert accuracy(of_volumes, [without(e, "T2") for e in test], TASK) >= 0.85
    assert accuracy(of_volumes, [without(e, "T1") for e in test], TASK) <= 0.75
    assert of_volumes.flags([test[0]]) == [""]


def test_what_each_volume_adds_sums_to_the_logits(of_volumes: Any) -> None:
    added, p = of_volumes.contributions(VOLUMES[1]), of_volumes.predict([VOLUMES[1]])[0]
    logits = added["T1"] + added["T2"]
    assert logits[1] - logits[0] == pytest.approx(np.log(p[1]) - np.log(p[0]), abs=1e-5)


def test_volumes_repeat_and_restore_and_refuse_zeros() -> None:
    train, tune = VOLUMES[24:34], VOLUMES[14:18]
    a, b = fit(train, tune, TASK, **OF_VOLUMES), fit(train[::-1], tune[::-1], TASK, **OF_VOLUMES)
    assert weights_bytes(a, "") == weights_bytes(b, "")
    model = MODELS.create("sequence_fusion", {**QUICK, **OF_VOLUMES})
    restored = model.restore(load(weights_bytes(a, "")), json.loads(canonical(a.config())))
    np.testing.assert_array_equal(restored.predict(VOLUMES[:4]), a.predict(VOLUMES[:4]))
    filled = example("z", "A", {"T1": volume(np.zeros((20, 20, 20)))})
    with pytest.raises(ModelError, match="8000 zeros for sequence 'T1' of unit 'z': every voxel is exactly 0"):
        a.predict([filled])
    with pytest.raises(ModelError, match="every voxel is exactly 0"):
        fit([*train, filled], tune, TASK, **OF_VOLUMES)
    with pytest.raises(ModelError, match="a bag of features in part"):
        a.predict([replace(VOLUMES[0], parts=(replace(VOLUMES[0].parts[0], source=Loaded(bag=bag([[1.0]]))),))])


def test_a_restored_model_gives_exactly_the_same_predictions_and_attention(learnt: Any) -> None:
    restored = MODELS.create("sequence_fusion", QUICK).restore(
        load(weights_bytes(learnt, "")), json.loads(canonical(learnt.config()))
    )
    np.testing.assert_array_equal(restored.predict(TEST), learnt.predict(TEST))
    assert restored.parts(TEST[1]) == learnt.parts(TEST[1])
    assert restored.flags(TEST) == learnt.flags(TEST)
    assert weights_bytes(restored, "") == weights_bytes(learnt, "")


def test_bags_of_many_instances_are_read_too() -> None:
    examples = shifted(30)
    made = fit(examples[:20], examples[20:], TASK)
    assert accuracy(made, examples[20:], TASK) >= 0.9


@pytest.mark.parametrize(
    "params",
    [
        {"width": 0},
        {"dropout": 1.0},
        {"drop_sequence": -0.1},
        {"new_subset": "maybe"},
        {"screen": 9.0},
        {"patience": 0},
        {"learning_rate": 0.0},
        {"weight_decay": -1.0},
        {"network": "vgg"},
    ],
)
def test_impossible_parameters_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(PluginError, match=next(iter(params))):
        MODELS.create("sequence_fusion", params)


def test_bags_need_no_library_of_volumes_and_describing_needs_no_torch() -> None:
    code = (
        "import sys; from phenolens.core.registry import MODELS; MODELS.describe('sequence_fusion');"
        "assert 'torch' not in sys.modules; import phenolens.models.fusion_fit;"
        "sys.exit(str([m for m in ('monai',) if m in sys.modules] or '') or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
