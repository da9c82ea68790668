"""Tiles per CPU-second: OpenSlide against decoding the stored JPEG tiles directly, on the same slide.

    python benchmarks/tiles.py [SLIDE]

Without SLIDE a tiled, pyramidal JPEG TIFF of about 8,000 px is made in a temporary folder and removed. Every tile is
aligned with the stored tiles of level 0. "OpenSlide" is `read_region` at its best level for the factor and then, where
that is finer, the mean over the px (Pillow); "direct" is `Slide.read_tiles`, which decodes with DCT scaling. CPU time
of the process, each round on a newly opened slide, the two ways in turn, median of the rounds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import openslide
import tifffile
from PIL import Image, ImageFilter

from phenolens.slides.image import open_slide

ROUNDS = 5
FACTORS = (1, 2, 4)
MOST_TILES = 400


def make_slide(path: Path, side: int = 8192, tile: int = 256) -> None:
    """A pyramid of two levels (1 and 8) of discs like nuclei, about 20 px wide, on a noisy ground."""
    rng = np.random.default_rng(0)
    patch = rng.integers(150, 240, (1024, 1024, 3), dtype=np.uint8)
    soft = np.asarray(Image.fromarray(patch).filter(ImageFilter.GaussianBlur(1.5))).astype(np.float32)
    y, x = np.mgrid[:1024, :1024]
    for cx, cy, r in zip(*rng.integers(0, 1024, (2, 900)), rng.integers(6, 14, 900), strict=True):
        soft[(x - cx) ** 2 + (y - cy) ** 2 < r * r] -= (60, 80, 20)
    base = np.tile(np.clip(soft, 0, 255).astype(np.uint8), (side // 1024, side // 1024, 1))
    with tifffile.TiffWriter(path) as file:
        for i, less in enumerate((1, 8)):
            level = np.asarray(Image.fromarray(base).reduce(less))
            file.write(
                level,
                tile=(tile, tile),
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": 80},
                subfiletype=int(i > 0),
                resolution=(40_000 / less, 40_000 / less),
                resolutionunit="CENTIMETER",
            )


def corners(path: Path, factor: int) -> tuple[np.ndarray, int]:
    """Top left corners of aligned tiles, at most MOST_TILES, and their side in level-0 px: `factor` stored tiles."""
    with open_slide(path, mpp=0.25) as slide:
        grid = slide._source.grid(0)  # type: ignore[attr-defined]
        if grid is None:
            raise SystemExit(f"{path}: no JPEG tiles that can be decoded directly; there is nothing to compare")
        side = grid.tile[0] * factor
        width, height = slide.frame.shape
    xy = [(x, y) for y in range(0, height - side + 1, side) for x in range(0, width - side + 1, side)]
    return np.array(xy[:: max(1, len(xy) // MOST_TILES)][:MOST_TILES]), side


def by_openslide(path: Path, xy: np.ndarray, side: int, factor: int) -> tuple[np.ndarray, float]:
    """The tiles and the CPU seconds they took."""
    with openslide.OpenSlide(path) as slide:
        begin = time.process_time()
        level = slide.get_best_level_for_downsample(factor)
        px, size = round(side / slide.level_downsamples[level]), side // factor
        tiles = []
        for x, y in xy.tolist():
            tile = slide.read_region((x, y), level, (px, px)).convert("RGB")
            if px != size:
                tile = tile.reduce(px // size) if px % size == 0 else tile.resize((size, size), Image.Resampling.BOX)
            tiles.append(np.asarray(tile))
        return np.stack(tiles), time.process_time() - begin


def directly(path: Path, xy: np.ndarray, side: int, factor: int) -> tuple[np.ndarray, float]:
    """The tiles and the CPU seconds they took, finding the stored tiles included."""
    with open_slide(path, mpp=0.25) as slide:
        begin = time.process_time()
        tiles = slide.read_tiles(xy, side, side // factor)
        return tiles, time.process_time() - begin


def compare(path: Path) -> None:
    print(f"{'factor':>6} {'tiles':>6} {'OpenSlide':>10} {'direct':>10} {'ratio':>6}   difference (mean, of 255)")
    for factor in FACTORS:
        xy, side = corners(path, factor)
        if not len(xy):
            print(f"{factor:>6}   the slide is smaller than one tile")
            continue
        seconds: dict[str, list[float]] = {"OpenSlide": [], "direct": []}
        for _ in range(ROUNDS):
            theirs, took = by_openslide(path, xy, side, factor)
            seconds["OpenSlide"].append(took)
            ours, took = directly(path, xy, side, factor)
            seconds["direct"].append(took)
        slow, fast = (len(xy) / float(np.median(seconds[name])) for name in ("OpenSlide", "direct"))
        apart = float(np.abs(ours.astype(np.int16) - theirs).mean())
        print(f"{factor:>6} {len(xy):>6} {slow:>8.0f}/s {fast:>8.0f}/s {fast / slow:>5.1f}x   {apart:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Tiles per CPU-second, OpenSlide against direct decoding.")
    parser.add_argument("slide", nargs="?", type=Path, help="a slide with JPEG tiles (svs, tiled TIFF)")
    slide = parser.parse_args().slide
    if slide is not None:
        compare(slide)
        return
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "aligned.tif"
        make_slide(made)
        compare(made)


if __name__ == "__main__":
    main()
