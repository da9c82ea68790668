"""Synthetic slide files: what OpenSlide finds in them, and what writing them needs."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile

from phenolens.core.types import Rgb
from phenolens.synth.slides import Layout, write


def ramp(x: int, y: int, width: int, height: int) -> Rgb:
    """A picture whose colour says where it is."""
    rows, columns = np.mgrid[y : y + height, x : x + width]
    return np.stack([rows // 8 % 256, columns // 8 % 256, (rows + columns) // 16 % 256], axis=-1).astype(np.uint8)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slide") / "a.svs"
    write(path, ramp, Layout(width=1501, height=1203, mpp=0.46, label="P001-A"))
    return path


def test_openslide_reads_vendor_mpp_levels_and_pictures(slide: Path) -> None:
    with openslide.OpenSlide(slide) as opened:
        assert opened.properties["openslide.vendor"] == "aperio"
        assert float(opened.properties["openslide.mpp-x"]) == pytest.approx(0.46)
        assert opened.level_dimensions == ((1501, 1203), (375, 300))
        assert {"label", "macro", "thumbnail"} == set(opened.associated_images)


def test_pixels_of_every_level_are_what_was_painted(slide: Path) -> None:
    with openslide.OpenSlide(slide) as opened:
        for level, factor in enumerate((1, 4)):
            seen = np.asarray(opened.read_region((400, 800), level, (80, 60)).convert("RGB"), dtype=float)
            painted = ramp(400, 800, 80 * factor, 60 * factor).reshape(60, factor, 80, factor, 3).mean((1, 3))
            assert np.abs(seen - painted).mean() < 4


def test_edge_tiles_hold_the_slides_last_rows(slide: Path) -> None:
    with openslide.OpenSlide(slide) as opened:
        seen = np.asarray(opened.read_region((1461, 1163), 0, (40, 40)).convert("RGB"), dtype=float)
    assert np.abs(seen - ramp(1461, 1163, 40, 40)).mean() < 4


def test_pages_are_tiled_jpeg_in_aperios_order(slide: Path) -> None:
    with tifffile.TiffFile(slide) as opened:
        assert [page.is_tiled for page in opened.pages] == [True, False, True, False, False]
        assert opened.pages[0].compression.name == "JPEG"
        assert opened.pages[0].photometric.name == "YCBCR"


def test_slide_without_mpp_states_neither_mpp_nor_magnification(tmp_path: Path) -> None:
    write(tmp_path / "a.svs", ramp, Layout(width=600, height=500, mpp=None))
    with openslide.OpenSlide(tmp_path / "a.svs") as opened:
        assert opened.properties["openslide.vendor"] == "aperio"
        assert "openslide.mpp-x" not in opened.properties
        assert "openslide.objective-power" not in opened.properties


def test_same_call_gives_same_bytes(slide: Path, tmp_path: Path) -> None:
    write(tmp_path / "b.svs", ramp, Layout(width=1501, height=1203, mpp=0.46, label="P001-A"))
    assert (tmp_path / "b.svs").read_bytes() == slide.read_bytes()


def test_painter_is_never_asked_for_more_than_two_rows_of_tiles(tmp_path: Path) -> None:
    asked: list[tuple[int, int]] = []

    def watched(x: int, y: int, width: int, height: int) -> Rgb:
        asked.append((width, height))
        return ramp(x, y, width, height)

    write(tmp_path / "a.svs", watched, Layout(width=3000, height=1800, mpp=0.5))
    assert max(width for width, _ in asked) <= 2048
    assert max(height for _, height in asked) <= 512
    assert sum(width * height for width, height in asked) == 3000 * 1800


def test_memory_of_a_pooled_slide_stays_far_below_its_size(tmp_path: Path) -> None:
    pool = [ramp(0, 300 * i, 256, 256) for i in range(4)]
    tracemalloc.start()
    try:
        write(tmp_path / "a.svs", ramp, Layout(width=8192, height=16_384, mpp=0.25, levels=3), pool=pool)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8192 * 16_384 * 3 / 8
    with openslide.OpenSlide(tmp_path / "a.svs") as opened:
        assert opened.level_dimensions == ((8192, 16_384), (2048, 4096), (512, 1024))


def test_pool_of_a_wrong_tile_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="256 x 256"):
        write(tmp_path / "a.svs", ramp, Layout(width=600, height=500, mpp=0.5), pool=[ramp(0, 0, 128, 128)])
    assert list(tmp_path.iterdir()) == []
