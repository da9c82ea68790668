"""Local intensity features of the IBSI (reference manual 3.2): peaks over a sphere of one cubic centimetre."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.features.radiomics._compiled import compiled
from phenolens.scans.geometry import Mask

TAGS = MappingProxyType(
    {"loc_local_intensity_peak_VJGA": "loc_peak_loc", "loc_global_intensity_peak_0F91": "loc_peak_glob"}
)
"""Name → its tag in the tables of reference values."""
NAMES: tuple[str, ...] = tuple(TAGS)
RADIUS_MM = float((3000 / (4 * np.pi)) ** (1 / 3))
"""6.2 mm: the radius of a sphere of 1 cm3. The image around the region is needed as far."""


def local_intensity(x: npt.NDArray[np.float64], inside: Mask, spacing: Sequence[float]) -> dict[str, float]:
    """The local and the global intensity peak.

    x (z, y, x) holds the region with 6.2 mm around it (where the image ends earlier, the mean is over what there is);
    `inside` is the intensity mask on the same grid; spacing is x, y, z in mm. The local peak is the mean over the
    sphere around the brightest voxel (the highest of such means where several are brightest), the global peak the
    highest mean around any voxel of the region.
    """
    rows = _sphere_rows(spacing)
    reach = np.abs(rows).max(0)
    at = np.argwhere(inside)
    whole = bool((at.min(0) >= reach).all() and (at.max(0) < np.array(x.shape) - reach).all())
    voxels = float((2 * rows[:, 2] + 1).sum()) if whole else _sums(np.ones_like(x), inside, rows, reach)
    means = _sums(x, inside, rows, reach) / voxels
    values = x[inside]
    return {
        "loc_local_intensity_peak_VJGA": float(means[values == values.max()].max()),
        "loc_global_intensity_peak_0F91": float(means.max()),
    }


def _sphere_rows(spacing: Sequence[float]) -> npt.NDArray[np.int64]:
    """The sphere as rows along x: offsets in z and y, and how many voxels it reaches to either side."""
    dx, dy, dz = spacing
    deep, high = int(RADIUS_MM / dz), int(RADIUS_MM / dy)
    rows = []
    for k in range(-deep, deep + 1):
        for j in range(-high, high + 1):
            left = RADIUS_MM**2 - (k * dz) ** 2 - (j * dy) ** 2
            if left >= 0:
                rows.append((k, j, int(np.sqrt(left) / dx)))
    return np.array(rows, np.int64)


def _sums(
    x: npt.NDArray[np.float64], inside: Mask, rows: npt.NDArray[np.int64], reach: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """The sum over the sphere around each voxel of the region, 0 beyond the image."""
    running = np.zeros((*(n + 2 * r for n, r in zip(x.shape, reach, strict=True)),))
    z, y, w = (slice(r, r + n) for n, r in zip(x.shape, reach, strict=True))
    running[z, y, w] = x
    running = np.pad(np.cumsum(running, axis=2), ((0, 0), (0, 0), (1, 0)))
    made = np.zeros(x.shape)
    _add_rows(running, inside, rows, reach, made)
    kept: npt.NDArray[np.float64] = made[inside]
    return kept


@compiled
def _add_rows(running: Any, inside: Any, rows: Any, reach: Any, made: Any) -> None:
    """Adds, for each row of the region's box, the rows of the sphere, all voxels of a row at once."""
    depth, height, width = inside.shape
    for z in range(depth):
        for y in range(height):
            first, last = width, -1
            for x in range(width):
                if inside[z, y, x]:
                    first, last = min(first, x), x
            if last < 0:
                continue
            n = last - first + 1
            total = made[z, y, first : last + 1]
            for r in range(len(rows)):
                half = rows[r, 2]
                row = running[z + reach[0] + rows[r, 0], y + reach[1] + rows[r, 1]]
                start = first + reach[2]
                above, below = row[start + half + 1 : start + half + 1 + n], row[start - half : start - half + n]
                for i in range(n):
                    total[i] += above[i] - below[i]
