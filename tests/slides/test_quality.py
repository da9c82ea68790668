"""Tests of the quality figures and their thresholds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drawn_slides import INKS, Drawn, cells, disc, glass, scan, stroke
from PIL import Image, ImageDraw
from scipy import ndimage

from phenolens.core.errors import ImageError
from phenolens.slides.quality import QualitySettings, blur, judge, measure
from phenolens.slides.region import find_tissue
from phenolens.slides.tiles import TileSettings, cut


def figures(picture: Image.Image, sigma: float = 0) -> dict[str, float]:
    rgb = scan(picture, noise=1)
    if sigma:
        rgb = ndimage.gaussian_filter(rgb.astype(float), (sigma, sigma, 0)).round().astype(np.uint8)
    slide = Drawn(rgb, 4.0)
    thumbnail = slide.thumbnail(900)
    tissue = find_tissue(thumbnail, slide.frame)
    grid = cut(tissue.area, slide.frame, TileSettings(mpp=4.0, size_px=64), 0.6)
    return measure(slide, thumbnail, tissue, grid.xy, grid.side)


def failing(found: dict[str, float], **settings: float) -> ImageError:
    with pytest.raises(ImageError) as caught:
        judge(found, QualitySettings(**settings), "slide.svs")
    return caught.value


def test_a_good_slide_passes_with_the_defaults() -> None:
    found = figures(cells(glass(), 300, 200, 180))
    judge(found, QualitySettings(), "slide.svs")
    assert found["tissue_mm2"] == pytest.approx(np.pi * 0.72**2, rel=0.05)
    assert found["pen"] == found["dark"] == 0


def test_a_slide_out_of_focus_fails_with_figure_threshold_and_setting() -> None:
    found = figures(cells(glass(), 300, 200, 180), sigma=5)
    error = failing(found)
    assert f"{found['blur']:.3g} blur" in error.found
    assert error.expected == "at most 0.7 (quality.max_blur)"
    assert "quality.max_blur" in error.todo
    judge(found, QualitySettings(max_blur=None), "slide.svs")


def test_too_little_tissue_fails() -> None:
    error = failing(figures(disc(cells(glass(), 300, 200, 180), 0, 0, 1)), min_tissue_mm2=5)
    assert "mm2 of tissue" in error.found
    assert "min_tissue_mm2" in error.expected


def test_much_pen_fails() -> None:
    picture = stroke(cells(glass(), 150, 200, 100), [(450, 20), (450, 380)], INKS["green"], 250)
    assert "pen" in failing(figures(picture)).found


def test_pale_tissue_fails_on_saturation() -> None:
    error = failing(figures(cells(glass(), 300, 200, 180)), min_saturation=0.9)
    assert "saturation" in error.found


def test_a_mostly_black_picture_fails() -> None:
    picture = cells(glass(), 480, 200, 100)
    ImageDraw.Draw(picture).rectangle((0, 0, 340, 400), fill=(3, 3, 3))
    assert "black" in failing(figures(picture)).found


@pytest.mark.parametrize("strength", [0.4, 0.7, 1.0])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_blur_does_not_change_with_strength_or_colour_of_the_stain(strength: float, order: tuple[int, ...]) -> None:
    sharp = scan(cells(glass(256, 256), 128, 128, 120), noise=0)
    density = np.log((sharp.astype(float) + 1) / 256) * strength
    weaker = (256 * np.exp(density) - 1).clip(0, 255).round().astype(np.uint8)[..., list(order)]
    assert blur(weaker) == pytest.approx(blur(sharp), abs=0.06)


def test_blur_grows_with_the_width_of_the_blur() -> None:
    sharp = scan(cells(glass(256, 256), 128, 128, 120), noise=1).astype(float)
    found = [blur(ndimage.gaussian_filter(sharp, (s, s, 0)).round().astype(np.uint8)) for s in (0, 1, 2, 4)]
    assert found == sorted(found)
    assert found[0] < 0.5
    assert found[-1] > 0.7


def test_blur_of_bare_glass_is_unknown() -> None:
    assert blur(scan(glass(256, 256))) is None


def test_an_unknown_figure_is_not_judged() -> None:
    judge({"tissue_mm2": 1.0, "pen": 0.0, "saturation": 0.3, "dark": 0.0}, QualitySettings(), "slide.svs")


def test_figures_are_the_same_twice() -> None:
    assert figures(cells(glass(), 300, 200, 180)) == figures(cells(glass(), 300, 200, 180))


@pytest.mark.parametrize("fault", [{"max_blur": 2}, {"min_tissue_mm2": -1}, {"max_pen": -0.1}])
def test_impossible_quality_settings_are_refused(fault: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(fault))):
        QualitySettings(**fault)


def test_real_sarcoma_tiles_are_sharp_and_become_blurred(real_data: Path) -> None:
    for file in sorted((real_data / "tiles" / "osteosarcoma").glob("Viable*.jpg"))[::4]:
        tile = np.asarray(Image.open(file).convert("RGB"))[300:556, 300:556]
        sharp = blur(tile)
        if sharp is not None:
            soft = blur(ndimage.gaussian_filter(tile.astype(float), (5, 5, 0)).round().astype(np.uint8))
            assert sharp < 0.6 < soft, file.name
