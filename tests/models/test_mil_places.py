"""The networks on bags that read where tiles lie: `hierarchy` by regions, `transmil` by their order along rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from bagdata import CLASSES, example, few_witnesses
from mildata import bags, built, drawn, read

from phenolens.core.registry import MODELS
from phenolens.core.types import Example, Frame, Loaded
from phenolens.models.determinism import fixed_torch
from phenolens.models.hierarchy_network import Hierarchy
from phenolens.models.linear import softmax
from phenolens.models.nystrom import NystromAttention, pseudoinverse, segment_means
from phenolens.models.transmil_network import Ppeg
from phenolens.tasks.classification import Classification

TASK = Classification(target="subtype", classes=CLASSES)


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
    given = few_witnesses(12, d=20)
    fitted = MODELS.create("transmil", {"epochs": 1}).fit(given[:8], given[8:], TASK, seed=0)
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
    np.testing.assert_allclose(fitted.attention(stored_otherwise), fitted.attention(as_it_is)[order], rtol=1e-12)
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
