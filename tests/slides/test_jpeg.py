"""Stored JPEG tiles decoded directly, against OpenSlide on the same file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image, ImageFilter

from phenolens.core.errors import ImageError
from phenolens.core.types import Box
from phenolens.slides.image import open_slide
from phenolens.slides.jpeg import frame_size


def tissue(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Smooth colour noise, (height, width, 3)."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).filter(ImageFilter.GaussianBlur(3)))


def write(path: Path, pixels: np.ndarray, *, stored_as: str = "YCbCr", **options: object) -> Path:
    tifffile.imwrite(
        path,
        pixels,
        photometric="rgb",
        tile=(128, 128),
        compression="jpeg",
        compressionargs={"level": 85, "outcolorspace": stored_as},
        resolution=(40_000, 40_000),
        resolutionunit="CENTIMETER",
        **options,
    )
    return path


def openslide_pixels(path: Path, x: int, y: int, width: int, height: int) -> np.ndarray:
    with openslide.OpenSlide(path) as slide:
        rgba = slide.read_region((x, y), 0, (width, height))
    return np.asarray(Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB"))


@pytest.mark.parametrize("stored_as", ["YCbCr", "RGB"])
@pytest.mark.parametrize("corner", [(128, 256), (37, 91), (-40, -7), (520, 430)])
def test_direct_decoding_equals_openslide_where_nothing_is_scaled(
    tmp_path: Path, stored_as: str, corner: tuple[int, int]
) -> None:
    path = write(tmp_path / "a.tif", tissue(600, 500), stored_as=stored_as)
    with open_slide(path) as slide:
        assert slide.format == "openslide"
        assert slide._source.grid(0) is not None
        tiles = slide.read_tiles(np.array([corner]), 128, 128)
    assert np.array_equal(tiles[0], openslide_pixels(path, *corner, 128, 128))


@pytest.mark.parametrize("corner", [(240, 480), (711, 1033), (2100, 2900)])
def test_direct_decoding_equals_openslide_on_a_real_aperio_slide(real_data: Path, corner: tuple[int, int]) -> None:
    path = real_data / "slides/pathml/small_HE.svs"
    with open_slide(path) as slide:
        assert slide._source.grid(0) is not None
        tiles = slide.read_tiles(np.array([corner]), 240, 240)
    assert np.array_equal(tiles[0], openslide_pixels(path, *corner, 240, 240))


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_reduced_decoding_is_near_the_mean_over_the_pixels(tmp_path: Path, factor: int) -> None:
    path = write(tmp_path / "a.tif", tissue(1024, 1024))
    with open_slide(path) as slide:
        reduced = slide.read_tiles(np.array([[0, 0], [96, 32]]), 512, 512 // factor)
    for (x, y), tile in zip([(0, 0), (96, 32)], reduced, strict=True):
        mean = np.asarray(Image.fromarray(openslide_pixels(path, x, y, 512, 512)).reduce(factor))
        assert np.abs(tile.astype(int) - mean).mean() < 1.5
        assert tile.std() > 2


def test_reduced_decoding_of_real_tissue_differs_by_less_than_one_grey_value(real_data: Path) -> None:
    path = real_data / "slides/pathml/small_HE.svs"
    with open_slide(path) as slide:
        reduced = slide.read(Box(720, 960, 960, 960), 2 * 0.499)
    mean = np.asarray(Image.fromarray(openslide_pixels(path, 720, 960, 960, 960)).reduce(2))
    assert np.abs(reduced.astype(int) - mean).mean() < 1


def test_the_rim_of_a_slide_is_never_mixed_with_the_padding_of_its_tiles(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.full((301, 301, 3), 200, np.uint8))
    with open_slide(path) as slide:
        tile = slide.read(Box(172, 172, 256, 256), 8 * 0.25)
    assert abs(int(tile[0, 0, 0]) - 200) <= 1
    assert (tile[17:, :] == 255).all()
    assert (tile[:, 17:] == 255).all()


def test_a_level_with_missing_tiles_is_left_to_openslide(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.tif", tissue(256, 256))
    with tifffile.TiffFile(whole, mode="r+b") as file:
        counts = list(file.pages[0].databytecounts)
        file.pages[0].tags["TileByteCounts"].overwrite([0, *counts[1:]])
        offsets = list(file.pages[0].dataoffsets)
        file.pages[0].tags["TileOffsets"].overwrite([0, *offsets[1:]])
    with open_slide(whole) as slide:
        assert slide._source.grid(0) is None
        assert (slide.read(Box(0, 0, 128, 128), 0.25) == 255).all()


def test_a_damaged_tile_is_an_image_error_that_names_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", tissue(256, 256))
    with tifffile.TiffFile(path) as file:
        at = file.pages[0].dataoffsets[3]
    data = bytearray(path.read_bytes())
    data[at : at + 64] = bytes(64)
    path.write_bytes(data)
    with open_slide(path) as slide, pytest.raises(ImageError, match=r"column 1, row 1"):
        slide.read_tiles(np.array([[128, 128]]), 128, 128)


def test_frame_size_reads_past_other_markers() -> None:
    stream = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08\x00\x20\x00\x10\x03" + bytes(9)
    assert frame_size(stream) == (16, 32)
    with pytest.raises(ValueError, match="no JPEG frame"):
        frame_size(b"\xff\xd8\xff\xd9")
