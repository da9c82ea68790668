"""Polygons to pixels and back, exactly: a pixel is inside where its centre is."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from phenolens.slides.region import polygons

Mask = npt.NDArray[np.bool_]
"""Shape (h, w)."""
_ROWS = 1024
"""Rows of a mask that are turned into polygons at once."""


def inside(area: Any, origin: tuple[float, float], step: float, shape: tuple[int, int]) -> Mask:
    """Which pixels of a grid lie in `area`, (h, w): those whose centre does, by the rule of odd crossings.

    area is a valid Polygon or MultiPolygon; origin (x, y) is the grid's top left corner and step the side of a pixel,
    in the unit of area; shape is (h, w). A centre on an edge belongs to the right or lower side, so that polygons that
    share an edge share no pixel.
    """
    height, width = shape
    crossed = np.zeros((height, width + 1), np.uint8)
    rows, columns = _crossings(area, origin, step, height)
    np.bitwise_xor.at(crossed, (rows, np.clip(columns, 0, width)), np.uint8(1))
    np.bitwise_xor.accumulate(crossed, axis=1, out=crossed)
    found: Mask = crossed[:, :width].view(np.bool_)
    return found


def _crossings(
    area: Any, origin: tuple[float, float], step: float, height: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For each edge and each row of centres that it crosses: the row, and the first column at its right."""
    rings = shapely.get_rings(shapely.get_parts(area))
    points, ring = shapely.get_coordinates(rings, return_index=True)
    at = (points - np.asarray(origin)) / step - 0.5
    joined = ring[1:] == ring[:-1]
    start, end = at[:-1][joined], at[1:][joined]
    first = np.clip(np.ceil(np.minimum(start[:, 1], end[:, 1])), 0, height).astype(np.int64)
    last = np.clip(np.ceil(np.maximum(start[:, 1], end[:, 1])), 0, height).astype(np.int64)
    count = last - first
    edge = np.repeat(np.arange(len(count)), count)
    rows = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    run, rise = (end - start).T
    slope = np.divide(run, rise, out=np.zeros(len(start)), where=rise != 0)
    return rows, np.ceil(start[edge, 0] + (rows - start[edge, 1]) * slope[edge]).astype(np.int64)


def outline_of(mask: Mask, step: float, *, smooth_px: float = 0.75) -> Any:
    """The pixels of a mask (h, w) as a MultiPolygon with holes; pixel (0, 0) starts at (0, 0) and has the side `step`.

    The staircase of pixel edges is made simpler by at most `smooth_px` pixels, with 0 not at all; pixels that touch by
    a corner are not joined.
    """
    pieces = [_boxes(mask[top : top + _ROWS], top) for top in range(0, len(mask), _ROWS)]
    area = shapely.union_all([shapely.union_all(boxes) for boxes in pieces if len(boxes)])
    if smooth_px > 0:
        area = shapely.make_valid(shapely.simplify(area, smooth_px))
    return polygons(shapely.transform(area, lambda points: points * step))


def _boxes(mask: Mask, top: int) -> npt.NDArray[Any]:
    """Rectangles that cover the mask: the runs of each row, equal runs of rows below each other in one."""
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    (row, left), (_, right) = np.nonzero(edges == 1), np.nonzero(edges == -1)
    order = np.lexsort((row, right, left))
    row, left, right = row[order], left[order], right[order]
    same = (np.diff(left) == 0) & (np.diff(right) == 0) & (np.diff(row) == 1)
    first = np.flatnonzero(np.concatenate([[True], ~same])) if len(row) else np.zeros(0, int)
    last = np.concatenate([first[1:], [len(row)]])[: len(first)] - 1
    boxes: npt.NDArray[Any] = shapely.box(left[first], row[first] + top, right[first], row[last] + top + 1)
    return boxes


def without_small(area: Any, least: float) -> Any:
    """The polygons of at least the area `least`, with smaller holes filled."""
    kept = []
    for part in shapely.get_parts(area):
        holes = [ring for ring in part.interiors if shapely.Polygon(ring).area >= least]
        whole = shapely.Polygon(part.exterior, holes)
        if whole.area >= least:
            kept.append(whole)
    return polygons(shapely.MultiPolygon(kept))
