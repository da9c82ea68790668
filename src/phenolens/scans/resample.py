"""Intensities and masks on another grid: voxels of another size, or the grid of another scan.

Grids are resampled as the IBSI does (Zwanenburg et al., Radiology 2020; reference manual 2.4): the centres of the old
and the new grid coincide and the new grid is the smallest that covers the old one. Beyond the outermost voxel centres
the outermost value holds. Everything is computed along one axis at a time, in the float type of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from phenolens.core.errors import ImageError
from phenolens.core.types import Frame
from phenolens.scans.geometry import Mask, to_index, to_mm

Method = Literal["nearest", "linear", "cubic"]
Floats = npt.NDArray[np.floating[Any]]
_ORDER = {"nearest": 0, "linear": 1, "cubic": 3}
_REACH = {"nearest": 1, "linear": 1, "cubic": 10}
"""Voxels around a position that its value depends on; for cubic splines, by less than 1e-5 beyond."""
_DIGITS = 9
"""Positions (in voxels) are rounded to this many digits, so that equal places weigh equally on every grid."""


def reach(method: Method) -> int:
    """Voxels around a position that its interpolated value depends on."""
    _check(method)
    return _REACH[method]


def resample(
    x: npt.NDArray[Any], frame: Frame, spacing: Sequence[float], *, method: Method = "linear"
) -> tuple[Floats, Frame]:
    """The image x (z, y, x) on a grid of `spacing` (x, y, z in mm) with the same centre, and its frame.

    float32 and float64 stay what they are, other types become float32. Raises ImageError on a spacing that is not three
    positive numbers, or an image that does not have the frame's shape.
    """
    positions, made = new_grid(frame, spacing)
    if x.shape != frame.shape[::-1]:
        raise ImageError(
            f"an image of shape {x.shape} in a frame of (x, y, z) {frame.shape}",
            expected="an array (z, y, x) of the frame's shape",
            todo="pass the image with its own frame",
        )
    return at_positions(x, positions, method=method), made


def resample_mask(mask: Mask, frame: Frame, spacing: Sequence[float], threshold: float = 0.5) -> tuple[Mask, Frame]:
    """A mask (z, y, x) on a grid of `spacing`: voxels whose linearly interpolated share is at least `threshold`."""
    share, made = resample(mask.astype(np.float32), frame, spacing, method="linear")
    return share >= np.float32(threshold - 1e-6), made


def new_grid(frame: Frame, spacing: Sequence[float]) -> tuple[tuple[npt.NDArray[np.float64], ...], Frame]:
    """Where the voxels of the new grid lie, as indices along x, y and z of the old one, and the new frame."""
    wanted = tuple(float(s) for s in spacing)
    if len(wanted) != 3 or not all(np.isfinite(wanted)) or min(wanted) <= 0:
        raise ImageError(
            f"a new spacing of {wanted} mm",
            expected="three positive numbers, for x, y and z",
            todo="set spacing_mm to the side of a voxel in mm",
        )
    positions = []
    for n, old, new in zip(frame.shape, frame.spacing, wanted, strict=True):
        count = max(1, int(np.ceil(n * old / new - 1e-6)))
        at = (np.arange(count) - (count - 1) / 2) * (new / old) + (n - 1) / 2
        positions.append(np.round(at, _DIGITS))
    origin = tuple(float(v) for v in to_mm(frame, [p[0] for p in positions]))
    shape = tuple(len(p) for p in positions)
    return tuple(positions), replace(frame, shape=shape, spacing=wanted, origin=origin)


def at_positions(
    x: npt.NDArray[Any], positions: Sequence[npt.NDArray[np.float64]], *, method: Method = "linear"
) -> Floats:
    """x (z, y, x) at the lattice of `positions` (indices along x, y and z, fractions allowed)."""
    _check(method)
    made: Floats = x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)
    for axis, at in zip((2, 1, 0), positions, strict=True):
        made = _along(made, axis, np.round(at, _DIGITS), method)
    return np.ascontiguousarray(made)


def onto(
    x: npt.NDArray[Any],
    frame: Frame,
    target: Frame,
    *,
    method: Method = "linear",
    fill: float = 0,
    matrix: npt.ArrayLike | None = None,
) -> npt.NDArray[Any]:
    """x (z, y, x) of `frame` on the grid of `target`, matched by position in mm; `fill` outside x.

    `matrix` (4 x 4) takes mm of the target to mm of x where the two are not aligned. Whole numbers and truth values
    stay what they are with "nearest"; otherwise float32 and float64 stay and other types become float32. Works through
    the target slice by slice and touches only the part of x that is needed.
    """
    _check(method)
    discrete = method == "nearest" or x.dtype in (np.float32, np.float64)
    made = np.full(target.shape[::-1], fill, dtype=x.dtype if discrete else np.float32)
    turn, shift = _index_map(frame, target, matrix)
    part, lo = _needed(x, turn, shift, target.shape, method)
    if part is None:
        return made
    source = part.astype(np.uint8) if part.dtype == np.bool_ else part
    kind = np.dtype(np.uint8) if made.dtype == np.bool_ else made.dtype
    if method == "cubic":
        source = ndimage.spline_filter(source, order=3, mode="mirror", output=made.dtype)
    width, height, depth = target.shape
    j, i = np.mgrid[:height, :width]
    plane = turn[:, 0, None, None] * i + turn[:, 1, None, None] * j + shift[:, None, None]
    size = np.array(frame.shape).reshape(3, 1, 1)
    for k in range(depth):
        at = np.round(plane + turn[:, 2, None, None] * k, 6)
        inside = ((at >= -0.5) & (at < size - 0.5)).all(0)
        if inside.any():
            here = np.clip(at, 0, size - 1)[:, inside] - np.array(lo)[:, None]
            made[k][inside] = ndimage.map_coordinates(
                source, here[::-1], order=_ORDER[method], mode="mirror", prefilter=False, output=kind
            )
    return made


def _index_map(
    frame: Frame, target: Frame, matrix: npt.ArrayLike | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(3, 3) and (3,): indices of the target to indices of the frame."""
    corners = to_mm(target, np.vstack([np.zeros(3), np.eye(3)]))
    if matrix is not None:
        rigid = np.asarray(matrix, np.float64)
        if rigid.shape != (4, 4) or not np.isfinite(rigid).all():
            raise ImageError(
                f"a matrix of shape {rigid.shape}" + ("" if np.isfinite(rigid).all() else " that is not finite"),
                expected="4 x 4 finite numbers that take mm of the target to mm of the image",
                todo="check the alignment of this image",
            )
        corners = corners @ rigid[:3, :3].T + rigid[:3, 3]
    at = to_index(frame, corners)
    turn: npt.NDArray[np.float64] = (at[1:] - at[0]).T
    return turn, at[0]


