"""What defines each network on bags, and that each finds what no mean of a bag shows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from bagdata import CLASSES, NETWORKS, example, few_witnesses
from sklearn.metrics import roc_auc_score

from phenolens.core.errors import PluginError
from phenolens.core.registry import MODELS
from phenolens.core.types import Example, Frame, Loaded
from phenolens.explain.heatmaps import heatmaps
from phenolens.models.bag_network import BagNetwork, Bags
from phenolens.models.clam_network import Clam, smooth_svm
from phenolens.models.determinism import fixed_torch
from phenolens.models.dsmil_network import Dsmil
from phenolens.models.hierarchy_network import Hierarchy
from phenolens.models.linear import softmax
from phenolens.models.nystrom import NystromAttention, pseudoinverse, segment_means
from phenolens.models.transmil_network import Ppeg
from phenolens.tasks.classification import Classification

TASK = Classification(target="subtype", classes=CLASSES)
WITNESSES = few_witnesses(120, d=20)
TEST, TUNE, TRAIN = WITNESSES[:40], WITNESSES[40:60], WITNESSES[60:]
QUICK = {"clam": {"epochs": 40}, "transmil": {"epochs": 20, "learning_rate": 0.001}}


def auc(fitted: Any) -> float:
    return float(roc_auc_score([TASK.truth(e) for e in TEST], fitted.predict(TEST)[:, 1]))


def built(name: str, dimension: int = 6, classes: int = 3, **params: Any) -> Any:
    """The untrained network of a model with weights of a fixed seed, without dropout."""
    with fixed_torch(5):
        return MODELS.create(name, params).build(dimension, classes).eval()


def bags(*each: npt.NDArray[Any], places: list[list[int]] | None = None) -> Bags:
    """Padded bags of the given instances, all at place 0 unless said."""
    longest = max(len(x) for x in each)
    z, mask = np.zeros((len(each), longest, each[0].shape[1]), np.float32), np.zeros((len(each), longest), bool)
    where = np.zeros(mask.shape, np.int64)
    for j, x in enumerate(each):
        z[j, : len(x)], mask[j, : len(x)] = x, True
        where[j, : len(x)] = 0 if places is None else places[j]
    return Bags(z=torch.from_numpy(z), places=torch.from_numpy(where), mask=torch.from_numpy(mask))


def drawn(n: int, d: int = 6, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def read(network: BagNetwork, given: Bags) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    with fixed_torch(0), torch.inference_mode():
        logits, scores = network(given)
    return logits.numpy(), softmax(scores.double().numpy())


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


# hierarchy


def placed(coords: list[list[float]], *, extent: float = 100.0, unit: Any = "um", image: str = "a") -> Example:
    made = example("p", "A", drawn(len(coords), 4))
    frame = Frame(
        shape=(9000,) * len(coords[0]), spacing=(0.5,) * len(coords[0]), origin=(0,) * len(coords[0]), unit=unit
    )
    bag = replace(made.bags()[0], coords=np.array(coords, float), extent=extent, frame=frame)
    return replace(made, parts=(replace(made.parts[0], name=image, image=image, source=Loaded(bag=bag)),))


def test_a_tile_belongs_to_the_region_its_centre_lies_in_and_images_share_none() -> None:
    network: Hierarchy = built("hierarchy", region_um=1000.0)
    one = placed([[0, 0], [940, 0], [960, 0], [0, 960], [700, 900]])
    found = network.place(one)
    assert found[0] == found[1] == found[4]
    assert len({found[0], found[2], found[3]}) == 3
    both = replace(one, parts=(*one.parts, placed([[0, 0]], image="b").parts[0]))
    assert network.place(both)[5] not in network.place(both)[:5]
    in_mm = placed([[0, 0, 0], [0.2, 0, 0], [0, 0, 1.4]], extent=0.1, unit="mm")
    assert len(set(network.place(in_mm))) == 2


def test_the_region_is_4096_px_of_a_slide_at_20x() -> None:
    network: Hierarchy = built("hierarchy")
    side = 4096 * 0.5
    found = network.place(placed([[0, 0], [side - 51, 0], [side - 49, 0]]))
    assert found[0] == found[1] != found[2]


def test_changing_a_tile_changes_its_own_region_alone() -> None:
    network: Hierarchy = built("hierarchy")
    x, places = drawn(10), [0, 1, 2, 0, 1, 2, 0, 1, 2, 2]
    changed = x.copy()
    changed[4] += 3
    a, b = (network.regions(bags(v, drawn(3, seed=4), places=[places, [0, 0, 1]]))[0] for v in (x, changed))
    moved = (a - b).abs().sum(1) > 1e-6
    np.testing.assert_array_equal(moved, [False, True, False, False, False])


def test_attention_within_each_region_and_between_them_sums_to_one() -> None:
    network: Hierarchy = built("hierarchy")
    x, places = drawn(9), [3, 3, 0, 0, 0, 7, 7, 7, 7]
    given = bags(x, places=[places])
    regions, log_within, of, _ = network.regions(given)
    within = log_within.exp().detach().double().numpy()
    np.testing.assert_allclose(np.bincount(of, within), 1, atol=1e-6)
    attention = read(network, given)[1][0]
    between = softmax(network.attend_regions(regions).detach().double().numpy())
    np.testing.assert_allclose(attention, within * between[of], atol=1e-6)


# transmil


def test_places_matter_to_transmil_and_the_order_on_disk_does_not() -> None:
    fitted = MODELS.create("transmil", {"epochs": 1}).fit(TRAIN[:8], TUNE[:4], TASK, seed=0)
    grid = [[100.0 * (i % 4), 100.0 * (i // 4)] for i in range(12)]
    one = placed(grid)
    x = drawn(12, 20)
    held = replace(one.bags()[0], x=x)
    order = np.random.default_rng(3).permutation(12)

    def asked(rows: npt.NDArray[Any], where: npt.NDArray[Any]) -> Example:
        bag = replace(held, x=x[rows], coords=held.coords[where])
        return replace(one, parts=(replace(one.parts[0], source=Loaded(bag=bag)),))

    as_it_is, stored_otherwise, moved = (
        asked(np.arange(12), np.arange(12)),
        asked(order, order),
        asked(order, np.arange(12)),
    )
    np.testing.assert_array_equal(fitted.predict([stored_otherwise]), fitted.predict([as_it_is]))
    np.testing.assert_array_equal(fitted.attention(stored_otherwise), fitted.attention(as_it_is)[order])
    assert not np.allclose(fitted.predict([moved]), fitted.predict([as_it_is]), atol=1e-7)


def test_raster_order_goes_along_rows_and_image_by_image() -> None:
    network = built("transmil")
    two = [placed([[100, 0], [0, 0], [0, 100]], image="b"), placed([[5, 5], [0, 5]], image="a")]
    both = replace(two[0], parts=(two[0].parts[0], two[1].parts[0]))
    assert network.place(both).tolist() == [3, 2, 4, 1, 0]


def test_the_position_encoding_reaches_three_cells() -> None:
    with fixed_torch(0):
        ppeg = Ppeg(2)
    x = torch.zeros(81, 2)
    changed = x.clone()
    changed[4 * 9 + 4] = 1
    with torch.inference_mode():
        moved = ((ppeg(changed) - ppeg(x)).abs().sum(1) > 0).reshape(9, 9)
    expected = np.zeros((9, 9), bool)
    expected[1:8, 1:8] = True
    np.testing.assert_array_equal(moved, expected)


def test_nystrom_attention_is_its_equation_and_exact_with_few_tokens() -> None:
    draw = np.random.default_rng(1)
    q, k, v = (draw.normal(size=(2, 37, 4)) for _ in range(3))
    layer = NystromAttention(8, heads=2, landmarks=10, dropout=0.0)
    q_few, k_few = (np.stack([t[:, np.arange(37) * 10 // 37 == i].mean(1) for i in range(10)], 1) for t in (q, k))
    near, middle, far = (softmax(a @ b.transpose(0, 2, 1)) for a, b in ((q, k_few), (q_few, k_few), (q_few, k)))
    np.testing.assert_allclose(segment_means(torch.from_numpy(q), 10), q_few, atol=1e-12)
    iterated = pseudoinverse(torch.from_numpy(middle), steps=30).numpy()
    np.testing.assert_allclose(iterated, np.linalg.pinv(middle), rtol=1e-6, atol=1e-6)
    given = [torch.from_numpy(t) for t in (q, k, v)]
    six = pseudoinverse(torch.from_numpy(middle)).numpy()
    np.testing.assert_allclose(layer.attended(*given), near @ six @ far @ v, atol=1e-10)
    layer.landmarks = 37
    np.testing.assert_allclose(layer.attended(*given), softmax(q @ k.transpose(0, 2, 1)) @ v, atol=1e-12)


def test_the_class_token_is_read_as_by_exact_attention_of_all_tokens() -> None:
    with fixed_torch(0):
        layer = NystromAttention(8, heads=2, landmarks=100, dropout=0.0).eval()
        tokens = torch.randn(50, 8)
    with torch.inference_mode():
        out, attention = layer.first(tokens)
        np.testing.assert_allclose(out[0], layer(tokens)[0], atol=1e-6)
    assert attention.sum().item() == pytest.approx(1, abs=1e-6)
