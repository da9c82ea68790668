"""Tests of tiling and of the draw."""

from __future__ import annotations

import time

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from phenolens.core.errors import ImageError
from phenolens.core.types import Frame
from phenolens.slides.tiles import TileSettings, cut, draw, overlaps

BOX = st.tuples(*[st.floats(0, 800, allow_nan=False)] * 2, *[st.floats(5, 400)] * 2)


def frame(mpp: float = 0.5, width: int = 1000, height: int = 800) -> Frame:
    return Frame(shape=(width, height), spacing=(mpp, mpp), origin=(0, 0), unit="um")


def region_of(boxes: list[tuple[float, ...]], holes: list[tuple[float, ...]]):
    area = shapely.union_all([shapely.Point(x + w / 2, y + h / 2).buffer(min(w, h) / 2) for x, y, w, h in boxes])
    area = area.union(shapely.union_all([shapely.box(x, y, x + w, y + h) for x, y, w, h in boxes[1:]]))
    for x, y, w, h in holes:
        area = area.difference(shapely.box(x, y, x + w / 2, y + h / 2))
    return area.intersection(shapely.box(0, 0, 1000, 800))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(BOX, min_size=1, max_size=4),
    st.lists(BOX, max_size=3),
    st.sampled_from([17, 33, 64.5]),
    st.floats(0.3, 1.5),
)
def test_overlap_is_that_of_brute_force(boxes, holes, side: float, step: float) -> None:
    area = region_of(boxes, holes)
    xs = np.unique(np.rint(np.arange(0, 1000, side * step)).astype(np.int64))
    ys = np.unique(np.rint(np.arange(0, 800, side * step)).astype(np.int64))
    brute = [
        [area.intersection(shapely.box(x, y, x + side, y + side)).area / side**2 for x in xs[::3]] for y in ys[::3]
    ]
    assert np.allclose(overlaps(area, xs, ys, side)[::3, ::3], brute, atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(st.lists(BOX, min_size=1, max_size=4), st.floats(0.05, 1.0))
def test_cut_keeps_exactly_the_tiles_of_the_whole_grid_above_the_threshold(boxes, least: float) -> None:
    area = region_of(boxes, [])
    side = 32.0
    corners = [(x * 32, y * 32) for y in range(25) for x in range(32)]
    share = {c: area.intersection(shapely.box(*c, c[0] + side, c[1] + side)).area / side**2 for c in corners}
    clear = {c: s for c, s in share.items() if abs(s - least) > 1e-6}
    if not any(s >= least for s in clear.values()):
        return
    kept = {tuple(c) for c in cut(area, frame(), TileSettings(size_px=32), least).xy.tolist()}
    assert {c for c, s in clear.items() if s >= least} == kept & set(clear)


def test_grid_is_anchored_at_the_corner_of_the_slide_and_rounded() -> None:
    grid = cut(shapely.box(100, 100, 900, 700), frame(mpp=0.499), TileSettings(size_px=100, mpp=0.5), 0.6)
    side = 100 * 0.5 / 0.499
    assert grid.side == side
    assert grid.xy.dtype == np.int64
    assert np.abs(grid.xy - np.rint(np.rint(grid.xy / side) * side)).max() == 0


def test_step_smaller_than_the_side_gives_overlapping_tiles() -> None:
    dense = cut(shapely.box(0, 0, 400, 400), frame(), TileSettings(size_px=100, step_px=50), 1.0)
    assert len(dense.xy) == 49


def test_tile_exactly_at_the_threshold_is_kept() -> None:
    assert len(cut(shapely.box(0, 0, 60, 100), frame(), TileSettings(size_px=100), 0.6).xy) == 1


def test_tile_that_only_touches_the_region_is_never_kept() -> None:
    grid = cut(shapely.box(0, 0, 100, 100), frame(), TileSettings(size_px=100), 0.0)
    assert grid.xy.tolist() == [[0, 0]]


def test_tile_beyond_the_slide_counts_only_what_is_inside() -> None:
    whole = shapely.box(0, 0, 1000, 800)
    xy = cut(whole, frame(), TileSettings(size_px=300), 0.6).xy
    assert xy[:, 0].max() == 600
    assert xy[:, 1].max() == 600


def test_tiles_finer_than_the_slide_are_refused_and_a_little_finer_is_noted() -> None:
    area = shapely.box(0, 0, 1000, 800)
    with pytest.raises(ImageError, match=r"slide at 0\.5 um per px, tiles asked at 0\.25.*tiles\.mpp to 0\.5"):
        cut(area, frame(mpp=0.5), TileSettings(mpp=0.25), 0.6)
    (note,) = cut(area, frame(mpp=0.54), TileSettings(mpp=0.5), 0.6).notes
    assert "enlarged 1.08 times" in note
    assert cut(area, frame(mpp=0.504), TileSettings(mpp=0.5), 0.6).notes == ()


@pytest.mark.parametrize("area", [shapely.box(0, 0, 30, 30), shapely.Polygon()])
def test_no_tile_is_an_error_with_the_best_overlap(area) -> None:
    with pytest.raises(ImageError, match="no tile.*min_overlap"):
        cut(area, frame(), TileSettings(size_px=100), 0.6)


def test_a_hundred_thousand_tiles_are_cut_in_seconds() -> None:
    angle = np.linspace(0, 2 * np.pi, 8000, endpoint=False)
    radius = 1 + 0.05 * np.sin(37 * angle) + 0.01 * np.sin(900 * angle)
    blob = shapely.Polygon(np.c_[50000 + 45000 * radius * np.cos(angle), 40000 + 35000 * radius * np.sin(angle)])
    started = time.process_time()
    grid = cut(
        blob.intersection(shapely.box(0, 0, 100000, 80000)), frame(0.25, 100000, 80000), TileSettings(mpp=0.25), 0.6
    )
    assert len(grid.xy) > 90_000
    assert time.process_time() - started < 8


@given(
    st.dictionaries(st.text(max_size=4), st.integers(0, 60), min_size=1, max_size=6),
    st.one_of(st.none(), st.integers(1, 100)),
    st.integers(0, 5),
)
def test_draw_takes_the_allowed_number_once_each_and_whatever_the_order(counts, most, seed: int) -> None:
    drawn = draw(counts, most, seed=seed, patient="P1")
    again = draw(dict(reversed(counts.items())), most, seed=seed, patient="P1")
    total = sum(counts.values())
    assert sum(len(rows) for rows in drawn.values()) == (total if most is None else min(most, total))
    assert set(drawn) == set(counts)
    for image, rows in drawn.items():
        assert rows.tolist() == sorted(set(rows.tolist())) == again[image].tolist()
        assert all(0 <= r < counts[image] for r in rows)


def test_draw_is_the_same_today_and_on_every_machine() -> None:
    drawn = draw({"a": 40, "b": 5, "c": 55}, 6, seed=7, patient="P1")
    assert {k: v.tolist() for k, v in drawn.items()} == {"a": [1, 14, 26], "b": [], "c": [10, 26, 53]}


def test_draw_differs_between_patients_and_seeds() -> None:
    def rows(seed: int, patient: str) -> list[int]:
        return draw({"a": 1000}, 20, seed=seed, patient=patient)["a"].tolist()

    assert rows(0, "P1") != rows(0, "P2")
    assert rows(0, "P1") != rows(1, "P1")


def test_draw_is_uniform_over_the_tiles_of_a_patient() -> None:
    taken = sum(len(draw({"big": 900, "small": 100}, 100, seed=s, patient="P1")["small"]) for s in range(200))
    assert taken / 200 == pytest.approx(10, abs=1)


@pytest.mark.parametrize("fault", [{"size_px": 0}, {"mpp": 40}, {"step_px": 0}, {"max_per_patient": 0}])
def test_impossible_tile_settings_are_refused(fault: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(fault))):
        TileSettings(**fault)
