"""What defines each network on bags, and that each finds what no mean of a bag shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from bagdata import CLASSES, NETWORKS, few_witnesses
from mildata import bags, built, drawn, read
from sklearn.metrics import roc_auc_score

from phenolens.core.errors import PluginError
from phenolens.core.registry import MODELS
from phenolens.explain.heatmaps import heatmaps
from phenolens.models.clam_network import Clam, smooth_svm
from phenolens.models.dsmil_network import Dsmil
from phenolens.tasks.classification import Classification

TASK = Classification(target="subtype", classes=CLASSES)
WITNESSES = few_witnesses(120, d=20)
TEST, TUNE, TRAIN = WITNESSES[:40], WITNESSES[40:60], WITNESSES[60:]
QUICK = {"clam": {"epochs": 40}, "transmil": {"epochs": 12, "learning_rate": 0.001}}


def auc(fitted: Any) -> float:
    return float(roc_auc_score([TASK.truth(e) for e in TEST], fitted.predict(TEST)[:, 1]))


def weights(network: torch.nn.Module, layer: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    held = network.get_submodule(layer)
    return held.weight.detach().double().numpy(), held.bias.detach().double().numpy()


def test_a_mean_does_not_show_the_witnesses() -> None:
    assert auc(MODELS.create("mean_pool").fit(TRAIN, TUNE, TASK, seed=0)) < 0.7


@pytest.mark.parametrize("name", NETWORKS[1:])  # abmil: in test_zoo
def test_every_network_finds_the_witnesses_that_no_mean_shows(name: str) -> None:
    fitted = MODELS.create(name, QUICK.get(name)).fit(TRAIN, TUNE, TASK, seed=1)
    assert auc(fitted) > 0.9
    positive = TEST[1]
    witnesses = positive.instances()[:, :3].sum(1) > 4
    attention = fitted.attention(positive)
    assert attention[witnesses].mean() > 1.5 * attention[~witnesses].mean()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_bag_gives_the_same_alone_and_beside_a_longer_one(name: str) -> None:
    network, one, two = built(name), drawn(7), drawn(30, seed=1)
    alone, attention = read(network, bags(one, places=[list(range(7))]))
    beside, padded = read(network, bags(two, one, places=[list(range(30)), list(range(7))]))
    np.testing.assert_allclose(beside[1], alone[0], atol=1e-5)
    np.testing.assert_allclose(padded[1, :7], attention[0], atol=1e-6)
    assert (padded[1, 7:] == 0).all()


@pytest.mark.parametrize("name", ["abmil", "clam", "dsmil", "hierarchy"])
def test_the_order_of_instances_changes_nothing_and_their_attention_moves_with_them(name: str) -> None:
    network, x, order = built(name), drawn(12), np.random.default_rng(2).permutation(12)
    places = np.arange(12) // 4
    logits, attention = read(network, bags(x, places=[places.tolist()]))
    again, moved = read(network, bags(x[order], places=[places[order].tolist()]))
    np.testing.assert_allclose(again, logits, atol=1e-6)
    np.testing.assert_allclose(moved[0], attention[0, order], atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_heatmaps_show_the_attention_of_every_network(name: str) -> None:
    fitted = MODELS.create(name, {"epochs": 1}).fit(TRAIN[:8], TUNE[:4], TASK, seed=0)
    (made,) = heatmaps(fitted, TEST[1], "attention", 1, "B")
    np.testing.assert_allclose(made.scores, fitted.attention(TEST[1]), atol=1e-7)
    assert {"deletion", "insertion"} <= set(made.fidelity)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("clam", {"bag_weight": 0.0}),
        ("clam", {"inst_loss": "hinge"}),
        ("clam", {"k_sample": 0}),
        ("dsmil", {"query_width": 0}),
        ("hierarchy", {"region_um": 0.0}),
        ("transmil", {"heads": 3}),
        ("transmil", {"landmarks": 0}),
    ],
)
def test_impossible_parameters_are_refused(name: str, params: dict[str, Any]) -> None:
    with pytest.raises(PluginError, match=next(iter(params))):
        MODELS.create(name, params)


# clam


def test_the_smooth_svm_is_its_formula_and_the_hinge_loss_in_the_limit() -> None:
    s, y = torch.tensor([[2.0, 0.5], [-1.0, 3.0], [0.2, 0.1]]), torch.tensor([0, 0, 1])
    by_hand = [np.log(1 + np.exp(1 + b - a)) for a, b in ((2.0, 0.5), (-1.0, 3.0), (0.1, 0.2))]
    np.testing.assert_allclose(smooth_svm(s, y).numpy(), by_hand, rtol=1e-6)
    hinge = [max(0, 1 + b - a) for a, b in ((2.0, 0.5), (-1.0, 3.0), (0.1, 0.2))]
    np.testing.assert_allclose(smooth_svm(s, y, tau=0.001).numpy(), hinge, atol=1e-3)


@pytest.mark.parametrize("inst_loss", ["svm", "ce"])
@pytest.mark.parametrize("subtyping", [True, False])
def test_the_most_attended_speak_for_the_own_class_and_the_least_attended_against(
    inst_loss: str, subtyping: bool
) -> None:
    network: Clam = built("clam", inst_loss=inst_loss, subtyping=subtyping, k_sample=2, width=4)
    torch.nn.init.zeros_(network.instance.weight)
    h = torch.ones(7, 4, requires_grad=True)
    scores = torch.tensor([0.1, 3.0, -2.0, 0.0, 2.0, -1.0, 0.2])
    seen: list[torch.Tensor] = []
    hook = network.instance.register_forward_hook(lambda _, __, out: (out.retain_grad(), seen.append(out))[0])
    network.instance_loss(h, scores, torch.tensor(1)).backward()
    hook.remove()
    push = -seen[0].grad.reshape(4, 3, 2)  # rows: instances 1, 4 (most attended), 5, 2 (least); classes; against, for
    toward = (push[..., 1] - push[..., 0]).sign()
    others = -1 if subtyping else 0
    np.testing.assert_array_equal(toward[:2], [[others, 1, others]] * 2)
    np.testing.assert_array_equal(toward[2:], [[0, -1, 0]] * 2)


def test_the_loss_of_clam_is_the_weighted_sum_and_a_single_instance_has_the_loss_of_the_bag_alone() -> None:
    x, label = drawn(9), torch.tensor([2])
    part = {w: built("clam", bag_weight=w).losses(bags(x), label).item() for w in (1.0, 0.7, 0.4)}
    assert part[0.7] == pytest.approx((part[1.0] + part[0.4]) / 2, rel=1e-5)
    assert part[0.7] != pytest.approx(part[1.0], rel=1e-3)
    one = [built("clam", bag_weight=w).losses(bags(x[:1]), label).item() for w in (1.0, 0.7)]
    assert one[1] == pytest.approx(0.7 * one[0], rel=1e-5)


def test_instances_in_the_middle_of_the_attention_are_left_alone() -> None:
    network: Clam = built("clam", k_sample=2)
    h = torch.from_numpy(drawn(9, 64)).requires_grad_()
    network.instance_loss(h, torch.arange(9.0), torch.tensor(0)).backward()
    assert h.grad is not None
    np.testing.assert_array_equal(h.grad.abs().sum(1) > 0, [True] * 2 + [False] * 5 + [True] * 2)


# dsmil


def test_dsmil_is_the_mean_of_the_critical_instance_and_the_bag_seen_from_it() -> None:
    network: Dsmil = built("dsmil", width=5, query_width=4)
    x = drawn(8).astype(np.float64)
    w, b = weights(network, "project")
    h = np.maximum(x @ w.T + b, 0)
    w, b = weights(network, "classify")
    instance = h @ w.T + b
    w, b = weights(network, "query.0")
    q = np.maximum(h @ w.T + b, 0)
    w, b = weights(network, "query.2")
    q = np.tanh(q @ w.T + b)
    each, likeness = [], []
    for c in range(3):
        alike = q @ q[instance[:, c].argmax()] / 2
        likeness.append(np.exp(alike) / np.exp(alike).sum())
        each.append(likeness[-1] @ h)
    w, b = weights(network, "bag")
    expected = (instance.max(0) + w @ np.concatenate(each) + b) / 2
    logits, attention = read(network, bags(x.astype(np.float32)))
    np.testing.assert_allclose(logits[0], expected, atol=1e-5)
    np.testing.assert_allclose(attention[0], likeness[int(expected.argmax())], atol=1e-5)


def test_dsmil_trains_both_streams_alike() -> None:
    network: Dsmil = built("dsmil")
    given, label = bags(drawn(8)), torch.tensor([1])
    highest, of_bag, _ = network.streams(given)
    each = [-torch.log_softmax(s, 1)[0, 1].item() for s in (highest, of_bag)]
    assert network.losses(given, label).item() == pytest.approx(sum(each) / 2, rel=1e-5)
