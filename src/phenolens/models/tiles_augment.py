"""Chance changes of tiles in training: turns and flips, a little zoom, and a jitter of the two stains.

Everything is drawn from one generator a tile, which is keyed by seed, epoch and the place of the tile in the epoch.
Pixels are turned where they are decoded; zoom and stains are done on the device, a batch at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from phenolens.core.types import Rgb

T = TypeVar("T", bound=np.generic)
STAINS = ((0.650, 0.704, 0.286), (0.072, 0.990, 0.105), (0.268, 0.570, 0.776))
"""Optical density of red, green and blue of haematoxylin, eosin and what is left (Ruifrok and Johnston 2001)."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far a training tile is changed.

    geometry: whether it is turned, flipped and zoomed. zoom z: the side of what is kept of it lies in 1 − z to 1 of its
    own. stain s: each stain is scaled by 1 ± s, and by `shift` its density is moved up or down at most; both uniform
    (in the manner of Tellez et al., IEEE Trans Med Imaging 37 (2018) 2126–2136, section III).
    """

    geometry: bool = True
    zoom: float = 0.15
    stain: float = 0.0
    shift: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is done to one tile: quarter turns, a flip, the side kept and where it lies (x, y in −1 to 1), and for each
    stain a factor and a shift."""

    turns: int = 0
    flip: bool = False
    side: float = 1.0
    at: tuple[float, float] = (0.0, 0.0)
    factor: tuple[float, float, float] = (1.0, 1.0, 1.0)
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @classmethod
    def drawn(cls, rng: np.random.Generator, how: Augmentation) -> Change:
        """The change of one tile; eleven numbers are drawn, whatever is asked for."""
        u = rng.random(11)
        turns, flip = (int(u[0] * 4), bool(u[1] < 0.5)) if how.geometry else (0, False)
        side = 1 - how.zoom * u[2] if how.geometry else 1.0
        at = (2 * u[3] - 1, 2 * u[4] - 1) if how.geometry else (0.0, 0.0)
        factor, shift = 1 + how.stain * (2 * u[5:8] - 1), how.shift * (2 * u[8:11] - 1)
        return cls(turns=turns, flip=flip, side=side, at=at, factor=tuple(factor), shift=tuple(shift))


def turned(tile: npt.NDArray[T], change: Change) -> npt.NDArray[T]:
    """The tile (s, s, 3), or its mask (s, s), flipped and turned."""
    held = tile[:, ::-1] if change.flip else tile
    return np.rot90(held, change.turns)


def zoomed(pixels: torch.Tensor, changes: Sequence[Change], by: str = "bilinear") -> torch.Tensor:
    """What is kept of each tile (n, c, s, s), at the size it had; masks by "nearest"."""
    if all(c.side == 1 for c in changes):
        return pixels
    theta = [[[c.side, 0, c.at[0] * (1 - c.side)], [0, c.side, c.at[1] * (1 - c.side)]] for c in changes]
    grid = functional.affine_grid(torch.tensor(theta, dtype=pixels.dtype), list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels, grid.to(pixels.device), by, padding_mode="border", align_corners=False)


def stained(pixels: torch.Tensor, factor: npt.ArrayLike, shift: npt.ArrayLike) -> torch.Tensor:
    """Tiles (n, 3, s, s) in 0 to 1 with each stain's density times `factor` (n, 3) plus `shift` (n, 3).

    Densities are natural logarithms; a tile with factor 1 and shift 0 stays as it is.
    """
    stains = torch.tensor(STAINS, dtype=torch.float64)
    stains = stains / stains.norm(dim=1, keepdim=True)
    there = torch.linalg.inv(stains).to(pixels)
    density = -torch.log((pixels * 255 + 1) / 256)
    amount = torch.einsum("nchw,cs->nshw", density, there)
    by, plus = (torch.as_tensor(np.asarray(v)).to(pixels)[:, :, None, None] for v in (factor, shift))
    made = torch.einsum("nshw,sc->nchw", amount * by + plus, stains.to(pixels))
    return ((torch.exp(-made) * 256 - 1) / 255).clamp(0, 1)


def as_pixels(tiles: Rgb, device: torch.device) -> torch.Tensor:
    """Tiles (n, s, s, 3) as (n, 3, s, s) in 0 to 1 on the device."""
    held = torch.from_numpy(np.ascontiguousarray(tiles)).to(device, non_blocking=True)
    return held.permute(0, 3, 1, 2).to(torch.float32).div_(255).contiguous()


def changed(pixels: torch.Tensor, changes: Sequence[Change]) -> torch.Tensor:
    """Tiles (n, 3, s, s) in 0 to 1 with what `turned` left: the zoom and the stains."""
    pixels = zoomed(pixels, changes)
    factor, shift = np.array([c.factor for c in changes]), np.array([c.shift for c in changes])
    if (factor == 1).all() and (shift == 0).all():
        return pixels
    return stained(pixels, factor, shift)
