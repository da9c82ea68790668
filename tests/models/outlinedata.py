"""Tiles in memory for tests of models that read tiles: dark nuclei inside an outline, fibres outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import imagecodecs
import numpy as np
from scipy import ndimage

from phenolens.core.tileset import TileSet
from phenolens.core.types import Example, Frame, Part

FRAME = Frame(shape=(4000, 4000), spacing=(2.0, 2.0), origin=(0.0, 0.0), unit="um")


@dataclass(frozen=True)
class Held:
    """Encoded pictures in memory."""

    data: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.data)

    def read(self, rows: Sequence[int]) -> list[bytes]:
        return [self.data[r] for r in rows]


@dataclass(frozen=True)
class Source:
    tiles: TileSet

    def load(self) -> TileSet:
        return self.tiles


def tile_set(n: int, seed: int, *, px: int = 32, mpp: float = 2.0, outlines: bool = True) -> TileSet:
    """n tiles of which about half are outlined, some in part."""
    draw = np.random.default_rng(seed)
    pictures, masks = [], []
    for i in range(n):
        y, x = np.mgrid[:px, :px]
        a = draw.uniform(0, 2 * np.pi)
        line = (x - px / 2) * np.cos(a) + (y - px / 2) * np.sin(a)
        mask = line > draw.uniform(-px / 3, px / 3) if i % 3 else np.full((px, px), i % 2 == 0)
        nuclei = ndimage.gaussian_filter(draw.normal(size=(px, px)), 1.0)
        tile = np.full((px, px, 3), (226, 168, 200), float) + draw.normal(0, 4, (px, px, 1))
        tile[mask & (nuclei > 0.3 * nuclei.std())] = (112, 72, 150)
        pictures.append(bytes(imagecodecs.png_encode(tile.clip(0, 255).astype(np.uint8))))
        masks.append(bytes(imagecodecs.png_encode(np.where(mask, np.uint8(255), np.uint8(0)))))
    coords = np.column_stack([np.arange(n) * px * mpp, np.zeros(n)])
    return TileSet(
        data=Held(tuple(pictures)),
        outlines=Held(tuple(masks)) if outlines else None,
        coords=coords,
        extent=px * mpp,
        size_px=px,
        frame=FRAME,
        recipe=f"r{seed}",
    )


def tile_example(name: str, seed: int, n: int = 12, **more: object) -> Example:
    source = Source(tile_set(n, seed, **more))  # type: ignore[arg-type]
    return Example(patient=name, unit_id=f"{name}-HE", parts=(Part(name="slide", image=f"{name}-HE", source=source),))
