"""Faults of staining, focus, ink, mounting and compression put on tiles, in doses: how far does a prediction follow?

Every fault is a function of the tile, where it lies and the dose, so that it is the same on every machine.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from scipy import ndimage

from phenolens.core.types import FloatArray, Rgb
from phenolens.slides.stain import WHITE, optical_density, stain_matrix

Kind = Literal["stain", "blur", "jpeg", "pen", "fold"]
DOSES: dict[Kind, tuple[float, ...]] = {
    "stain": (0.1, 0.25, 0.5),
    "blur": (0.5, 1.0, 2.0),
    "jpeg": (70.0, 40.0, 15.0),
    "pen": (0.05, 0.15, 0.3),
    "fold": (0.05, 0.15, 0.3),
}
UNITS: dict[Kind, str] = {
    "stain": "more haematoxylin and less eosin by this share",
    "blur": "standard deviation of the blur in micrometres",
    "jpeg": "JPEG quality",
    "pen": "share of tiles crossed by a blue pen",
    "fold": "share of tiles with a fold",
}
_INK = (28, 40, 120)
_BAND = 0.25
"""Width of a stroke or a fold, as a share of the tile's side."""


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """One fault at one dose (`DOSES`, in `UNITS`)."""

    kind: Kind
    dose: float

    def __post_init__(self) -> None:
        if self.kind not in DOSES or not self.dose > 0:
            raise ValueError(f"fault {self.kind!r} at dose {self.dose}; kinds are {', '.join(DOSES)}, doses above 0")

    def apply(self, tiles: Rgb, xy: npt.NDArray[np.int64], mpp: float) -> Rgb:
        """The tiles (n, s, s, 3) with the fault; xy (n, 2) is where they lie, mpp their micrometres per pixel."""
        if not len(tiles):
            return tiles
        if self.kind == "stain":
            return _restained(tiles, self.dose)
        if self.kind == "blur":
            blurred: Rgb = ndimage.gaussian_filter(tiles, (0, self.dose / mpp, self.dose / mpp, 0))
            return blurred
        if self.kind == "jpeg":
            return np.stack([_compressed(tile, int(self.dose)) for tile in tiles])
        change = _inked if self.kind == "pen" else _folded
        hit = [_chance(self.kind, corner) for corner in xy]
        return np.stack([change(t, a) if c < self.dose else t for t, (c, a) in zip(tiles, hit, strict=True)])


def _chance(kind: str, corner: npt.NDArray[np.int64]) -> tuple[float, float]:
    """A number in 0 to 1 and an angle, by the place of the tile alone: a higher dose hits the same tiles and more."""
    draw = np.random.default_rng([len(kind), *map(int, np.abs(corner))])
    return float(draw.random()), float(draw.uniform(0, np.pi))


def _restained(tiles: Rgb, dose: float) -> Rgb:
    matrix = stain_matrix()
    amounts = optical_density(tiles).astype(np.float64) @ np.linalg.inv(matrix)
    amounts *= np.array([1 + dose, 1 - dose, 1.0])
    intensity = 10 ** -(amounts @ matrix) * (np.asarray(WHITE) + 1) - 1
    stained: Rgb = np.clip(np.rint(intensity), 0, 255).astype(np.uint8)
    return stained


def _compressed(tile: Rgb, quality: int) -> Rgb:
    held = io.BytesIO()
    Pillow.fromarray(tile).save(held, format="JPEG", quality=quality, subsampling=2)
    return np.asarray(Pillow.open(held).convert("RGB"))


def _across(side: int, angle: float) -> FloatArray:
    """1 in the middle of a band through the tile's centre at an angle, falling to 0 at its edges, (side, side)."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    away = np.abs(x * np.sin(angle) - y * np.cos(angle)) / (_BAND * side / 2)
    band: FloatArray = np.clip(1 - away**4, 0, 1).astype(np.float32)
    return band


def _inked(tile: Rgb, angle: float) -> Rgb:
    band = 0.85 * _across(tile.shape[0], angle)[..., None]
    inked: Rgb = np.rint(tile * (1 - band) + np.array(_INK) * band).astype(np.uint8)
    return inked


def _folded(tile: Rgb, angle: float) -> Rgb:
    """Two layers of tissue take up twice the light."""
    band = _across(tile.shape[0], angle)[..., None]
    light = (tile.astype(np.float64) + 1) / 256
    folded: Rgb = np.clip(np.rint(light ** (1 + band) * 256 - 1), 0, 255).astype(np.uint8)
    return folded
