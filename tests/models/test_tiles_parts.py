"""The parts of `tile_cnn`: drawing, decoding ahead, chance changes, losses, rates, votes and soft targets."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from tiledata import example, tileset
from torch.nn import functional

from phenolens.core.errors import ModelError
from phenolens.core.registry import TASKS
from phenolens.models.tiles_augment import Augmentation, Change, as_pixels, changed, stained, turned, zoomed
from phenolens.models.tiles_feed import WINDOW, Sampler, ahead, shelves
from phenolens.models.tiles_loss import loss_of
from phenolens.models.tiles_soft import soft_targets
from phenolens.models.tiles_training import evenly, rate_at
from phenolens.models.tiles_votes import fit_vote, majority, weighed

TASK = TASKS.create("classification", {"target": "subtype", "classes": ("A", "B")})


def plain(n: int, value: int = 0) -> np.ndarray:
    return np.full((n, 8, 8, 3), value, np.uint8)


def sampler(**more: object) -> Sampler:
    """Class A: one patient with 2 slides (3 and 9 tiles) and one with 1 tile; class B: one patient with 100 tiles."""
    units = [
        example("a1", "A", tileset(plain(3)), tileset(plain(9))),
        example("a2", "A", tileset(plain(1))),
        example("b1", "B", tileset(plain(100))),
    ]
    told = {"classes": 2, "seed": 1, "augmentation": Augmentation(geometry=False), **more}
    return Sampler(shelves=shelves(units, TASK), **told)  # type: ignore[arg-type]


def test_classes_patients_and_tiles_are_drawn_alike_often_at_each_level() -> None:
    made = sampler()
    drawn = Counter(made.draw(1, i)[:2] for i in range(6000))
    by = Counter()
    for (shelf, _), n in drawn.items():
        by[made.shelves[shelf].patient] += n
    assert by["b1"] / 6000 == pytest.approx(0.5, abs=0.02)
    assert by["a1"] / 6000 == pytest.approx(0.25, abs=0.02)
    assert by["a2"] / 6000 == pytest.approx(0.25, abs=0.02)
    of_a1 = np.array([drawn[0, row] for row in range(3)] + [drawn[1, row] for row in range(9)])
    assert of_a1.sum() == by["a1"]
    assert of_a1.min() > 0.7 * by["a1"] / 12


@pytest.mark.parametrize(("power", "share"), [(0.5, 12**0.5 / (12**0.5 + 1)), (1.0, 12 / 13)])
def test_patients_of_many_tiles_can_be_drawn_more_often(power: float, share: float) -> None:
    made = sampler(size_power=power)
    drawn = Counter(made.shelves[made.draw(1, i)[0]].patient for i in range(6000))
    assert drawn["b1"] / 6000 == pytest.approx(0.5, abs=0.02)
    assert drawn["a1"] / 6000 == pytest.approx(share / 2, abs=0.02)


def test_a_draw_depends_on_seed_epoch_and_place_alone() -> None:
    change = Augmentation(stain=0.2, shift=0.02)
    one, other = sampler(augmentation=change), sampler(augmentation=change)
    assert [one.draw(2, i) for i in (5, 3, 4)] == [other.draw(2, i) for i in (5, 3, 4)]
    assert one.draw(2, 5) != one.draw(3, 5)
    assert one.draw(2, 5) != sampler(augmentation=change, seed=2).draw(2, 5)


def test_tiles_are_made_ahead_in_order_and_never_more_than_the_window() -> None:
    made, lock = [0, 0], threading.Lock()

    def make(i: int) -> int:
        with lock:
            made[0] += 1
            made[1] = max(made[1], made[0] - taken[0])
        return i

    taken, seen = [0], []
    for i in ahead(range(40), make, 2):
        time.sleep(0.001)
        taken[0] += 1
        seen.append(i)
    assert seen == list(range(40))
    assert 2 <= made[1] <= 2 * WINDOW + 1


def test_a_reader_that_stops_leaves_no_thread_and_a_fault_reaches_it() -> None:
    before = threading.active_count()

    def broken(i: int) -> int:
        if i == 3:
            raise ModelError("a fault", expected="none", todo="nothing")
        return i

    with pytest.raises(ModelError, match="a fault"):
        list(ahead(range(10), broken, 2))
    stopped: Iterator[int] = ahead(range(1000), lambda i: i, 2)
    assert next(stopped) == 0
    stopped.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_turns_and_flips_move_pixels_and_change_none() -> None:
    tile = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    found = {turned(tile, Change(turns=t, flip=f)).tobytes() for t in range(4) for f in (False, True)}
    assert len(found) == 8
    assert all(sorted(f) == sorted(tile.tobytes()) for f in found)
    np.testing.assert_array_equal(turned(tile, Change()), tile)


def test_a_zoom_keeps_the_part_it_names() -> None:
    x = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    half = zoomed(x, [Change(side=0.5, at=(-1.0, 0.0))])
    assert float(half.max()) == pytest.approx(0.5, abs=0.02)
    assert float(half.min()) == pytest.approx(0, abs=0.02)
    assert float(zoomed(x, [Change(side=0.5, at=(1.0, 0.0))]).min()) == pytest.approx(0.5, abs=0.02)
    assert zoomed(x, [Change()]) is x


def test_a_mask_moves_with_its_tile_and_stays_a_mask() -> None:
    y, x = np.mgrid[:64, :64]
    ramp = np.repeat(((x + 2 * y) * 255 / 189).astype(np.uint8)[..., None], 3, 2)
    mask = ramp[..., 0] > 90
    for seed in range(12):
        change = Change.drawn(np.random.default_rng(seed), Augmentation(zoom=0.5))
        pixels = changed(as_pixels(turned(ramp, change)[None], torch.device("cpu")), [change])
        truth = torch.from_numpy(turned(mask, change).astype(np.float32))[None, None]
        moved = zoomed(truth, [change], "nearest")
        assert set(moved.unique().tolist()) <= {0.0, 1.0}
        assert ((pixels[:, :1] > 90 / 255) != (moved > 0.5)).float().mean() < 0.03
        assert (turned(mask, change) != mask).any() or (change.turns, change.flip) == (0, False)


def test_stains_change_by_their_factor_and_stay_without_one() -> None:
    rng = np.random.default_rng(0)
    x = as_pixels(rng.integers(30, 250, (2, 4, 4, 3)).astype(np.uint8), torch.device("cpu"))
    np.testing.assert_allclose(stained(x, np.ones((2, 3)), np.zeros((2, 3))), x, atol=1e-4)
    paler = stained(x, np.full((2, 3), 0.5), np.zeros((2, 3)))
    np.testing.assert_allclose(torch.log((paler * 255 + 1) / 256), torch.log((x * 255 + 1) / 256) / 2, atol=1e-4)
    assert changed(x, [Change(), Change()]) is x
    how = Augmentation(geometry=False, stain=0.2, shift=0.02)
    drawn = [Change.drawn(np.random.default_rng(i), how) for i in range(200)]
    factors, shifts = np.array([c.factor for c in drawn]), np.array([c.shift for c in drawn])
    assert 0.8 <= factors.min() < 0.82
    assert 1.18 < factors.max() <= 1.2
    assert np.abs(shifts).max() <= 0.02
    assert {(c.turns, c.flip, c.side) for c in drawn} == {(0, False, 1.0)}


def test_rates_rise_over_the_warm_up_and_fall_to_nothing() -> None:
    found = [rate_at(i, 100, 0.1) for i in range(100)]
    assert found[:11] == pytest.approx([(i + 1) / 11 for i in range(10)] + [1.0])
    assert all(a > b for a, b in pairwise(found[10:]))
    assert found[55] == pytest.approx(0.5)
    assert found[-1] < 0.001


def test_without_a_share_or_a_teacher_the_loss_is_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, label = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])
    hard = functional.cross_entropy(logits, label)
    soft = torch.softmax(torch.randn(5, 3), 1)
    nowhere = torch.full((5, 3), float("nan"))
    for given, share in ((None, 0.7), (soft, 0.0), (nowhere, 0.7)):
        assert loss_of(logits, label, given, share=share, temperature=2).item() == pytest.approx(hard.item())


def test_a_student_equal_to_its_teacher_loses_nothing_and_is_pulled_towards_it_else() -> None:
    torch.manual_seed(0)
    logits, label = torch.randn(6, 3), torch.zeros(6, dtype=torch.long)
    same = loss_of(logits, label, torch.softmax(logits, 1), share=1, temperature=3)
    assert same.item() == pytest.approx(0, abs=1e-6)
    leaf = torch.zeros(1, 3, requires_grad=True)
    teacher = torch.tensor([[0.7, 0.2, 0.1]])
    loss_of(leaf, torch.tensor([2]), teacher, share=1, temperature=1).backward()
    np.testing.assert_allclose(leaf.grad, 1 / 3 - teacher, atol=1e-6)  # softmax(student) − teacher
    mixed = loss_of(leaf.detach(), torch.tensor([2]), teacher, share=0.25, temperature=1).item()
    far = float((teacher * (teacher.log() - np.log(1 / 3))).sum())
    assert mixed == pytest.approx(0.75 * np.log(3) + 0.25 * far)


def test_the_size_of_the_gradient_hardly_depends_on_the_temperature() -> None:
    norms = []
    for temperature in (4.0, 16.0):
        leaf = torch.zeros(1, 2, requires_grad=True)
        loss_of(leaf, torch.tensor([0]), torch.tensor([[0.6, 0.4]]), share=1, temperature=temperature).backward()
        norms.append(float(leaf.grad.norm()))
    assert norms[0] == pytest.approx(norms[1], rel=0.01)


def test_votes_are_shares_of_tiles_and_weighed_means() -> None:
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.5, 0.5], [0.1, 0.9]])
    np.testing.assert_array_equal(majority(p), [0.75, 0.25])
    np.testing.assert_allclose(weighed(p, np.zeros(4)), p.mean(0))
    np.testing.assert_allclose(weighed(p, np.array([0, 0, 0, 1e3])), p[3])


def test_attention_finds_the_tiles_that_tell_where_the_mean_is_drowned() -> None:
    rng = np.random.default_rng(0)
    units, truth = [], []
    for i in range(24):
        told, label = rng.random(30) < 0.1, i % 2
        told[:2] = True
        right = np.where(told, 0.95, 0.45)
        hidden = np.column_stack([told + rng.normal(0, 0.1, 30), rng.normal(size=(30, 3))]).astype(np.float32)
        units.append((hidden, np.column_stack([right, 1 - right][:: 1 if label == 0 else -1])))
        truth.append(label)
    known = (units[:12], truth[:12], units[12:16], truth[12:16])
    vote, again = (fit_vote(*known, np.ones(2), seed=0) for _ in range(2))
    np.testing.assert_array_equal(vote.scores(units[0][0]), again.scores(units[0][0]))
    means = [p.mean(0)[t] for (_, p), t in zip(units[16:], truth[16:], strict=True)]
    votes = [weighed(p, vote.scores(h))[t] for (h, p), t in zip(units[16:], truth[16:], strict=True)]
    assert max(means) < 0.6
    assert min(votes) > 0.75


def test_attention_that_tells_nothing_of_the_tune_units_stays_the_mean() -> None:
    rng = np.random.default_rng(0)

    def unit(label: int, surer: int) -> tuple[np.ndarray, np.ndarray]:
        """Tiles with a mark in their hidden layer; where surer is 1, marked tiles are right, else they are wrong."""
        marked = rng.random(20) < 0.3
        right = np.where(marked, 0.95 if surer else 0.05, 0.6)
        p = np.column_stack([right, 1 - right][:: 1 if label == 0 else -1])
        return np.column_stack([marked, rng.normal(size=20)]).astype(np.float32), p

    truth = [0, 1] * 8
    train, tune = ([unit(label, surer) for label in truth] for surer in (1, 0))
    stopped = fit_vote(train, truth, tune, truth, np.ones(2), seed=0)
    assert np.ptp(stopped.scores(tune[0][0])) == 0
    followed = fit_vote(train, truth, train, truth, np.ones(2), seed=0)
    assert np.ptp(followed.scores(tune[0][0])) > 1


def test_units_of_one_tile_leave_nothing_to_weigh_and_do_no_harm() -> None:
    rng = np.random.default_rng(0)
    one = [(rng.normal(size=(1, 4)).astype(np.float32), np.array([[0.7, 0.3]])) for _ in range(6)]
    vote = fit_vote(one, [0, 1] * 3, one, [0, 1] * 3, np.ones(2), seed=0)
    np.testing.assert_array_equal(vote.scores(rng.normal(size=(5, 4)).astype(np.float32)), np.zeros(5))
    several = [(rng.normal(size=(n, 4)).astype(np.float32), rng.dirichlet([1, 1], n)) for n in (1, 30, 2)]
    known = ([*several, *one], [0, 1, 0, *[0, 1] * 3])
    found = fit_vote(*known, *known, np.ones(2), seed=0)
    assert np.isfinite(found.scores(several[1][0])).all()
    assert np.ptp(found.scores(several[1][0])) > 0.1


def test_stopping_looks_at_a_fixed_even_choice_of_tiles() -> None:
    unit = shelves([example("a", "A", tileset(plain(3)), tileset(plain(9)))], TASK)
    assert [rows for _, rows in evenly(unit, 4)] == [[0], [1, 4, 8]]
    assert [rows for _, rows in evenly(unit, 100)] == [[0, 1, 2], list(range(9))]
    assert evenly(unit, 4) == evenly(unit, 4)


def test_a_teacher_speaks_of_a_coarse_tile_by_the_fine_tiles_it_covers() -> None:
    fine, coarse = tileset(plain(8)), tileset(plain(3))
    coords = np.array([[0.0, 0.0], [48.0, 8.0], [1000.0, 0.0]])
    coarse = type(coarse)(**{**vars(coarse), "coords": coords, "extent": 32.0})
    p = np.column_stack([np.arange(8) / 10, 1 - np.arange(8) / 10])
    rows, soft = soft_targets(fine, p, coarse)
    assert rows.tolist() == [0, 1]  # nothing lies under the third
    np.testing.assert_allclose(soft[:, 0], [0.05, 0.35])  # fine tiles 0 and 1; 3 and 4 by halves
    half = type(coarse)(**{**vars(coarse), "coords": coords - [24.0, 0.0]})
    np.testing.assert_allclose(soft_targets(fine, p, half)[1][0, 0], 0.0)
    np.testing.assert_allclose(soft_targets(fine, p, half)[1][1, 0], (0.5 * 0.1 + 0.2 + 0.5 * 0.3) / 2)


def test_soft_targets_that_do_not_fit_their_tiles_are_refused() -> None:
    for rows, p in (([9], [[0.5, 0.5]]), ([0], [[0.5, 0.4]]), ([0], [[1.0]])):
        with pytest.raises(ModelError, match="soft targets of shape"):
            shelves([example("a", "A", tileset(plain(3)), soft={"a-0": (rows, p)})], TASK)
    (shelf,) = shelves([example("a", "A", tileset(plain(3)), soft={"a-0": ([2], [[0.3, 0.7]])})], TASK)
    assert shelf.soft is not None
    assert np.isnan(shelf.soft[:2]).all()
    np.testing.assert_array_equal(shelf.soft[2], [0.3, 0.7])
