"""Polygons to pixels and back: exact where pixels are, and true to area and place where polygons are."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from phenolens.slides.raster import inside, outline_of, without_small

SHAPE = (48, 60)


@st.composite
def stars(draw: st.DrawFn) -> shapely.Polygon:
    """A star-shaped polygon, some with a hole, that may reach beyond the grid."""
    n = draw(st.integers(3, 24))
    radii = draw(st.lists(st.floats(3, 40), min_size=n, max_size=n))
    x, y = draw(st.tuples(st.floats(-5, 65), st.floats(-5, 53)))
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    made = shapely.Polygon(np.column_stack([x + radii * np.cos(angle), y + radii * np.sin(angle)]))
    hole = shapely.Point(x, y).buffer(draw(st.floats(0.5, 2)))
    return made.difference(hole) if draw(st.booleans()) else made


@given(area=stars())
@settings(max_examples=60, deadline=None)
def test_a_pixel_is_inside_where_its_centre_is(area: shapely.Polygon) -> None:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] * 1.5 + 0.75 - 4
    expected = shapely.contains_xy(area, x, y)
    near = shapely.dwithin(area.boundary, shapely.points(x, y), 1e-6)
    np.testing.assert_array_equal(inside(area, (-4, -4), 1.5, SHAPE)[~near], expected[~near])


@given(area=stars())
@settings(max_examples=60, deadline=None)
def test_the_area_of_the_pixels_is_that_of_the_polygon_within_a_pixel_of_its_border(area: shapely.Polygon) -> None:
    grid = shapely.box(0, 0, SHAPE[1], SHAPE[0])
    there = shapely.intersection(area, grid)
    pixels = np.count_nonzero(inside(area, (0, 0), 1.0, SHAPE))
    border = shapely.intersection(area.boundary.buffer(np.sqrt(0.5)), grid)
    assert abs(pixels - there.area) <= border.area + 1e-6


def test_polygons_that_share_an_edge_share_no_pixel_and_leave_none_out() -> None:
    left, right = shapely.box(3, 2, 20.5, 30), shapely.box(20.5, 2, 44, 30)
    a, b, both = (inside(area, (0, 0), 1.0, SHAPE) for area in (left, right, shapely.box(3, 2, 44, 30)))
    assert not (a & b).any()
    np.testing.assert_array_equal(a | b, both)


@given(seed=st.integers(0, 10_000), smooth=st.floats(0, 2.5), step=st.floats(0.3, 7))
@settings(max_examples=30, deadline=None)
def test_a_mask_comes_back_from_its_outline_exactly(seed: int, smooth: float, step: float) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), smooth)
    mask = noise > 0
    area = outline_of(mask, step, smooth_px=0)
    assert area.is_valid
    np.testing.assert_array_equal(inside(area, (0, 0), step, SHAPE), mask)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_a_simpler_outline_differs_by_few_pixels_and_none_deep_inside(seed: int) -> None:
    mask = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 3) > 0
    area, exact = outline_of(mask, 1.0), outline_of(mask, 1.0, smooth_px=0)
    assert shapely.get_num_coordinates(area) <= shapely.get_num_coordinates(exact)
    other = inside(area, (0, 0), 1.0, SHAPE) != mask
    beside = np.ones((3, 3), bool)
    border = ndimage.binary_dilation(mask, beside) ^ ndimage.binary_erosion(mask, beside, border_value=1)
    assert (other & ~border).sum() <= 0.01 * border.sum()


def test_an_outline_over_several_strips_is_one_piece() -> None:
    mask = np.zeros((2100, 6), bool)
    mask[5:2090, 2:4] = True
    area = outline_of(mask, 2.0)
    assert len(area.geoms) == 1
    assert area.bounds == (4, 10, 8, 4180)


def test_nothing_has_no_outline() -> None:
    assert outline_of(np.zeros((4, 4), bool), 1.0).is_empty
    assert not inside(shapely.MultiPolygon(), (0, 0), 1.0, (3, 3)).any()


def test_small_pieces_and_small_holes_go() -> None:
    big = shapely.box(0, 0, 20, 20).difference(shapely.box(4, 4, 6, 6)).difference(shapely.box(9, 9, 14, 14))
    small = shapely.box(30, 0, 32, 2)
    whole = shapely.MultiPolygon([big, small])
    assert without_small(whole, 0).area == pytest.approx(400 - 4 - 25 + 4)
    assert without_small(whole, 4).area == pytest.approx(400 - 4 - 25 + 4)
    assert without_small(whole, 5).area == pytest.approx(400 - 25)
    assert without_small(whole, 26).area == pytest.approx(400)
    assert without_small(whole, 401).is_empty
