"""Random fields, distances and turns that `disturb` is made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from phenolens.core.types import FloatArray, Frame
from phenolens.scans.geometry import Index, Mask, to_mm

Values = npt.NDArray[np.float64]
REACH = 12
"""Voxels around a position that its cubic spline depends on, by less than 1e-6 beyond."""
_WAVES = 64
_MOST_NODES = 32
_MEDIAN_OF_NORMAL = 0.6744897501960817


def waves(frame: Frame, index: npt.NDArray[np.integer], length_mm: float, seed: int) -> Values:
    """A smooth random field of mean 0 and variance 1 at (n, 3) indices x, y, z of a frame.

    A sum of 64 plane waves: its correlation falls as a Gaussian of `length_mm` (random Fourier features, Rahimi and
    Recht 2007), and it is a function of the position in mm alone, whatever box it is asked of.
    """
    draw = np.random.default_rng(seed)
    turns = draw.normal(0, 1 / length_mm, (_WAVES, 3))
    starts = draw.uniform(0, 2 * np.pi, _WAVES)
    at = to_mm(frame, index)
    total: Values = np.zeros(len(at))
    for turn, start in zip(turns, starts, strict=True):
        total += np.cos(at @ turn + start)
    total *= np.sqrt(2 / _WAVES)
    return total


def on_nodes(frame: Frame, length_mm: float, seed: int) -> tuple[FloatArray, Frame]:
    """`waves` on a grid of at most 32 nodes an axis that spans a frame, (z, y, x) float32, and the grid's frame."""
    x, y, z = (min(n, _MOST_NODES) for n in frame.shape)
    steps = [(n - 1) / (m - 1) if m > 1 else 1.0 for n, m in zip(frame.shape, (x, y, z), strict=True)]
    spacing = tuple(s * k for s, k in zip(frame.spacing, steps, strict=True))
    grid = replace(frame, shape=(x, y, z), spacing=spacing)
    at = np.indices((z, y, x)).reshape(3, -1)[::-1].T
    return waves(grid, at, length_mm, seed).reshape(z, y, x).astype(np.float32), grid


def noise(frame: Frame, lo: Index, shape: Index, seed: int) -> FloatArray:
    """Standard normal noise of a box (z, y, x), drawn plane by plane of the whole frame."""
    (x, y, z), (w, h, d) = lo, shape
    made = np.empty((d, h, w), dtype=np.float32)
    for k in range(d):
        plane = np.random.default_rng([seed, z + k]).standard_normal(frame.shape[1::-1], dtype=np.float32)
        made[k] = plane[y : y + h, x : x + w]
    return made


def own_noise(x: FloatArray) -> float:
    """The standard deviation of an image's noise, from the finest diagonal differences in its planes (Haar wavelets;
    median absolute deviation, Donoho and Johnstone 1994); 0 where there are none."""
    even = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2].astype(np.float64)
    diagonal = (even[:, ::2, ::2] - even[:, 1::2, ::2] - even[:, ::2, 1::2] + even[:, 1::2, 1::2]) / 2
    diagonal = diagonal[np.isfinite(diagonal)]
    return float(np.median(np.abs(diagonal)) / _MEDIAN_OF_NORMAL) if diagonal.size else 0.0


def distance(inside: Mask, spacing: tuple[float, ...]) -> Values:
    """Distance in mm of every voxel centre to the surface of a region (the faces of its voxels), negative inside.

    Beyond the array there is no region.
    """
    sizes = np.array(spacing[::-1]).reshape(3, 1, 1, 1)
    padded = np.pad(inside, 1)
    made = np.zeros(padded.shape)
    for side, sign in ((padded, -1.0), (~padded, 1.0)):
        away, nearest = ndimage.distance_transform_edt(side, sampling=spacing[::-1], return_indices=True)
        across = np.abs(np.indices(padded.shape) - nearest) * sizes
        with np.errstate(divide="ignore", invalid="ignore"):
            face = np.min(np.where(across > 0, sizes / 2 * away / across, np.inf), axis=0)
            made += np.where(away > 0, sign * (away - face), 0.0)
    return made[1:-1, 1:-1, 1:-1]


def rigid(kind: str, dose: float, frame: Frame, middle: tuple[float, float], seed: int) -> tuple[Values, Values]:
    """(2, 2) and (2,): from an index x, y of the moved plane to the index of the plane as it is."""
    draw = np.random.default_rng(seed)
    if kind == "translation":
        angle = draw.uniform(0, 2 * np.pi)
        return np.eye(2), dose * np.array([np.cos(angle), np.sin(angle)])
    angle = np.deg2rad(dose) * (1 if draw.random() < 0.5 else -1)
    size = np.array(frame.spacing[:2])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn * size / size[:, None]
    return matrix, np.array(middle) - matrix @ np.array(middle)


def moves_mm(kind: str, dose: float, size: Index, frame: Frame) -> float:
    """How far a point of a region of `size` voxels is moved at most, in mm, with two voxels to spare."""
    spare = 2 * max(frame.spacing[:2])
    if kind == "translation":
        return spare + dose * max(frame.spacing[:2])
    across = float(np.hypot(size[0] * frame.spacing[0], size[1] * frame.spacing[1]))
    return spare + across * 2 * float(np.sin(np.deg2rad(min(dose, 180.0)) / 2))


def turned(x: FloatArray, matrix: Values, offset: Values, shape: Index, *, order: int) -> FloatArray:
    """The planes of x (z, y, x) at matrix @ (x, y) + offset, on a box of `shape`; beyond the edge as at the edge."""
    made = np.empty(shape[::-1], dtype=np.float32)
    for plane, out in zip(x, made, strict=True):
        ndimage.affine_transform(
            plane, matrix[::-1, ::-1], offset[::-1], output_shape=out.shape, output=out, order=order, mode="nearest"
        )
    return made


def smoothed(x: FloatArray, sigma: float) -> FloatArray:
    """Gaussian of sigma voxels, cut at 3 sigma; the edge goes on outside."""
    made: FloatArray = ndimage.gaussian_filter(x, sigma, mode="nearest", truncate=3.0)
    return made