def _needed(
    x: npt.NDArray[Any],
    turn: npt.NDArray[np.float64],
    shift: npt.NDArray[np.float64],
    shape: tuple[int, ...],
    method: Method,
) -> tuple[npt.NDArray[Any] | None, tuple[int, int, int]]:
    """The box of x that the target touches (None when it touches none) and where it starts (x, y, z)."""
    ends = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * (np.array(shape) - 1)
    at = ends @ turn.T + shift
    size = np.array(x.shape[::-1])
    lo = np.maximum(np.floor(at.min(0)).astype(int) - _REACH[method], 0)
    hi = np.minimum(np.ceil(at.max(0)).astype(int) + _REACH[method] + 1, size)
    if (hi <= lo).any():
        return None, (0, 0, 0)
    part = x[lo[2] : hi[2], lo[1] : hi[1], lo[0] : hi[0]]
    return part, (int(lo[0]), int(lo[1]), int(lo[2]))


def _along(x: Floats, axis: int, at: npt.NDArray[np.float64], method: Method) -> Floats:
    """x at fractional indices along one axis; outside, the outermost value."""
    n = x.shape[axis]
    at = np.clip(at, 0, n - 1)
    whole = np.floor(at).astype(np.intp)
    if np.array_equal(at, whole):
        even = len(at) == whole[-1] - whole[0] + 1
        return x[(slice(None),) * axis + (slice(int(whole[0]), int(whole[-1]) + 1),)] if even else x.take(whole, axis)
    if method == "nearest":
        return x.take(np.floor(at + 0.5).astype(np.intp), axis)
    if method == "linear":
        t = at - whole
        return _weighted(x, axis, [whole, np.minimum(whole + 1, n - 1)], [1 - t, t])
    if n == 1:
        return x.take(whole, axis)
    t = at - whole
    weights = [(1 - t) ** 3 / 6, (4 - 6 * t**2 + 3 * t**3) / 6, (1 + 3 * t + 3 * t**2 - 3 * t**3) / 6, t**3 / 6]
    known = ndimage.spline_filter1d(x, order=3, axis=axis, mode="mirror", output=x.dtype)
    return _weighted(known, axis, [_mirrored(whole + k, n) for k in (-1, 0, 1, 2)], weights)


def _weighted(x: Floats, axis: int, rows: list[npt.NDArray[np.intp]], weights: list[npt.NDArray[np.float64]]) -> Floats:
    """The sum of the rows of x along `axis`, each with its weights."""
    wide = [1, 1, 1]
    wide[axis] = -1
    made: Floats = x.take(rows[0], axis) * weights[0].reshape(wide).astype(x.dtype)
    for row, weight in zip(rows[1:], weights[1:], strict=True):
        made += x.take(row, axis) * weight.reshape(wide).astype(x.dtype)
    return made


def _mirrored(index: npt.NDArray[np.intp], n: int) -> npt.NDArray[np.intp]:
    """Indices outside 0..n-1 reflected about the outermost centres."""
    period = 2 * (n - 1)
    back = np.abs(index) % period
    made: npt.NDArray[np.intp] = np.where(back >= n, period - back, back)
    return made


def _check(method: str) -> None:
    if method not in _ORDER:
        raise ImageError(
            f"interpolation {method!r}", expected=f"one of {', '.join(_ORDER)}", todo="change the interpolation"
        )
