"""The measures that run, zone, distance and dependence matrices share (IBSI 3.7 to 3.9 and 3.11)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Whole = npt.NDArray[np.int64]


def of_matrix(counts: npt.NDArray[Any], voxels: int) -> list[float]:
    """`emphasis` of a matrix whose row is the level and whose column the size; row 0 and column 0 are left out."""
    i, j = np.nonzero(counts[1:, 1:])
    return emphasis(i + 1, j + 1, counts[1:, 1:][i, j], voxels)


def of_pairs(level: npt.NDArray[Any], size: npt.NDArray[Any], voxels: int) -> list[float]:
    """`emphasis` of zones given one by one."""
    span = int(size.max()) + 1
    pairs, counts = np.unique(level.astype(np.int64) * span + size, return_counts=True)
    return emphasis(pairs // span, pairs % span, counts, voxels)


def emphasis(i: Whole, j: Whole, n: npt.NDArray[Any], voxels: int) -> list[float]:
    """The 17 measures of a sparse matrix: `n` things of level `i` and size `j`, in the order of NGLDM.

    Small, large, low, high, small low, small high, large low, large high; grey level and size non-uniformity, each
    also normalised; percentage of `voxels`; variance of level and of size; entropy; energy. The other families have
    all but the last.
    """
    count = n.astype(np.float64)
    total = float(count.sum())
    p = count / total
    ii, jj = np.square(i.astype(np.float64)), np.square(j.astype(np.float64))
    low, small = p / ii, p / jj
    by_level = float(np.square(np.bincount(i, weights=count)).sum())
    by_size = float(np.square(np.bincount(np.unique(j, return_inverse=True)[1], weights=count)).sum())
    mean_i, mean_j = float(p @ i), float(p @ j)
    return [
        float(small.sum()),
        float(p @ jj),
        float(low.sum()),
        float(p @ ii),
        float((low / jj).sum()),
        float(small @ ii),
        float(low @ jj),
        float((p * ii) @ jj),
        by_level / total,
        by_level / total**2,
        by_size / total,
        by_size / total**2,
        total / voxels,
        float(p @ np.square(i - mean_i)),
        float(p @ np.square(j - mean_j)),
        abs(float(p @ np.log2(p))),
        float(p @ p),
    ]
