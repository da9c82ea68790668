"""Neighbourhoods: what the 8 or 26 voxels around each voxel of the region hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.features.radiomics._compiled import compiled
from phenolens.features.radiomics._grid import grid, neighbours, plan_of_dims


@dataclass(frozen=True, kw_only=True)
class Around:
    """Of one slice or of all, by level 0 to Ng: `voxels` with at least one neighbour in the region, summed `gap`
    between level and mean level of the neighbours, and how many voxels have 1, 2, … `alike` (themselves counted)."""

    voxels: npt.NDArray[np.int64]
    gap: npt.NDArray[np.float64]
    alike: npt.NDArray[np.int64]


def around(levels: npt.NDArray[Any], dims: str) -> Iterator[Around]:
    """One `Around` a matrix: every slice with a voxel of the region in 2d, else one; errors are FeatureError."""
    how = plan_of_dims(dims)
    cells = grid(levels)
    steps = cells.steps(neighbours(how.planar))
    for start, stop in cells.slabs(how.per_slice):
        voxels, gap = np.zeros(cells.top + 1, dtype=np.int64), np.zeros(cells.top + 1)
        alike = np.zeros((cells.top + 1, len(steps) + 2), dtype=np.int64)
        _look(cells.flat, start, stop, steps, voxels, gap, alike)
        if alike.any():
            yield Around(voxels=voxels, gap=gap, alike=alike)


@compiled
def _look(flat: Any, start: int, stop: int, steps: Any, voxels: Any, gap: Any, alike: Any) -> None:
    for at in range(start, stop):
        here = flat[at]
        if here != 0:
            total, inside, same = 0, 0, 0
            for k in range(len(steps)):
                other = flat[at + steps[k]]
                total += other
                inside += other != 0
                same += other == here
            alike[here, same + 1] += 1
            if inside != 0:
                voxels[here] += 1
                gap[here] += abs(here - total / inside)
