"""Colours brought to a fixed reference: as independent implementations have them, and refused where unsure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from phenolens.core.errors import ImageError
from phenolens.core.types import Rgb
from phenolens.slides.normalise import REFERENCE_MEAN, REFERENCE_SPREAD, Method, normaliser
from phenolens.slides.stain import optical_density

STAINS = np.array([[0.60, 0.72, 0.34], [0.12, 0.93, 0.30]])
OTHER = np.array([[0.70, 0.62, 0.35], [0.22, 0.85, 0.45]])
METHODS = get_args(Method)


def tissue(stains: npt.NDArray[np.float64], strength: float = 1.0, white: float = 245, n: int = 4) -> Rgb:
    """Tiles (n, 48, 48, 3) of one tissue, as a laboratory of these stains and this light would show it."""
    amounts = np.random.default_rng(3).gamma(4.0, [0.2, 0.15], size=(n, 48, 48, 2)) * strength
    amounts[:, :8] = 0
    return (white * np.exp(-amounts @ stains)).clip(0, 255).round().astype(np.uint8)


def lab(pixels: Rgb) -> npt.NDArray[np.float64]:
    """lαβ written once more, channel by channel, from Reinhard et al. 2001."""
    r, g, b = np.maximum(pixels.reshape(-1, 3).astype(float), 1).T
    long = np.log(0.3811 * r + 0.5783 * g + 0.0402 * b)
    middle = np.log(0.1967 * r + 0.7244 * g + 0.0782 * b)
    short = np.log(0.0241 * r + 0.1288 * g + 0.8444 * b)
    axes = (
        (long + middle + short) / np.sqrt(3),
        (long + middle - 2 * short) / np.sqrt(6),
        (long - middle) / np.sqrt(2),
    )
    return np.stack(axes, 1)


def test_macenko_is_that_of_torchstain() -> None:
    held = json.loads((Path(__file__).parent / "reference" / "macenko.json").read_text("utf-8"))
    given = np.array(held["given"], np.uint8)[None]
    made = normaliser("macenko", given).apply(given)[0].astype(int)
    away = np.abs(made - np.array(held["normalised"]))
    assert away.max() <= 1
    assert np.abs(given[0].astype(int) - np.array(held["normalised"])).mean() > 10


def test_reinhard_gives_tissue_the_mean_and_spread_of_the_reference() -> None:
    given = tissue(STAINS)
    mask = (-np.log((given.reshape(-1, 3) + 1.0) / 240)).mean(1) >= 0.15
    made = normaliser("reinhard", given).apply(given)
    before, after = lab(given)[mask], lab(made)[mask]
    by_hand = (before - before.mean(0)) / before.std(0) * REFERENCE_SPREAD + REFERENCE_MEAN
    inside = ((made.reshape(-1, 3)[mask] > 5) & (made.reshape(-1, 3)[mask] < 250)).all(1)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(after[inside], by_hand[inside], atol=0.06)
    np.testing.assert_allclose(by_hand.mean(0), REFERENCE_MEAN, atol=1e-9)
    np.testing.assert_array_equal(made.reshape(-1, 3)[~mask], given.reshape(-1, 3)[~mask])


@pytest.mark.parametrize("method", METHODS)
def test_two_laboratories_come_nearer_to_each_other(method: Method) -> None:
    one, two = tissue(STAINS), tissue(OTHER, strength=1.4, white=235)
    made = [normaliser(method, tiles).apply(tiles).astype(float) for tiles in (one, two)]
    before = np.abs(one[:, 8:].astype(float) - two[:, 8:]).mean()
    assert np.abs(made[0] - made[1])[:, 8:].mean() < before / 3


def test_what_macenko_has_normalised_stays_as_it_is() -> None:
    once = normaliser("macenko", tissue(OTHER)).apply(tissue(OTHER))
    twice = normaliser("macenko", once).apply(once)
    assert np.abs(once.astype(int) - twice).mean() < 3


@pytest.mark.parametrize("method", METHODS)
def test_a_tile_is_changed_in_the_same_way_whatever_stands_beside_it(method: Method) -> None:
    tiles = tissue(STAINS)
    made = normaliser(method, tiles)
    np.testing.assert_array_equal(made.apply(tiles)[2:3], made.apply(tiles[2:3]))
    assert made == normaliser(method, tiles)


@pytest.mark.parametrize("method", METHODS)
def test_glass_gives_no_measure_of_stain(method: Method) -> None:
    with pytest.raises(ImageError, match=r"0 stained px.*at least 1000.*tiles.stain"):
        normaliser(method, np.full((4, 48, 48, 3), 243, np.uint8))


def test_macenko_refuses_a_slide_of_one_stain() -> None:
    amounts = np.random.default_rng(0).gamma(4.0, 0.4, size=(2, 48, 48, 1))
    single = (245 * np.exp(-amounts * STAINS[0])).clip(0, 255).round().astype(np.uint8)
    with pytest.raises(ImageError, match="degrees apart"):
        normaliser("macenko", single)


def test_reinhard_refuses_tissue_of_one_colour() -> None:
    with pytest.raises(ImageError, match="all above 0"):
        normaliser("reinhard", np.full((2, 48, 48, 3), (180, 90, 150), np.uint8))


@pytest.mark.parametrize("method", METHODS)
def test_real_sarcomas_of_four_cases_come_nearer_in_density(real_data: Path, method: Method) -> None:
    files = sorted((real_data / "tiles" / "osteosarcoma").glob("*.jpg"))[::4]
    tiles = [np.asarray(Image.open(f).convert("RGB").resize((256, 256)))[None] for f in files]
    made = [normaliser(method, t).apply(t) for t in tiles]

    def spread(of: list[Rgb]) -> npt.NDArray[np.float64]:
        found = np.array([np.quantile(optical_density(t).reshape(-1, 3), 0.9, axis=0) for t in of])
        spread: npt.NDArray[np.float64] = found.std(0)
        return spread

    assert len(files) >= 10
    assert (spread(made) < spread(tiles)).all()
