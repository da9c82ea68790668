"""Moran's I and Geary's C of a region: how alike intensities are that lie near each other.

Both are sums over all pairs of voxels, weighted by the inverse of their distance in mm. Such sums are convolutions, so
they are computed exactly (to rounding) by Fourier transforms of the zero-padded box, in n log n instead of n squared.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import fft

from phenolens.scans.geometry import Mask

Values = npt.NDArray[np.float64]
Spectrum = npt.NDArray[np.complex128]
_BLOCK = 16
MOST_POINTS = 2**24
"""Largest padded grid (about 128 voxels to a side, 200 MiB). Of a larger box every k-th voxel is taken."""


def moran_and_geary(x: Values, inside: Mask, spacing: Sequence[float]) -> tuple[float, float]:
    """Moran's I (N365) and Geary's C (NPT7) of the voxels of x (z, y, x) that are `inside`; spacing is x, y, z in mm.

    Boxes whose padded grid exceeds `MOST_POINTS` are thinned: along the axis with the finest remaining spacing every
    k-th plane is kept until the grid fits. Both are NaN where all values are equal or one voxel is left.
    """
    step = _thinning(x.shape, spacing)
    keep = tuple(slice(None, None, k) for k in step)
    x, inside = x[keep], inside[keep]
    mm = [float(s * k) for s, k in zip(spacing[::-1], step, strict=True)]
    n = int(np.count_nonzero(inside))
    values = x[inside]
    squares = float(((values - values.mean()) ** 2).sum()) if n else 0.0
    if n < 2 or squares <= 0:
        return float("nan"), float("nan")
    half = [fft.next_fast_len(size) for size in x.shape]
    away = np.where(inside, x - values.mean(), 0.0)
    weights = _inverse_distance(half, mm)
    halves = [_half_spectrum(v, half) for v in (away, away * away, inside.astype(np.float64))]
    products, mixed, total = _paired(weights, halves, half)
    moran = n / total * products / squares
    geary = (n - 1) / (2 * total) * 2 * (mixed - products) / squares
    return moran, geary


def _thinning(shape: tuple[int, ...], spacing: Sequence[float]) -> tuple[int, ...]:
    step = np.ones(3, int)
    size, mm = np.array(shape), np.array(spacing[::-1])
    while np.prod(2.0 * np.ceil(size / step)) > MOST_POINTS:
        step[int(np.where(step < size, mm * step, np.inf).argmin())] += 1
    return tuple(int(k) for k in step)


def _inverse_distance(half: list[int], mm: list[float]) -> Values:
    """The transform of 1 / distance on the periodic grid of 2 x half points, (half + 1) points an axis by symmetry."""
    z, y, x = (((np.arange(h + 1) * s) ** 2) for h, s in zip(half, mm, strict=True))
    squared = z[:, None, None] + y[None, :, None] + x[None, None, :]
    squared[0, 0, 0] = np.inf
    made: Values = fft.dctn(1 / np.sqrt(squared), type=1)
    return made


def _half_spectrum(values: Values, half: list[int]) -> Spectrum:
    """The transform of the zero-padded values along x and y, so that zeros are not transformed."""
    made = fft.rfft(values, 2 * half[2], axis=2)
    found: Spectrum = fft.fft(made, 2 * half[1], axis=1, overwrite_x=True)
    return found


def _paired(weights: Values, halves: list[Spectrum], half: list[int]) -> tuple[float, float, float]:
    """Sums over all pairs of the weight times both values, times a square and a one, and alone (Parseval's theorem).

    Works through blocks of the transform, which is completed along z there.
    """
    sums = np.zeros(3)
    fold_z, fold_y = (np.minimum(np.arange(2 * h), 2 * h - np.arange(2 * h)) for h in half[:2])
    twice = np.full(half[2] + 1, 2.0)
    twice[0] = twice[-1] = 1.0
    for start in range(0, 2 * half[1], _BLOCK):
        columns = slice(start, start + _BLOCK)
        a, b, one = (fft.fft(h[:, columns], 2 * half[0], axis=0) for h in halves)
        weight = (weights[:, fold_y[columns]] * twice)[fold_z]
        sums[0] += float(np.vdot(weight, a.real**2 + a.imag**2))
        sums[1] += float(np.vdot(weight, b.real * one.real + b.imag * one.imag))
        sums[2] += float(np.vdot(weight, one.real**2 + one.imag**2))
    products, mixed, total = (float(v) for v in sums / (8.0 * half[0] * half[1] * half[2]))
    return products, mixed, total
