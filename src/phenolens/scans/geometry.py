"""Positions on scans: index ↔ mm, equal grids, regions of interest and crops.

Index order is x, y, z, as in `Frame`; arrays are [z, y, x]. mm are the patient coordinates of DICOM (LPS): x grows to
the patient's left, y to the back, z to the head. `Frame.origin` is the centre of voxel (0, 0, 0); `Frame.direction`
holds the 3 x 3 matrix row by row whose columns are the axes of x, y and z.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.core.types import FloatArray, Frame

Mask = npt.NDArray[np.bool_]
"""Shape (z, y, x)."""
Index = tuple[int, int, int]
"""x, y, z."""
_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def axes(frame: Frame) -> npt.NDArray[np.float64]:
    """The direction matrix (3, 3); its columns are unit vectors along x, y and z."""
    return np.array(frame.direction or _IDENTITY, dtype=np.float64).reshape(3, 3)


def to_mm(frame: Frame, index: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Positions in mm of (…, 3) indices x, y, z; fractions allowed."""
    at = np.asarray(index, dtype=np.float64) * np.asarray(frame.spacing)
    moved: npt.NDArray[np.float64] = at @ axes(frame).T + np.asarray(frame.origin)
    return moved


def to_index(frame: Frame, mm: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Indices x, y, z (fractions) of (…, 3) positions in mm."""
    away = np.asarray(mm, dtype=np.float64) - np.asarray(frame.origin)
    found: npt.NDArray[np.float64] = away @ np.linalg.inv(axes(frame)).T / np.asarray(frame.spacing)
    return found


def same_grid(a: Frame, b: Frame, *, tolerance: float = 0.01) -> bool:
    """Whether all corners of two frames of one shape lie within `tolerance` voxels of each other."""
    if a.shape != b.shape:
        return False
    ends = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * (np.array(a.shape) - 1)
    return bool(np.abs(to_index(a, to_mm(b, ends)) - ends).max() <= tolerance)


def cropped(frame: Frame, lo: Index, shape: Index) -> Frame:
    """The frame of a box of voxels that starts at index `lo`; it may reach outside."""
    return replace(frame, shape=shape, origin=tuple(float(v) for v in to_mm(frame, lo)))


@dataclass(frozen=True, kw_only=True)
class Roi:
    """A region on a scan: `inside` (z, y, x) is its tight crop, which starts at index `lo` of the scan's `frame`.

    `notes` says what was done to get it (resampled from another grid, repaired contours).
    """

    lo: Index
    inside: Mask
    frame: Frame
    notes: tuple[str, ...] = ()

    @property
    def voxels(self) -> int:
        return int(np.count_nonzero(self.inside))

    @property
    def mm3(self) -> float:
        return self.voxels * float(np.prod(self.frame.spacing))

    @property
    def size(self) -> Index:
        """Voxels along x, y, z of the tight box."""
        z, y, x = self.inside.shape
        return x, y, z

    def box(self, margin_mm: float) -> tuple[Index, Index]:
        """(lo, shape) of the tight box grown by `margin_mm` on every side, cut at the edges of the frame."""
        grow = np.ceil(margin_mm / np.asarray(self.frame.spacing) - 1e-9).astype(int)
        lo = np.maximum(np.array(self.lo) - grow, 0)
        hi = np.minimum(np.array(self.lo) + np.array(self.size) + grow, np.array(self.frame.shape))
        return _index(lo), _index(hi - lo)

    def within(self, lo: Index, shape: Index) -> Mask:
        """The mask (z, y, x) of a box that holds the tight box."""
        made = np.zeros(shape[::-1], dtype=np.bool_)
        x, y, z = (a - b for a, b in zip(self.lo, lo, strict=True))
        w, h, d = self.size
        made[z : z + d, y : y + h, x : x + w] = self.inside
        return made


def roi_of(mask: npt.NDArray[Any], frame: Frame, *, lo: Index = (0, 0, 0), notes: tuple[str, ...] = ()) -> Roi | None:
    """The tight region of a mask (z, y, x) that starts at `lo` of `frame`; None when it is empty."""
    ends = []
    for axis in (2, 1, 0):
        filled = np.flatnonzero(mask.any(axis=tuple(a for a in (0, 1, 2) if a != axis)))
        if not len(filled):
            return None
        ends.append((int(filled[0]), int(filled[-1]) + 1))
    (x0, x1), (y0, y1), (z0, z1) = ends
    inside = np.ascontiguousarray(mask[z0:z1, y0:y1, x0:x1] != 0)
    return Roi(lo=(lo[0] + x0, lo[1] + y0, lo[2] + z0), inside=inside, frame=frame, notes=notes)


@dataclass(frozen=True, kw_only=True)
class Crop:
    """What an encoder for scans is handed: intensities x (z, y, x) float32 around a region, the region on the same
    grid, and the frame of the crop. `sequence` is what kind of image it is ("T2", "CT", …).
    """

    x: FloatArray
    inside: Mask
    frame: Frame
    sequence: str = ""


def _index(values: npt.NDArray[Any]) -> Index:
    x, y, z = (int(v) for v in values)
    return x, y, z
