"""Grey level run lengths (IBSI 3.7, TP0I; Galloway, 1975)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.features.radiomics._compiled import compiled
from phenolens.features.radiomics._emphasis import of_matrix
from phenolens.features.radiomics._grid import averaged, directions, grid, plan
from phenolens.features.radiomics.names import named


def glrlm(levels: npt.NDArray[Any], *, aggregation: str = "3d_merged") -> dict[str, float]:
    """The 16 measures of levels (z, y, x), 0 outside: runs of one level along 4 or 13 directions.

    Slices without a voxel of the region are left out of averages. FeatureError on an empty region.
    """
    how = plan(aggregation)
    cells = grid(levels)
    steps = cells.steps(directions(how.planar))
    slots = np.arange(len(steps)) if how.per_direction else np.zeros(len(steps), dtype=np.int64)
    shared = 1 if how.per_direction else len(steps)
    rows = []
    for start, stop in cells.slabs(how.per_slice):
        voxels = int(np.count_nonzero(cells.flat[start:stop]))
        if voxels:
            counts = np.zeros((int(slots[-1]) + 1, cells.top + 1, max(cells.shape) + 1), dtype=np.int64)
            _count(cells.flat, start, stop, steps, slots, counts)
            rows += [of_matrix(matrix, voxels * shared)[:16] for matrix in counts]
    return named("glrlm", averaged(rows))


@compiled
def _count(flat: Any, start: int, stop: int, steps: Any, slots: Any, counts: Any) -> None:
    """Follows each run from its first voxel along each step."""
    for at in range(start, stop):
        here = flat[at]
        if here != 0:
            for k in range(len(steps)):
                step = steps[k]
                if flat[at - step] != here:
                    length = 1
                    ahead = at + step
                    while flat[ahead] == here:
                        length += 1
                        ahead += step
                    counts[slots[k], here, length] += 1
