"""Tiles on a grid: kept by exact polygon overlap with the region, and drawn per patient in the same way everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from phenolens.core.errors import ImageError
from phenolens.core.store import key_of
from phenolens.core.types import Frame

_LEAF = 8
_UPSCALE = 1.10
_EQUAL = 1.01


@dataclass(frozen=True, kw_only=True)
class TileSettings:
    """How a slide is cut: tile side in px at `mpp` um per px, step between tiles (default: the side), and the draw."""

    size_px: int = 224
    mpp: float = 0.5
    step_px: int | None = None
    max_per_patient: int | None = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size_px < 1:
            raise ValueError(f"size_px is {self.size_px}; it is at least 1")
        if not 0.05 <= self.mpp <= 20:
            raise ValueError(f"mpp is {self.mpp}; micrometres per pixel lie between 0.05 and 20")
        if self.step_px is not None and self.step_px < 1:
            raise ValueError(f"step_px is {self.step_px}; it is at least 1")
        if self.max_per_patient is not None and self.max_per_patient < 1:
            raise ValueError(f"max_per_patient is {self.max_per_patient}; it is at least 1, or null for all")


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Kept tiles: xy (n, 2) int64, top left corners in level-0 px by rows; side in level-0 px; overlap (n,); notes."""

    xy: npt.NDArray[np.int64]
    side: float
    overlap: npt.NDArray[np.float64]
    notes: tuple[str, ...] = ()


def cut(region: Any, frame: Frame, settings: TileSettings, min_overlap: float) -> Grid:
    """The tiles of the grid that hold at least `min_overlap` of their area inside the region.

    region is a polygon or multipolygon in level-0 px, already clipped to the slide; the part of a tile outside the
    slide counts as outside. The grid starts at level-0 (0, 0); corners are rounded to whole pixels and the overlap is
    that of the rounded tile. Raises ImageError where tiles are asked finer than the slide by over 10%, or where none
    is kept.
    """
    notes = check_mpp(frame, settings.mpp)
    side = settings.size_px * settings.mpp / frame.mpp
    step = (settings.step_px or settings.size_px) * settings.mpp / frame.mpp
    xs, ys = (_corners(region.bounds, axis, step, side) for axis in (0, 1)) if not region.is_empty else ((), ())
    share = overlaps(region, np.asarray(xs, np.int64), np.asarray(ys, np.int64), side)
    keep = (share >= min_overlap - 1e-9) & (share > 0)
    if not keep.any():
        best = float(share.max()) if share.size else 0.0
        um = settings.size_px * settings.mpp
        raise ImageError(
            f"no tile: of {share.size} tiles of {um:g} um the best lies {best:.0%} inside the region",
            expected=f"a tile with at least {min_overlap:.0%} inside",
            todo="look at the contour of this slide; lower region.min_overlap or make the tiles smaller",
        )
    rows, columns = np.nonzero(keep)
    xy = np.stack([np.asarray(xs)[columns], np.asarray(ys)[rows]], axis=1).astype(np.int64)
    return Grid(xy=xy, side=side, overlap=share[keep], notes=notes)


def overlaps(region: Any, xs: npt.NDArray[np.int64], ys: npt.NDArray[np.int64], side: float) -> npt.NDArray[np.float64]:
    """Share of each tile's area inside the region, (len(ys), len(xs)); xs and ys are sorted left and top edges.

    The grid is halved until a block is empty, full or 8 x 8 tiles, and the region is clipped along with it, so only
    tiles at the border are intersected, and only with the border near them. Exact up to floating point.
    """
    out = np.zeros((len(ys), len(xs)))
    if len(xs) and len(ys) and not region.is_empty:
        _fill(out, region, xs, ys, side)
    return out


def _fill(
    out: npt.NDArray[np.float64], region: Any, xs: npt.NDArray[np.int64], ys: npt.NDArray[np.int64], side: float
) -> None:
    block = shapely.box(xs[0], ys[0], xs[-1] + side, ys[-1] + side)
    piece = shapely.intersection(region, block)
    if piece.is_empty or piece.area == 0:
        return
    if piece.area >= block.area * (1 - 1e-12):
        out[:] = 1.0
        return
    if len(xs) <= _LEAF and len(ys) <= _LEAF:
        left, top = np.meshgrid(xs, ys)
        boxes = shapely.box(left, top, left + side, top + side)
        out[:] = np.minimum(shapely.area(shapely.intersection(boxes, piece)) / side**2, 1.0)
    elif len(xs) >= len(ys):
        half = len(xs) // 2
        _fill(out[:, :half], piece, xs[:half], ys, side)
        _fill(out[:, half:], piece, xs[half:], ys, side)
    else:
        half = len(ys) // 2
        _fill(out[:half], piece, xs, ys[:half], side)
        _fill(out[half:], piece, xs, ys[half:], side)


def _corners(bounds: tuple[float, ...], axis: int, step: float, side: float) -> npt.NDArray[np.int64]:
    """Corners along one axis of the tiles that can touch the bounds."""
    first = max(0, int(np.floor((bounds[axis] - side - 1) / step)))
    last = int(np.ceil((bounds[axis + 2] + 1) / step))
    return np.unique(np.rint(np.arange(first, last + 1) * step).astype(np.int64))


def check_mpp(frame: Frame, asked: float) -> tuple[str, ...]:
    """Notes on tiles a little finer than the slide; raises ImageError where they are asked finer by over 10%."""
    finer = frame.mpp / asked
    if finer <= _EQUAL:
        return ()
    if finer <= _UPSCALE:
        return (f"tiles at {asked:g} um per px are enlarged {finer:.2f} times from {frame.mpp:.4g} um per px",)
    raise ImageError(
        f"a slide at {frame.mpp:.4g} um per px, tiles asked at {asked:g}",
        expected="tiles no finer than the slide (up to 10% is enlarged with a note)",
        todo=f"set tiles.mpp to {frame.mpp:.2g} or more, or leave this slide out",
    )


def draw(
    counts: Mapping[str, int], max_per_patient: int | None, *, seed: int, patient: str
) -> dict[str, npt.NDArray[np.int64]]:
    """Which tiles of one patient are used: image → sorted indices, at most `max_per_patient` over all images.

    Uniform without replacement over all tiles of the patient. Depends on seed, patient and counts alone: not on the
    order of the images, the machine or the number of workers.
    """
    images = sorted(counts)
    sizes = np.array([counts[image] for image in images], dtype=np.int64)
    total = int(sizes.sum())
    if max_per_patient is None or total <= max_per_patient:
        return {image: np.arange(counts[image], dtype=np.int64) for image in images}
    rng = np.random.default_rng(int(key_of([seed, patient]), 16))
    chosen = np.sort(rng.choice(total, size=max_per_patient, replace=False)).astype(np.int64)
    ends = np.cumsum(sizes)
    return {
        image: chosen[(chosen >= end - size) & (chosen < end)] - (end - size)
        for image, size, end in zip(images, sizes, ends, strict=True)
    }
