"""Long and short axis of a region in the planes across the body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from phenolens.scans._planes import facing
from phenolens.scans.geometry import Mask, Roi

Points = npt.NDArray[np.float64]
"""Shape (n, 2), mm."""
_SAME_MM = 1e-6


@dataclass(frozen=True, kw_only=True)
class Diameters:
    """mm of the longest diameter in an axial plane and of the largest one at right angles to it, there; `plane` is the
    index of that plane, thickness_mm the distance of planes.
    """

    long_mm: float
    short_mm: float
    plane: int
    thickness_mm: float


def diameters(roi: Roi) -> Diameters:
    """Of one region, in the planes of the scan nearest to axial; a plane's unconnected parts are measured singly.

    A region ends half-way between its last voxel and the next one, as in the contour at half height: the points
    measured are the middles of the edges of border voxels, so that one voxel is as wide as itself and a disc hardly
    larger than it is. Both diameters are of the convex hull. Of equal long axes the one with the larger short axis
    counts, then the lower plane.
    """
    axis = facing(roi.frame)[0][2]
    planes = np.moveaxis(roi.inside, 2 - axis, 0)
    spacing = [s for a, s in enumerate(roi.frame.spacing) if a != axis]
    best, where = (0.0, 0.0), 0
    for i, plane in enumerate(planes):
        for part in _parts(plane):
            found = _long_and_short(_hull(_edge_middles(part) * spacing))
            if found[0] > best[0] + _SAME_MM or (found[0] > best[0] - _SAME_MM and found[1] > best[1] + _SAME_MM):
                best, where = found, i
    thickness = float(roi.frame.spacing[axis])
    return Diameters(long_mm=best[0], short_mm=best[1], plane=where + roi.lo[axis], thickness_mm=thickness)


def _parts(plane: Mask) -> list[Mask]:
    """The 8-connected parts, each in its own tight box."""
    labels, _ = ndimage.label(plane, structure=np.ones((3, 3)))
    return [labels[box] == k for k, box in enumerate(ndimage.find_objects(labels), 1)]


def _edge_middles(part: Mask) -> Points:
    """(n, 2) points, column then row, in voxels: the middles of the four edges of the first and last voxel of each row
    and of each column. The hull of these is the hull of all.
    """
    found = []
    for turned, flip in ((part, False), (part.T, True)):
        rows = np.flatnonzero(turned.any(axis=1))
        first = turned[rows].argmax(axis=1)
        last = turned.shape[1] - 1 - turned[rows, ::-1].argmax(axis=1)
        ends = np.concatenate([np.stack([first - 0.5, rows], 1), np.stack([last + 0.5, rows], 1)])
        found.append(ends[:, ::-1] if flip else ends)
    return np.concatenate(found).astype(np.float64)


def _hull(points: Points) -> Points:
    """The corners of the convex hull, in order (Andrew's monotone chain, Inf Proc Letters 9, 1979)."""
    ordered = np.unique(points, axis=0)

    def chain(sequence: Points) -> list[Points]:
        kept: list[Points] = []
        for p in sequence:
            while len(kept) > 1 and _turn(kept[-2], kept[-1], p) <= 0:
                kept.pop()
            kept.append(p)
        return kept[:-1]

    return np.array(chain(ordered) + chain(ordered[::-1]))


def _turn(a: Points, b: Points, c: Points) -> float:
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))


def _long_and_short(hull: Points) -> tuple[float, float]:
    """The longest distance of two corners, and the longest chord of the hull at right angles to it."""
    apart = np.hypot(*(hull[:, None] - hull[None]).transpose(2, 0, 1))
    longest = float(apart.max())
    pairs = np.argwhere(np.triu(apart > longest - _SAME_MM))
    return longest, max(_widest_across(hull, hull[j] - hull[i]) for i, j in pairs)


def _widest_across(hull: Points, along: Points) -> float:
    """The longest chord at right angles to a direction: it passes through a corner, since chords change linearly
    between corners.
    """
    u = along / np.hypot(*along)
    at, off = hull @ u, hull @ np.array([-u[1], u[0]])
    crossed = []
    for k in range(len(hull)):
        a, b = at[k], at[(k + 1) % len(hull)]
        low, high = min(a, b), max(a, b)
        inside = (at >= low - _SAME_MM) & (at <= high + _SAME_MM)
        steep = high - low > _SAME_MM
        share = np.clip((at - a) / (b - a), 0, 1) if steep else np.zeros_like(at)
        value = off[k] + share * (off[(k + 1) % len(hull)] - off[k])
        crossed.append(np.where(inside, value, np.nan))
    table = np.array(crossed)
    return float((np.nanmax(table, axis=0) - np.nanmin(table, axis=0)).max())
