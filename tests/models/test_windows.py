"""A picture told window by window is what the model says of it, and nothing is asked of places that are not wanted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from phenolens.core.types import FloatArray, Rgb
from phenolens.models.windows import called, stitch

SIZE = 16


def brightness(tiles: Rgb) -> FloatArray:
    """A model that looks at one pixel: its windows agree wherever they overlap."""
    return (tiles.mean(-1) / 255).astype(np.float32)


def around(tiles: Rgb) -> FloatArray:
    """A model that looks at the surroundings of a pixel, so that it says other things near a window's border."""
    return np.stack([ndimage.uniform_filter(t.mean(-1) / 255, 7) for t in tiles]).astype(np.float32)


class Picture:
    """Reads windows of a picture, white beyond it, and counts how many."""

    def __init__(self, pixels: Rgb) -> None:
        self.pixels, self.read_so_far = np.pad(pixels, ((0, 64), (0, 64), (0, 0)), constant_values=255), 0

    def __call__(self, corners: np.ndarray) -> Rgb:
        self.read_so_far += len(corners)
        return np.stack([self.pixels[y : y + SIZE, x : x + SIZE] for x, y in corners])


def drawn(shape: tuple[int, int], seed: int = 0) -> Rgb:
    return np.random.default_rng(seed).integers(0, 255, (*shape, 3), dtype=np.uint8)


@given(height=st.integers(1, SIZE), width=st.integers(1, SIZE), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_a_picture_smaller_than_a_window_is_told_as_by_the_model_directly(height: int, width: int, seed: int) -> None:
    pixels = drawn((height, width), seed)
    read = Picture(pixels)
    plane = stitch(around, read, np.ones((height, width), bool), SIZE)
    direct = around(Picture(pixels)(np.array([[0, 0]])))[0, :height, :width]
    assert np.abs(plane.astype(float) - 255 * direct).max() <= 0.51
    assert read.read_so_far == 1


@given(height=st.integers(1, 70), width=st.integers(1, 70), batch=st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_where_windows_agree_stitching_changes_nothing(height: int, width: int, batch: int) -> None:
    pixels = drawn((height, width))
    plane = stitch(brightness, Picture(pixels), np.ones((height, width), bool), SIZE, batch=batch)
    assert plane.shape == (height, width)
    assert np.abs(plane.astype(float) - pixels.mean(-1)).max() <= 0.51


def test_the_middle_of_a_window_counts_more_than_its_border() -> None:
    pixels = drawn((60, 60))
    plane = stitch(around, Picture(pixels), np.ones((60, 60), bool), SIZE).astype(float) / 255
    whole = ndimage.uniform_filter(pixels.mean(-1) / 255, 7)
    parts = [(slice(y, y + 15), slice(x, x + 15)) for y in range(0, 60, 15) for x in range(0, 60, 15)]
    alone = np.mean([np.abs(around(pixels[None, *at])[0] - whole[at]).mean() for at in parts])
    assert np.abs(plane - whole)[4:-4, 4:-4].mean() < 0.5 * alone


def test_windows_without_a_wanted_pixel_are_not_read_and_stay_zero() -> None:
    wanted = np.zeros((64, 64), bool)
    wanted[2:6, 3:9] = True
    read = Picture(np.full((64, 64, 3), 200, np.uint8))
    plane = stitch(brightness, read, wanted, SIZE)
    assert read.read_so_far == 2
    np.testing.assert_array_equal(plane > 0, wanted)
    assert stitch(brightness, read, np.zeros((9, 9), bool), SIZE).sum() == 0


def test_a_pixel_is_called_from_one_half_on_and_glass_does_not_count() -> None:
    plane = np.full((40, 40), 128, np.uint8)
    wanted = np.zeros((40, 40), bool)
    wanted[10:30, 10:30] = True
    np.testing.assert_array_equal(called(plane, wanted, 0), wanted)
    np.testing.assert_array_equal(called(plane, wanted, 3), wanted)
    assert not called(np.full((40, 40), 127, np.uint8), wanted, 0).any()


@pytest.mark.parametrize("sigma", [0.0, 4.0])
def test_strips_of_a_high_picture_leave_no_seam(sigma: float) -> None:
    plane = (255 * ndimage.gaussian_filter(drawn((2300, 12), 4)[..., 0] / 255.0, (9, 2))).astype(np.uint8)
    plane = ((plane > np.median(plane)) * 255).astype(np.uint8)
    wanted = np.ones(plane.shape, bool)
    whole = ndimage.gaussian_filter(plane.astype(np.float32), sigma, mode="constant") if sigma else plane
    share = ndimage.gaussian_filter(np.ones(plane.shape, np.float32), sigma, mode="constant") if sigma else 1
    np.testing.assert_array_equal(called(plane, wanted, sigma), whole / share >= 127.5)
