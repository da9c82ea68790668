"""Tests of stain colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drawn_slides import PINK, PURPLE, cells, disc, glass, scan
from PIL import Image

from phenolens.slides.stain import (
    WHITE,
    chroma,
    glass_colour,
    optical_density,
    separate,
    stain_check,
    stain_matrix,
)


def test_optical_density_doubles_when_the_stain_doubles() -> None:
    once = np.array([[[127, 63, 31]]], np.uint8)
    twice = np.round((once.astype(float) + 1) ** 2 / 256 - 1).astype(np.uint8)
    assert np.allclose(optical_density(twice), 2 * optical_density(once), atol=0.06)


def test_optical_density_of_white_is_zero_and_of_black_is_finite() -> None:
    density = optical_density(np.array([[[255, 255, 255], [0, 0, 0]]], np.uint8))
    assert (density[0, 0] == 0).all()
    assert np.allclose(density[0, 1], np.log10(256))


def test_separate_finds_the_amounts_that_were_mixed() -> None:
    amounts = np.array([0.6, 0.4, 0.0])
    rgb = np.round(256 * 10 ** -(amounts @ stain_matrix()) - 1).astype(np.uint8)[None, None]
    assert np.allclose(separate(rgb)[0, 0], amounts, atol=0.02)


def test_glass_colour_is_that_of_tinted_glass_not_of_padding() -> None:
    picture = np.asarray(disc(glass(colour=(240, 233, 238)), 300, 200, 100)).copy()
    picture[:150] = 255
    assert glass_colour(picture) == (240, 233, 238)


def test_glass_colour_is_white_where_all_is_tissue() -> None:
    rng = np.random.default_rng(0)
    tissue = np.array(PINK) + rng.normal(0, 12, (200, 200, 1))
    assert glass_colour(tissue.clip(0, 255).astype(np.uint8)) == WHITE


def test_chroma_is_zero_for_grey_and_high_for_h_and_e() -> None:
    picture = np.array([[[120, 120, 120], PINK, PURPLE]], np.uint8)
    grey, pink, purple = chroma(optical_density(picture))[0]
    assert abs(grey) < 1e-6
    assert min(pink, purple) > 0.1


def test_stain_check_passes_h_and_e() -> None:
    assert stain_check(scan(cells(glass(), 300, 200, 150))).ok


@pytest.mark.parametrize(
    ("colour", "reason"),
    [((150, 100, 60), "DAB"), ((120, 160, 200), "red most"), ((120, 120, 120), "grey")],
)
def test_stain_check_refuses_other_stains(colour: tuple[int, int, int], reason: str) -> None:
    check = stain_check(scan(disc(glass(), 300, 200, 150, colour)))
    assert not check.ok
    assert reason in check.reason


def test_stain_check_refuses_fluorescence_and_bare_glass() -> None:
    dark = stain_check(np.asarray(disc(glass(colour=(2, 2, 3)), 300, 200, 60, (40, 80, 200))))
    assert not dark.ok
    assert "fluorescence" in dark.reason
    assert "hardly any" in stain_check(scan(glass())).reason


def test_stain_check_passes_real_sarcoma(real_data: Path) -> None:
    files = sorted((real_data / "tiles" / "osteosarcoma").glob("*.jpg"))[::6]
    assert files
    for file in files:
        check = stain_check(np.asarray(Image.open(file).convert("RGB").resize((256, 256))))
        assert check.ok, (file.name, check)
