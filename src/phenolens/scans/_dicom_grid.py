"""Planes in space to one regular grid: order along the normal, and refusal of what is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import ImageError
from phenolens.core.types import Frame
from phenolens.scans._dicom_planes import Plane
from phenolens.scans._source import frame_of

UNEVEN = 0.1
"""How far a plane may lie from its place on the even grid, in slice spacings (rounded positions); more is uneven."""
DRIFT = 0.2
"""How far the planes may shift sideways from first to last, in pixels; more is a gantry tilt."""
_MOST = 6


def grid_of(planes: Sequence[Plane], where: str) -> tuple[list[Plane], Frame, tuple[str, ...]]:
    """The planes in order along the normal, their frame (mm, LPS), and notes.

    Raises ImageError, with numbers, on mixed orientations or sizes, missing slices, uneven spacing and gantry tilt.
    """
    _check_alike(planes, where)
    first = planes[0]
    axes = np.mean([p.axes for p in planes], axis=0)
    along = np.stack([axes[:3] / np.linalg.norm(axes[:3]), axes[3:] / np.linalg.norm(axes[3:])])
    normal = np.cross(*along)
    normal /= np.linalg.norm(normal)
    at = np.array([p.position for p in planes], dtype=np.float64)
    order = np.argsort(at @ normal, kind="stable")
    ordered, at = [planes[i] for i in order], at[order]
    step, notes = _spacing(at @ normal, first, where)
    _check_tilt(at, along, normal, first, where)
    steps = np.column_stack([along[0] * first.spacing[0], along[1] * first.spacing[1], normal * step])
    frame, said = frame_of((*first.size, len(planes)), steps, at[0].tolist(), where=where)
    return ordered, frame, (*notes, *said)


def _check_alike(planes: Sequence[Plane], where: str) -> None:
    sizes = Counter((p.size, tuple(round(v, 3) for v in p.spacing[:2])) for p in planes)
    if len(sizes) > 1:
        said = "; ".join(
            f"{n} of {w} x {h} pixels of {a:g} x {b:g} mm" for ((w, h), (a, b)), n in sizes.most_common(_MOST)
        )
        raise _refused(f"slices of different size in one series: {said}", "slices of one size", where)
    facing = Counter(tuple(round(v, 2) + 0.0 for v in p.axes) for p in planes)
    reference = np.array(planes[0].axes)
    if max(np.abs(np.array(p.axes) - reference).max() for p in planes) > 1e-3:
        said = "; ".join(f"{n} with axes {', '.join(f'{v:g}' for v in a)}" for a, n in facing.most_common(_MOST))
        raise _refused(f"{len(facing)} orientations in one series: {said}", "parallel slices", where)


def _spacing(along: npt.NDArray[np.float64], plane: Plane, where: str) -> tuple[float, tuple[str, ...]]:
    """mm between planes, whose positions along the normal are given in order."""
    if len(along) == 1:
        if plane.spacing[2] <= 0:
            raise _refused("one slice without a thickness", "several slices, or SliceThickness", where)
        return plane.spacing[2], (f"one slice; its thickness is taken as {plane.spacing[2]:g} mm",)
    gaps = np.diff(along)
    step = float(along[-1] - along[0]) / len(gaps)
    off = np.abs(along - along[0] - step * np.arange(len(along))).max() / step
    if off <= UNEVEN:
        note = f"slice positions up to {off:.0%} of a spacing off an even grid of {step:.4g} mm; taken as even"
        return step, ((note,) if off > 0.02 else ())
    usual = float(np.median(gaps))
    times = gaps / usual
    wide = np.flatnonzero(times > 1.5)
    if len(wide) and np.abs(times - np.round(times)).max() <= UNEVEN and times.min() > 0.5:
        lost = int(np.round(times[wide]).sum() - len(wide))
        places = ", ".join(f"{along[i]:.1f} and {along[i + 1]:.1f}" for i in wide[:_MOST])
        raise _refused(
            f"{lost} missing slices of {len(along) + lost}: spacing {usual:.4g} mm, gaps between {places} mm",
            "a complete series",
            where,
        )
    raise _refused(
        f"uneven slices: {len(along)} slices with gaps of {gaps.min():.4g} to {gaps.max():.4g} mm (median {usual:.4g})",
        f"even gaps (each slice within {UNEVEN:.0%} of a spacing of its place)",
        where,
    )


def _check_tilt(
    at: npt.NDArray[np.float64],
    along: npt.NDArray[np.float64],
    normal: npt.NDArray[np.float64],
    plane: Plane,
    where: str,
) -> None:
    moved = at[-1] - at[0]
    sideways = np.abs(along @ moved) / np.array(plane.spacing[:2])
    if len(at) > 1 and sideways.max() > DRIFT:
        angle = np.degrees(np.arctan2(np.linalg.norm(along @ moved), abs(normal @ moved)))
        raise ImageError(
            f"slices that shift sideways by {sideways.max():.1f} pixels from first to last, a gantry tilt or shear of "
            f"{angle:.1f} degrees",
            expected=f"slices stacked along their normal (within {DRIFT} pixels)",
            todo="resample the series to a straight grid (3D Slicer does so on loading) and name that file",
            where=where,
        )


def _refused(found: str, expected: str, where: str) -> ImageError:
    todo = "export the series again and completely, or resample it to an even grid and name that file"
    return ImageError(found, expected=expected, todo=todo, where=where)
