"""Tests of looks: copies keep theirs, other pictures have other ones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from phenolens.core.look import close_pairs, look_of, vectors_of


def picture(seed: int, shape: tuple[int, int] = (300, 400)) -> np.ndarray:
    """Blobs of several sizes."""
    draw = np.random.default_rng(seed)
    made = np.zeros(shape)
    for sigma in (60, 25, 10):
        field = ndimage.gaussian_filter(draw.normal(size=shape), sigma, mode="wrap")
        made += field / field.std()
    return made


def alike(a: np.ndarray, b: np.ndarray, k: int = 16) -> float:
    x, y = vectors_of([look_of([a], k), look_of([b], k)])
    return float(x @ y)


@pytest.mark.parametrize("seed", range(5))
def test_a_cropped_noisy_or_rescaled_copy_keeps_its_look(seed: int) -> None:
    whole = picture(seed)
    noise = np.random.default_rng(seed + 100).normal(0, 0.3, whole.shape)
    assert alike(whole, whole) == pytest.approx(1, abs=1e-6)
    assert alike(whole, whole[2:-2, 2:-2]) > 0.95
    assert alike(whole, whole + noise) > 0.95
    assert alike(whole, 3 * whole + 70) > 0.999
    assert alike(whole, ndimage.zoom(whole, 0.5, order=1)) > 0.95


def test_other_pictures_look_otherwise() -> None:
    vectors = vectors_of([look_of([picture(s)], 16) for s in range(40)])
    products = (vectors @ vectors.T)[np.triu_indices(40, 1)]
    assert np.abs(products).max() < 0.6
    assert not close_pairs(vectors, [str(i) for i in range(40)], 0.9)


def test_a_look_is_one_hex_digit_a_frequency_and_plane() -> None:
    look = look_of([picture(0), picture(1)[:50]], 8)
    assert len(look) == 2 * 63
    assert set(look) <= set("0123456789abcdef")


def test_blank_pictures_have_no_look_and_missing_values_do_no_harm() -> None:
    assert look_of([np.full((20, 20), 7.0)], 8) == ""
    assert look_of([np.full((20, 20), np.nan)], 8) == ""
    holed = picture(0)
    holed[:30, :30] = np.nan
    assert alike(picture(0), holed, 8) > 0.8


def test_pictures_smaller_than_the_grid_are_looked_at_too() -> None:
    assert len(look_of([picture(0, (3, 5))], 8)) == 63


def test_only_pairs_of_different_owners_are_named() -> None:
    vectors = vectors_of([look_of([picture(s)], 16) for s in (0, 0, 1, 0)])
    assert [(i, j) for i, j, _ in close_pairs(vectors, ["a", "a", "b", "c"], 0.9)] == [(0, 3), (1, 3)]


def test_blocks_give_the_pairs_of_the_whole() -> None:
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(2500, 12)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = {(i, j) for i, j, _ in close_pairs(vectors, [str(i) for i in range(2500)], 0.93)}
    a, b = np.nonzero(np.triu(vectors @ vectors.T >= 0.93, 1))
    assert found == set(zip(a.tolist(), b.tolist(), strict=True))
    assert len(found) > 3
