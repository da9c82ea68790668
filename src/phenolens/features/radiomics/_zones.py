"""Zones: connected voxels of one level, with their size and their distance to the edge of the region."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import FeatureError
from phenolens.features.radiomics._compiled import compiled
from phenolens.features.radiomics._grid import Grid, directions, grid, plan_of_dims, tight

Whole = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Zones:
    """Per zone (n,): its `level`, `size` in voxels, `distance` of its nearest voxel to the edge, and slice `plane`.

    `voxels` (slices,) counts the region slice by slice; in three dimensions there is one plane, the volume.
    """

    level: Whole
    size: Whole
    distance: Whole
    plane: Whole
    voxels: Whole
    dims: str

    def parts(self) -> Iterator[tuple[npt.NDArray[Any], int]]:
        """(which zones, voxels) of each matrix: every slice in 2d, else all at once."""
        if self.dims == "2d":
            edges = np.searchsorted(self.plane, np.arange(len(self.voxels) + 1))
            for z in np.flatnonzero(self.voxels):
                yield np.arange(edges[z], edges[z + 1]), int(self.voxels[z])
        else:
            yield np.arange(len(self.level)), int(self.voxels.sum())


def zones(levels: npt.NDArray[Any], dims: str, *, shape: npt.NDArray[np.bool_] | None = None) -> Zones:
    """The zones of levels (z, y, x), 0 outside: 26-connected, or 8-connected within slices in 2d and 2.5d.

    `shape` is the morphological mask whose edge distances are measured to; it holds the region. Distances are city
    block steps, 1 for a voxel at the edge; beyond the array lies outside. Errors are FeatureError.
    """
    how = plan_of_dims(dims)
    mask = levels != 0 if shape is None else shape.astype(np.bool_)
    if shape is not None and (mask.shape != levels.shape or bool(np.any((levels != 0) & ~mask))):
        raise FeatureError(
            f"a region of shape {levels.shape} that reaches out of its morphological mask of shape {mask.shape}",
            expected="every voxel of the intensity mask inside the morphological mask",
            todo="hand over the mask before re-segmentation",
        )
    tight(levels)
    box = tight(mask)
    cells = grid(levels, box=box)
    away = _distances(mask[box], cells, planar=how.planar)
    parent = np.zeros(len(cells.flat), dtype=np.int32)
    found = _join(cells.flat, cells.steps(directions(how.planar)), parent)
    plane = cells.shape[1] * cells.shape[2]
    level, size, distance, first = _gather(cells.flat, parent, away, found)
    slices = np.count_nonzero(cells.flat.reshape(cells.shape), axis=(1, 2))
    return Zones(
        level=level, size=size, distance=distance, plane=first // plane, voxels=slices.astype(np.int64), dims=dims
    )


def _distances(mask: npt.NDArray[np.bool_], cells: Grid, *, planar: bool) -> npt.NDArray[np.int32]:
    """City block distance to the outside, on the padded grid, in two passes (Rosenfeld and Pfaltz, 1968)."""
    away = np.zeros(cells.shape, dtype=np.int32)
    away[1:-1, 1:-1, 1:-1] = np.where(mask, np.int32(np.iinfo(np.int32).max // 2), np.int32(0))
    flat = away.ravel()
    _spread(flat, cells.steps(((0, 0, 1), (0, 1, 0)) if planar else ((0, 0, 1), (0, 1, 0), (1, 0, 0))))
    return flat


@compiled
def _spread(away: Any, steps: Any) -> None:
    for at in range(len(away)):
        if away[at] != 0:
            for k in range(len(steps)):
                away[at] = min(away[at], away[at - steps[k]] + 1)
    for at in range(len(away) - 1, -1, -1):
        if away[at] != 0:
            for k in range(len(steps)):
                away[at] = min(away[at], away[at + steps[k]] + 1)


@compiled
def _join(flat: Any, steps: Any, parent: Any) -> int:
    """Links each voxel to an earlier one of its zone, or to itself where it is the first; gives the number of zones."""
    found = 0
    for at in range(len(flat)):
        here = flat[at]
        if here == 0:
            continue
        root = at
        found += 1
        for k in range(len(steps)):
            other = at - steps[k]
            if flat[other] == here:
                while parent[other] != other:
                    parent[other] = parent[parent[other]]
                    other = parent[other]
                if other != root:
                    found -= 1
                    if other < root:
                        parent[root] = other
                        root = other
                    else:
                        parent[other] = root
        parent[at] = root
    return found


@compiled
def _gather(flat: Any, parent: Any, away: Any, found: int) -> Any:
    """Per zone, in order of first voxels: level, size, distance, first voxel. Uses `parent` up."""
    level = np.zeros(found, dtype=np.int64)
    size = np.zeros(found, dtype=np.int64)
    distance = np.zeros(found, dtype=np.int64)
    first = np.zeros(found, dtype=np.int64)
    count = 0
    for at in range(len(flat)):
        if flat[at] == 0:
            continue
        if parent[at] == at:
            zone = count
            count += 1
            level[zone] = flat[at]
            distance[zone] = away[at]
            first[zone] = at
        else:
            zone = -parent[parent[at]] - 1
        parent[at] = -zone - 1
        size[zone] += 1
        distance[zone] = min(distance[zone], away[at])
    return level, size, distance, first
