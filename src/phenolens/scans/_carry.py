"""A region from one grid to another by physical position: each voxel takes the value at the nearest voxel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import ImageError
from phenolens.core.types import Frame
from phenolens.scans.geometry import Roi, roi_of, to_index, to_mm

Matrix = npt.NDArray[np.float64]
"""Shape (4, 4), from mm of the scan to mm of the mask."""


def carry(roi: Roi, frame: Frame, *, matrix: Matrix | None, where: str) -> Roi:
    """The region on the grid of `frame`: a voxel is inside where the nearest voxel of roi's grid is.

    Raises ImageError, with the boxes of both in mm, where nothing of the region lies on a voxel of `frame`.
    """
    matrix = np.eye(4) if matrix is None else np.asarray(matrix, dtype=np.float64)
    back: Matrix = np.linalg.inv(matrix).astype(np.float64)
    ends = _corners(roi) @ back[:3, :3].T + back[:3, 3]
    lo = np.floor(to_index(frame, ends).min(0) - 1e-6).astype(int)
    hi = np.ceil(to_index(frame, ends).max(0) + 1e-6).astype(int) + 1
    lo, hi = np.maximum(lo, 0), np.minimum(hi, frame.shape)
    found = _sampled(roi, frame, matrix, lo, hi) if (hi > lo).all() else None
    if found is None:
        raise _nothing_left(roi, frame, ends, where)
    lost = _lost(roi, frame, back)
    cut = (f"{lost:.1%} of the region lies outside the scan and is left out",) if lost > 0.001 else ()
    grid = " x ".join(str(n) for n in roi.frame.shape)
    moved = f"mask brought from its grid of {grid} voxels to the scan's by position (nearest voxel)"
    return replace(found, notes=(*roi.notes, moved, *cut))


def region_box(roi: Roi) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The lowest and highest x, y, z in mm of the region's box, edges of voxels included."""
    ends = _corners(roi)
    return ends.min(0), ends.max(0)


def scan_box(frame: Frame) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The lowest and highest x, y, z in mm of a grid, edges of voxels included."""
    ends = to_mm(frame, _cube() * np.array(frame.shape) - 0.5)
    return ends.min(0), ends.max(0)


def said_box(box: tuple[Sequence[float] | npt.NDArray[np.float64], Sequence[float] | npt.NDArray[np.float64]]) -> str:
    """A box in words: x -100 to 100, y …, z … mm."""
    parts = (f"{axis} {low:.0f} to {high:.0f}" for axis, low, high in zip("xyz", *box, strict=True))
    return f"{', '.join(parts)} mm"


def _cube() -> npt.NDArray[np.float64]:
    return np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=np.float64)


def _corners(roi: Roi) -> npt.NDArray[np.float64]:
    return to_mm(roi.frame, np.array(roi.lo) - 0.5 + _cube() * np.array(roi.size))


def _sampled(roi: Roi, frame: Frame, matrix: Matrix, lo: npt.NDArray[np.int_], hi: npt.NDArray[np.int_]) -> Roi | None:
    """Slice by slice: memory is that of one slice and the box of the region."""
    made = np.zeros((hi - lo)[::-1], dtype=np.bool_)
    y, x = np.mgrid[lo[1] : hi[1], lo[0] : hi[0]]
    for z in range(lo[2], hi[2]):
        mm = to_mm(frame, np.stack([x, y, np.full_like(x, z)], axis=-1)) @ matrix[:3, :3].T + matrix[:3, 3]
        at = np.floor(to_index(roi.frame, mm) + 0.5 + 1e-9).astype(int) - np.array(roi.lo)
        fits = ((at >= 0) & (at < np.array(roi.size))).all(-1)
        i, j, k = np.moveaxis(np.where(fits[..., None], at, 0), -1, 0)
        made[z - lo[2]] = fits & roi.inside[k, j, i]
    return roi_of(made, frame, lo=(int(lo[0]), int(lo[1]), int(lo[2])))


def _lost(roi: Roi, frame: Frame, back: Matrix) -> float:
    """Share of the region's voxels whose centres lie outside the scan."""
    lost = 0
    for z, plane in enumerate(roi.inside):
        y, x = np.nonzero(plane)
        index = np.stack([x, y, np.full_like(x, z)], axis=-1) + np.array(roi.lo)
        at = to_index(frame, to_mm(roi.frame, index) @ back[:3, :3].T + back[:3, 3])
        lost += int(((at < -0.5 - 1e-6) | (at > np.array(frame.shape) - 0.5 + 1e-6)).any(-1).sum())
    return lost / roi.voxels


def _nothing_left(roi: Roi, frame: Frame, ends: npt.NDArray[np.float64], where: str) -> ImageError:
    region, scan = (ends.min(0), ends.max(0)), scan_box(frame)
    apart = bool((region[0] > scan[1]).any() or (region[1] < scan[0]).any())
    what = "that lies outside the scan" if apart else "that covers the centre of no voxel of the scan"
    return ImageError(
        f"a region of {roi.voxels} voxels ({roi.mm3:.4g} mm3) {what}: region {said_box(region)}; scan {said_box(scan)}",
        expected="a region on the scan, both in the patient's mm",
        todo="check that the mask was drawn on this patient's scan of this day, and that neither file lost its origin",
        where=where,
    )
