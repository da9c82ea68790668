"""Tiles as they might also have been seen: mirrored, turned, nearer, stained otherwise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from phenolens.core.types import FloatArray, Rgb

Mask = npt.NDArray[np.bool_]
_STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
"""Haematoxylin, eosin and DAB in optical density of red, green and blue (Ruifrok and Johnston, Anal Quant Cytol Histol
2001;23:291-299)."""
_VECTORS = (_STAINS / np.linalg.norm(_STAINS, axis=1, keepdims=True)).astype(np.float32)
_APART = np.linalg.inv(_VECTORS).astype(np.float32)
_DENSITY = (-np.log((np.arange(256) + 1) / 256)).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class TileAugmentation:
    """How far a training tile is changed.

    crop: the least side of the part that is kept and enlarged to the whole. stain: how far the amount of each stain is
    scaled (1 - stain to 1 + stain), and a third of that, in optical density, how far it is shifted.
    """

    crop: float = 0.7
    stain: float = 0.1


def changed(tile: Rgb, mask: Mask, settings: TileAugmentation, draw: np.random.Generator) -> tuple[Rgb, Mask]:
    """A square tile (s, s, 3) and its mask (s, s) cropped, mirrored, turned by quarters and stained otherwise."""
    tile, mask = _cropped(tile, mask, settings.crop, draw)
    turns, mirror = int(draw.integers(4)), bool(draw.integers(2))
    tile, mask = np.rot90(tile, turns), np.rot90(mask, turns)
    if mirror:
        tile, mask = tile[:, ::-1], mask[:, ::-1]
    return restained(tile, settings.stain, draw), np.ascontiguousarray(mask)


def _cropped(tile: Rgb, mask: Mask, least: float, draw: np.random.Generator) -> tuple[Rgb, Mask]:
    side = len(tile)
    kept = max(1, round(side * draw.uniform(least, 1)))
    x, y = (int(v) for v in draw.integers(0, side - kept + 1, 2))
    if kept == side:
        return tile, mask
    box, size = (x, y, x + kept, y + kept), (side, side)
    picture = Image.fromarray(tile).resize(size, Image.Resampling.BILINEAR, box=box)
    outline = Image.fromarray(mask).resize(size, Image.Resampling.NEAREST, box=box)
    return np.asarray(picture), np.asarray(outline, dtype=np.bool_)


def restained(tile: Rgb, amount: float, draw: np.random.Generator) -> Rgb:
    """A tile (..., 3) with each stain scaled and shifted by chance, in the space of haematoxylin, eosin and DAB.

    Tellez et al., IEEE Trans Med Imaging 2018;37:2126-2136, section III.
    """
    scale = draw.uniform(1 - amount, 1 + amount, 3).astype(np.float32)
    shift = draw.uniform(-amount / 3, amount / 3, 3).astype(np.float32)
    stains: FloatArray = _DENSITY[tile] @ _APART * scale + shift
    made: Rgb = np.clip(256 * np.exp(-(stains @ _VECTORS)) - 1, 0, 255).round().astype(np.uint8)
    return made
