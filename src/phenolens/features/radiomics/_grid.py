"""What the texture families share: the padded grid of levels, directions, and how matrices are put together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import FeatureError, nearest

Offset = tuple[int, int, int]
"""z, y, x."""

AGGREGATIONS = (
    "2d_average",
    "2d_slice_merged",
    "2.5d_direction_merged",
    "2.5d_merged",
    "3d_average",
    "3d_merged",
)
"""How matrices of directions are put together. Average: features averaged over matrices, one per direction (and slice);
2d: a matrix a slice; 2.5d: slices share one; merged: directions share one."""
DIMS = ("2d", "2.5d", "3d")
"""2d: a matrix per slice, features averaged over slices; 2.5d: slices share a matrix; 3d: neighbours in the volume."""
MAX_LEVELS = 1024
"""More grey levels than this are refused: co-occurrence matrices grow with their square."""
LARGE = 1e6
"""Stored for a ratio whose denominator vanishes, as the standard does for NGTDM coarseness."""

Levels = npt.NDArray[np.int32]
"""(z, y, x): 1 to Ng inside the region, 0 outside."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Levels on the tight box of a region, padded with 0 on every side: `flat` in C order of `shape` (z, y, x).

    `top` is Ng, the highest level; `voxels` the size of the region.
    """

    flat: npt.NDArray[np.uint16]
    shape: tuple[int, int, int]
    pad: int
    top: int
    voxels: int

    def steps(self, offsets: Sequence[Offset]) -> npt.NDArray[np.int64]:
        """Offsets (z, y, x) as distances in `flat`."""
        _, height, width = self.shape
        return np.array([(z * height + y) * width + x for z, y, x in offsets], dtype=np.int64)

    def slabs(self, per_slice: bool) -> Iterator[tuple[int, int]]:
        """Ranges of `flat` to go over: the whole region, or slice by slice."""
        depth, height, width = self.shape
        plane, first, last = height * width, self.pad, depth - self.pad
        if per_slice:
            yield from ((z * plane, (z + 1) * plane) for z in range(first, last))
        else:
            yield first * plane, last * plane


def grid(levels: npt.NDArray[Any], *, pad: int = 1, box: tuple[slice, ...] | None = None) -> Grid:
    """The padded grid of levels (z, y, x), cut to `box` or to the tight box of the region; errors are FeatureError."""
    if levels.ndim != 3 or not np.issubdtype(levels.dtype, np.integer):
        raise _wrong(f"levels of shape {levels.shape} and type {levels.dtype}")
    inside = levels[tight(levels) if box is None else box]
    low, top = int(inside.min()), int(inside.max())
    if low < 0:
        raise _wrong(f"level {low}")
    if top > MAX_LEVELS:
        raise FeatureError(
            f"{top} grey levels",
            expected=f"at most {MAX_LEVELS} for texture",
            todo="choose a wider bin, a fixed number of bins, or a narrower re-segmentation range",
        )
    padded = np.zeros(tuple(n + 2 * pad for n in inside.shape), dtype=np.uint16)
    padded[tuple(slice(pad, pad + n) for n in inside.shape)] = inside
    depth, height, width = padded.shape
    return Grid(
        flat=padded.ravel(), shape=(depth, height, width), pad=pad, top=top, voxels=int(np.count_nonzero(inside))
    )


def tight(mask: npt.NDArray[Any]) -> tuple[slice, ...]:
    """The smallest box that holds all that is not 0; FeatureError where there is nothing."""
    box = []
    for axis in range(3):
        filled = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if not len(filled):
            raise FeatureError(
                f"an empty region in a crop of {' x '.join(map(str, mask.shape))} voxels (z, y, x)",
                expected="at least one voxel",
                todo="look at the mask and at the re-segmentation range",
            )
        box.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return tuple(box)


def directions(planar: bool, *, distance: int = 1) -> tuple[Offset, ...]:
    """One of each pair of opposite neighbours (z, y, x): 4 in a slice, 13 in the volume."""
    near = [(z, y, x) for z, y, x in product((-1, 0, 1), repeat=3) if (z, y, x) > (0, 0, 0) and not (planar and z != 0)]
    return tuple((z * distance, y * distance, x * distance) for z, y, x in near)


def neighbours(planar: bool) -> tuple[Offset, ...]:
    """All neighbours (z, y, x) at Chebyshev distance 1: 8 in a slice, 26 in the volume."""
    ahead = directions(planar)
    return (*((-z, -y, -x) for z, y, x in reversed(ahead)), *ahead)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a family goes over the region: in slices or in the volume, and what shares a matrix."""

    planar: bool
    per_slice: bool
    per_direction: bool


def plan(aggregation: str) -> Plan:
    """The plan of an aggregation of directions; FeatureError on an unknown name."""
    _known(aggregation, AGGREGATIONS, "aggregation")
    return Plan(
        planar=not aggregation.startswith("3d"),
        per_slice=aggregation.startswith("2d"),
        per_direction=aggregation in ("2d_average", "2.5d_direction_merged", "3d_average"),
    )


def plan_of_dims(dims: str) -> Plan:
    """The plan of a family without directions; FeatureError on an unknown name."""
    _known(dims, DIMS, "dims")
    return Plan(planar=dims != "3d", per_slice=dims == "2d", per_direction=False)


def averaged(rows: Sequence[Sequence[float]]) -> list[float]:
    """The mean of each feature over matrices; every matrix counts the same."""
    return [float(v) for v in np.mean(np.array(rows, dtype=np.float64), axis=0)]


def ratio(above: float, below: float, *, otherwise: float = LARGE) -> float:
    """above / below; `otherwise` where `below` is 0, except 0 where both are."""
    if below != 0:
        return above / below
    return 0.0 if above == 0 else otherwise


def _known(name: str, options: Sequence[str], what: str) -> None:
    if name not in options:
        raise FeatureError(
            f"{what} '{name}'", expected=", ".join(options), todo=f"choose one of them{nearest(name, options)}"
        )


def _wrong(found: str) -> FeatureError:
    return FeatureError(found, expected="whole levels (z, y, x) from 1, and 0 outside", todo="discretise first")
