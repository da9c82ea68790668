"""Closed contours in parallel planes to a mask: even-odd rule on voxel centres, planes half way to their neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import ImageError
from phenolens.core.types import Frame
from phenolens.scans._carry import Matrix, carry, said_box, scan_box
from phenolens.scans.geometry import Mask, Roi, roi_of, to_index, to_mm

Points = npt.NDArray[np.float64]
"""Shape (n, 3), mm."""
_FLAT = 0.25
"""How far, in slices, the points of one contour may lie from a plane parallel to the slices."""
_SAME = 0.01
"""Planes nearer than this (mm) are one."""


@dataclass(frozen=True, kw_only=True)
class _Stack:
    """Contours by plane: z (planes,) are heights in slices of a frame, ascending; half is half their distance."""

    z: npt.NDArray[np.float64]
    half: float
    contours: tuple[tuple[Points, ...], ...]


def region_of_contours(contours: Sequence[Points], frame: Frame, *, matrix: Matrix | None, where: str) -> Roi:
    """The region that contours enclose on the grid of `frame`; matrix leads from mm of the scan to mm of the contours.

    A voxel is inside where its centre is enclosed by an odd number of the plane's contours; a slice takes the nearest
    plane within half the distance of planes. Contours that are not parallel to the slices are drawn on a grid of their
    own first. Raises ImageError, with numbers, where no voxel is inside or the planes are not parallel.
    """
    stack = _stacked(contours, frame) if matrix is None else None
    if stack is None:
        own = _own_frame(contours, frame)
        drawn = _stacked(contours, own)
        if drawn is None:
            raise ImageError(
                f"{len(contours)} contours that do not lie in parallel planes",
                expected="closed planar contours in parallel planes",
                todo="export the structure as a NIfTI mask on the scan's grid",
                where=where,
            )
        return carry(_drawn(drawn, contours, own, where), frame, matrix=matrix, where=where)
    return _drawn(stack, contours, frame, where)


def _stacked(contours: Sequence[Points], frame: Frame) -> _Stack | None:
    """Contours by plane in indices of the frame; None where they are not parallel to its slices."""
    index = [to_index(frame, points) for points in contours]
    if max(float(np.ptp(points[:, 2])) for points in index) > 2 * _FLAT:
        return None
    heights = np.array([float(points[:, 2].mean()) for points in index])
    same = _SAME / frame.spacing[2]
    groups: list[list[int]] = []
    for i in np.argsort(heights, kind="stable"):
        if groups and heights[i] - heights[groups[-1][0]] <= same:
            groups[-1].append(int(i))
        else:
            groups.append([int(i)])
    z = np.array([heights[group].mean() for group in groups])
    apart = float(np.median(np.diff(z))) if len(z) > 1 else 1.0
    return _Stack(z=z, half=apart / 2, contours=tuple(tuple(index[i] for i in group) for group in groups))


def _drawn(stack: _Stack, contours: Sequence[Points], frame: Frame, where: str) -> Roi:
    points = np.concatenate([p for plane in stack.contours for p in plane])
    lo = np.maximum(np.floor(points.min(0)), 0).astype(int)
    hi = np.minimum(np.ceil(points.max(0)) + 1, frame.shape).astype(int)
    lo[2] = max(0, int(np.floor(stack.z[0] - stack.half)))
    hi[2] = min(frame.shape[2], int(np.ceil(stack.z[-1] + stack.half)) + 1)
    found = None
    if (hi > lo).all():
        mask = np.zeros((hi - lo)[::-1], dtype=np.bool_)
        for z in range(lo[2], hi[2]):
            plane = _nearest(stack, z)
            if plane is not None:
                mask[z - lo[2]] = _filled(stack.contours[plane], lo, hi)
        found = roi_of(mask, frame, lo=(int(lo[0]), int(lo[1]), int(lo[2])), notes=_notes(stack, points, frame))
    if found is None:
        region = np.concatenate(list(contours))
        raise ImageError(
            f"contours that enclose the centre of no voxel of the scan: {len(contours)} contours in {len(stack.z)} "
            f"planes, {said_box((region.min(0), region.max(0)))}; scan {said_box(scan_box(frame))}",
            expected="contours on the scan, both in the patient's mm",
            todo="check that the structure was drawn on this scan, and that no shift between the two was lost",
            where=where,
        )
    return found


def _nearest(stack: _Stack, z: int) -> int | None:
    """The plane whose slab, from half a distance below to half above, holds the slice."""
    at = int(np.abs(stack.z - z - 1e-6).argmin())
    off = z - stack.z[at]
    return at if -stack.half - 1e-6 <= off < stack.half - 1e-6 else None


def _filled(contours: Sequence[Points], lo: npt.NDArray[np.int_], hi: npt.NDArray[np.int_]) -> Mask:
    """Voxel centres (y, x) of the box that an odd number of the contours encloses."""
    height, width = int(hi[1] - lo[1]), int(hi[0] - lo[0])
    crossings = np.zeros((height, width + 1), dtype=np.int64)
    for points in contours:
        x0, y0 = points[:, 0] - lo[0], points[:, 1] - lo[1]
        x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
        first = np.clip(np.ceil(np.minimum(y0, y1)), 0, height).astype(int)
        past = np.clip(np.ceil(np.maximum(y0, y1)), 0, height).astype(int)
        count = past - first
        edge = np.repeat(np.arange(len(points)), count)
        row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
        at = x0[edge] + (row - y0[edge]) / (y1[edge] - y0[edge]) * (x1[edge] - x0[edge])
        np.add.at(crossings, (row, np.clip(np.ceil(at), 0, width).astype(int)), 1)
    inside: Mask = np.cumsum(crossings, axis=1)[:, :width] % 2 == 1
    return inside


def _notes(stack: _Stack, points: Points, frame: Frame) -> tuple[str, ...]:
    notes = []
    off = float(np.abs(stack.z - np.round(stack.z)).max())
    if off > 0.1:
        notes.append(f"contours up to {off:.2f} slices away from the scan's slices; each slice takes the nearest plane")
    outside = (points < -0.5) | (points > np.array(frame.shape) - 0.5)
    if outside.any():
        notes.append(f"{outside.any(1).mean():.1%} of the contour points lie outside the scan; that part is left out")
    gaps = np.diff(stack.z) / (2 * stack.half)
    if len(gaps) and gaps.max() > 1.5:
        notes.append(f"{int(np.round(gaps[gaps > 1.5]).sum() - (gaps > 1.5).sum())} planes between contours hold none")
    return tuple(notes)


def _own_frame(contours: Sequence[Points], frame: Frame) -> Frame:
    """A grid in the planes of the contours, as fine within them as the scan's finest spacing."""
    spread = sum((p - p.mean(0)).T @ (p - p.mean(0)) for p in contours)
    normal = np.linalg.eigh(spread)[1][:, 0]
    normal = normal * (1 if normal[np.abs(normal).argmax()] > 0 else -1)
    start = np.eye(3)[np.abs(normal).argmin()]
    u = start - normal * (start @ normal)
    u /= np.linalg.norm(u)
    axes = np.column_stack([u, np.cross(normal, u), normal])
    at = np.concatenate(list(contours)) @ axes
    heights = np.unique(np.round([(p @ normal).mean() for p in contours], 2))
    gaps = np.diff(heights)
    step = float(np.median(gaps)) if len(gaps) else float(max(frame.spacing))
    spacing = np.array([min(frame.spacing), min(frame.spacing), step])
    lo = np.append(at.min(0)[:2] - spacing[:2], heights[0])
    shape = np.ceil((at.max(0) - lo) / spacing).astype(int) + 2
    made = Frame(
        shape=tuple(int(n) for n in shape),
        spacing=tuple(float(v) for v in spacing),
        origin=(0.0, 0.0, 0.0),
        unit="mm",
        direction=tuple(float(v) for v in axes.ravel()),
    )
    origin = to_mm(made, lo / spacing)
    return Frame(
        shape=made.shape,
        spacing=made.spacing,
        origin=tuple(float(v) for v in origin),
        unit="mm",
        direction=made.direction,
    )
