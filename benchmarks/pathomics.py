"""Tiles per CPU-second of the encoder `pathomics`, and how the time divides among its stages.

    python benchmarks/pathomics.py                  # drawn tissue, 224 px at 0.5 mpp
    python benchmarks/pathomics.py SLIDE [MPP]      # tissue tiles of a slide at its finest level

Goal: at most 12 ms a tile on one core.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from phenolens.core.types import Rgb
from phenolens.features.encoders.pathomics import encode
from phenolens.features.pathomics import arrangement, colour, population, shape, spaces, texture
from phenolens.features.pathomics.nuclei import segment
from phenolens.features.pathomics.scene import make_scene

SIZE_PX = 224
MOST_TILES = 60


def drawn_tiles(count: int, mpp: float, seed: int = 0) -> Rgb:
    """Pink tiles with about 60 blue ellipses each and some noise, (count, 224, 224, 3)."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:SIZE_PX, :SIZE_PX] * mpp
    tiles = np.empty((count, SIZE_PX, SIZE_PX, 3), np.uint8)
    for tile in tiles:
        blue = np.zeros(row.shape, bool)
        for y, x in rng.uniform(0, SIZE_PX * mpp, (60, 2)):
            turn, long, wide = rng.uniform(0, np.pi), rng.uniform(3, 7), rng.uniform(2, 3)
            along = (column - x) * np.cos(turn) + (row - y) * np.sin(turn)
            across = (row - y) * np.cos(turn) - (column - x) * np.sin(turn)
            blue |= (along / long) ** 2 + (across / wide) ** 2 <= 1
        picture = np.where(blue[..., None], (90.0, 60.0, 140.0), (225.0, 165.0, 200.0))
        tile[:] = np.clip(picture + rng.normal(0, 6, picture.shape), 0, 255)
    return tiles


def slide_tiles(path: str) -> Rgb:
    """Up to 60 stained tiles of a slide, evenly over it."""
    import openslide

    with openslide.OpenSlide(path) as slide:
        width, height = slide.dimensions
        places = [(x, y) for y in range(0, height - SIZE_PX, SIZE_PX) for x in range(0, width - SIZE_PX, SIZE_PX)]
        tiles = [np.asarray(slide.read_region(at, 0, (SIZE_PX, SIZE_PX)).convert("RGB")) for at in places]
    stained = [tile for tile in tiles if tile.mean() < 215]
    return np.stack(stained[:: max(1, len(stained) // MOST_TILES)][:MOST_TILES])


def stages(tiles: Rgb, mpp: float) -> dict[str, float]:
    """CPU seconds of each stage over all tiles."""
    spent: dict[str, float] = {}

    def clock(name: str, work: Callable[..., Any], *given: Any) -> Any:
        start = time.process_time()
        made = work(*given)
        spent[name] = spent.get(name, 0.0) + time.process_time() - start
        return made

    for tile in tiles:
        scene = clock("stains and tissue", make_scene, tile, mpp)
        labels = clock("nuclei: find", segment, scene)
        nuclei = clock("nuclei: measure", shape.measure, labels, scene)
        clock("nuclei: sum up", population.summarise, nuclei, 1, scene)
        clock("colour", colour.measure, scene)
        clock("arrangement", arrangement.measure, nuclei, scene.tissue_mm2)
        clock("spaces", spaces.measure, scene, nuclei)
        clock("texture", texture.measure, scene)
    return spent


def main() -> None:
    """Print the figures."""
    mpp = float(sys.argv[2]) if len(sys.argv) > 2 else 0.5
    tiles = slide_tiles(sys.argv[1]) if len(sys.argv) > 1 else drawn_tiles(MOST_TILES, mpp)
    encode(tiles[:2], mpp)
    best = np.inf
    for _ in range(3):
        start = time.process_time()
        encode(tiles, mpp)
        best = min(best, time.process_time() - start)
    print(f"{len(tiles)} tiles of {SIZE_PX} px at {mpp} mpp")
    print(f"{len(tiles) / best:.0f} tiles per CPU-second, {best / len(tiles) * 1e3:.1f} ms a tile (best of 3)")
    spent = stages(tiles, mpp)
    for name, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"  {name:20s}{seconds / sum(spent.values()):6.1%}")


if __name__ == "__main__":
    main()
