"""Grey level co-occurrence (IBSI 3.6, LFYI; Haralick et al., 1973)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import FeatureError
from phenolens.features.radiomics._compiled import compiled
from phenolens.features.radiomics._grid import Grid, Plan, averaged, directions, grid, plan
from phenolens.features.radiomics.names import named


def glcm(levels: npt.NDArray[Any], *, aggregation: str = "3d_merged", distance: int = 1) -> dict[str, float]:
    """The 25 measures of levels (z, y, x), 0 outside; neighbours lie `distance` voxels apart (Chebyshev).

    Ng, for the normalised inverse differences, is the highest level of the region. Matrices without a pair of voxels
    are left out of averages. Of a constant region the correlation is 1 and both information correlations are 0.
    FeatureError where the region has no pair of neighbours at all.
    """
    how = plan(aggregation)
    cells = grid(levels, pad=distance)
    rows = [_measures(matrix) for counts in _matrices(cells, how, distance) for matrix in counts if matrix.any()]
    if not rows:
        raise FeatureError(
            f"a region of {cells.voxels} voxels without two neighbours (glcm, {aggregation}, distance {distance})",
            expected="at least two voxels of the region side by side",
            todo="raise the smallest size of a region, or resample to smaller voxels",
        )
    return named("glcm", averaged(rows))


def _matrices(cells: Grid, how: Plan, distance: int) -> Iterator[npt.NDArray[np.int64]]:
    """Counts (matrices, Ng, Ng), one array a slab; each pair counted once, at its lower and its higher level."""
    offsets = directions(how.planar, distance=distance)
    steps = cells.steps(offsets)
    slots = np.arange(len(steps)) if how.per_direction else np.zeros(len(steps), dtype=np.int64)
    for start, stop in cells.slabs(how.per_slice):
        counts = np.zeros((int(slots[-1]) + 1, cells.top + 1, cells.top + 1), dtype=np.int64)
        _count(cells.flat, start, stop, steps, slots, counts)
        yield counts[:, 1:, 1:]


@compiled
def _count(flat: Any, start: int, stop: int, steps: Any, slots: Any, counts: Any) -> None:
    """Adds one for each pair of a voxel and its neighbour a step ahead; neighbours outside fall on row 0."""
    for at in range(start, stop):
        here = flat[at]
        if here != 0:
            for k in range(len(steps)):
                other = flat[at + steps[k]]
                counts[slots[k], min(here, other), max(here, other)] += 1


def _measures(counts: npt.NDArray[np.int64]) -> list[float]:
    """The measures of one matrix of pairs, lower level first; all but a few follow from sums and differences."""
    top = len(counts)
    i, j = np.nonzero(counts)
    share = counts[i, j] / int(counts.sum())
    p = np.where(i == j, share, share / 2)
    margin = (np.bincount(i, weights=share, minlength=top) + np.bincount(j, weights=share, minlength=top)) / 2
    at_gap = np.bincount(j - i, weights=share, minlength=top)
    at_sum = np.bincount(i + j, weights=share, minlength=2 * top - 1)
    gap, plus, level = np.arange(top), np.arange(2, 2 * top + 1), np.arange(1, top + 1)
    mean = float(margin @ level)
    variance = float(margin @ np.square(level - mean))
    away = plus - 2 * mean
    tendency, contrast = float(at_sum @ away**2), float(at_gap @ gap**2)
    gap_mean = float(at_gap @ gap)
    entropy, entropy_margin = abs(float(share @ np.log2(p))), _entropy(margin)
    constant = entropy_margin == 0
    shared = max(0.0, 2 * entropy_margin - entropy)
    return [
        float(p.max()),
        mean,
        variance,
        entropy,
        gap_mean,
        float(at_gap @ np.square(gap - gap_mean)),
        _entropy(at_gap),
        2 * mean,
        tendency,
        _entropy(at_sum),
        float(share @ p),
        contrast,
        gap_mean,
        float((at_gap / (1 + gap)).sum()),
        float((at_gap / (1 + gap / top)).sum()),
        float((at_gap / (1 + gap**2)).sum()),
        float((at_gap / (1 + gap**2 / top**2)).sum()),
        float((at_gap[1:] / gap[1:] ** 2).sum()),
        1.0 if constant else (tendency - contrast) / 4 / variance,
        (tendency - contrast) / 4 + mean**2,
        tendency,
        float(at_sum @ away**3),
        float(at_sum @ away**4),
        0.0 if constant else -shared / entropy_margin,
        float(np.sqrt(1 - np.exp(-2 * shared))),
    ]


def _entropy(p: npt.NDArray[Any]) -> float:
    """Bits."""
    seen = p[p > 0]
    return abs(float(seen @ np.log2(seen)))
