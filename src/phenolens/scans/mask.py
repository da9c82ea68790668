"""Masks to regions: a volume of labels, a DICOM segmentation or a structure set, on the scan's grid or any other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import ImageError
from phenolens.core.types import FloatArray, Frame
from phenolens.scans._carry import Matrix, carry, said_box, scan_box
from phenolens.scans.geometry import Roi, roi_of, same_grid
from phenolens.scans.opening import check_readable, decoding, open_source

_BLOCK = 32
"""Slices of a mask that are held as numbers at once."""
_NAMED = 20
"""Most values named in a message."""


def read_roi(
    path: str | os.PathLike[str],
    frame: Frame,
    *,
    value: int | None = None,
    name: str | None = None,
    to_mask: npt.ArrayLike | None = None,
) -> Roi:
    """The region that a mask file draws on the scan with this `frame`.

    value: the label, segment number or ROI number that is meant; None is any non-zero label, or the only segment or
    ROI. name: a segment or ROI by its name instead; "*" is all of them. to_mask: a rigid (4, 4) matrix from mm of the
    scan to mm of the mask; None where both share the patient's mm. A mask on another grid is brought over by position
    to the nearest voxel. Raises ImageError, with numbers, where the mask is empty, lies outside, or has no such value.
    """
    from phenolens.scans._dicom_masks import find_mask, read_segmentation, read_structure

    where = Path(path)
    check_readable(where)
    matrix = None if to_mask is None else _matrix(to_mask, where)
    with decoding(where):
        found = find_mask(where)
        if found is not None and found[1] == "RTSTRUCT":
            return read_structure(found[0], frame, value, name, matrix=matrix)
        roi = _volume(where, value, name) if found is None else read_segmentation(found[0], value, name)
        if matrix is None and same_grid(roi.frame, frame):
            return replace(roi, frame=frame)
        return carry(roi, frame, matrix=matrix, where=str(where))


def components(roi: Roi) -> list[Roi]:
    """The connected parts of a region (26 neighbours), largest first; equal ones by position (z, y, x)."""
    from scipy import ndimage

    labels, _ = ndimage.label(roi.inside, structure=np.ones((3, 3, 3)))
    parts = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        z, y, x = (s.start for s in box)
        lo = (roi.lo[0] + x, roi.lo[1] + y, roi.lo[2] + z)
        parts.append(Roi(lo=lo, inside=labels[box] == number, frame=roi.frame, notes=roi.notes))
    return sorted(parts, key=lambda part: (-part.voxels, part.lo[::-1]))


def largest(roi: Roi) -> Roi:
    """The largest connected part of a region."""
    return components(roi)[0]


def _volume(where: Path, value: int | None, name: str | None) -> Roi:
    """The region of a mask that is a volume of labels, on its own grid."""
    if name is not None:
        raise ImageError(
            f"the name '{name}' asked of a mask that holds numbers",
            expected="a number",
            todo="give the region's number in the column mask_value, or leave it empty for any non-zero voxel",
            where=str(where),
        )
    source, _ = open_source(where)
    with closing(source):
        frame = source.header.frame
        x, y, z = frame.shape
        made = np.zeros((z, y, x), dtype=np.bool_)
        for at, block in _blocks(source.read, frame):
            made[at : at + len(block)] = (block > 0) | (block < 0) if value is None else block == value  # NaN: outside
        roi = roi_of(made, frame, notes=source.header.notes)
        if roi is None:
            found = {
                v for _, block in _blocks(source.read, frame) for v in np.unique(block[np.isfinite(block)]).tolist()
            }
            raise _empty(found - {0.0}, frame, value, where)
    return roi


def _blocks(read: Any, frame: Frame) -> Iterator[tuple[int, FloatArray]]:
    x, y, z = frame.shape
    for at in range(0, z, _BLOCK):
        yield at, read((0, 0, at), (x, y, min(_BLOCK, z - at)))


def _empty(found: set[float], frame: Frame, value: int | None, where: Path) -> ImageError:
    size = " x ".join(str(n) for n in frame.shape)
    if not found:
        what = f"an empty mask: all {int(np.prod(frame.shape))} voxels ({size}; {said_box(scan_box(frame))}) are 0"
        todo = "draw the region, or leave this image out of the images table"
    else:
        named = ", ".join(f"{v:g}" for v in sorted(found)[:_NAMED]) + (" …" if len(found) > _NAMED else "")
        what = f"no voxel of value {value} in a mask of {size} voxels; it holds the values {named}"
        todo = "correct mask_value, or leave it empty for any non-zero voxel"
    return ImageError(what, expected="a region of at least one voxel", todo=todo, where=str(where))


def _matrix(given: npt.ArrayLike, where: Path) -> Matrix:
    matrix = np.asarray(given, dtype=np.float64)
    turn = matrix[:3, :3] if matrix.shape == (4, 4) else np.zeros((3, 3))
    if not (np.isfinite(matrix).all() and np.allclose(turn @ turn.T, np.eye(3), atol=1e-4)):
        raise ImageError(
            f"an alignment of shape {matrix.shape} that is no rotation and shift",
            expected="a rigid (4, 4) matrix from mm of the scan to mm of the mask",
            todo="align the two scans again",
            where=str(where),
        )
    return matrix
