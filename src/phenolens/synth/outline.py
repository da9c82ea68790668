"""Outlines of tissue and tumour on a synthetic slide, as polygons in micrometres, and coarse pictures of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFilter
from shapely import affinity
from shapely.geometry import LineString, MultiPolygon, Polygon

from phenolens.core.types import FloatArray

Area: TypeAlias = Polygon | MultiPolygon
Rng = np.random.Generator


@dataclass(frozen=True)
class Shape:
    """Tissue and the tumour in it, in um. `share` is the tumour's exact part of the tissue's area."""

    tissue: Polygon
    tumour: Area

    @property
    def share(self) -> float:
        return float(self.tumour.area / self.tissue.area)


def draw(width: float, height: float, share: float, island: bool, septum: bool, rng: Rng) -> Shape:
    """A piece of tissue on a slide of this size (um) with a tumour that fills `share` of it.

    The tumour is a smaller outline shifted to a side, so that other tissue is left around it; an island of other tissue
    inside it and a septum across it are cut out. Its size is found by bisection; raises ValueError when there is none.
    """
    if not 0.05 <= share <= 0.9:
        raise ValueError(f"share must lie in 0.05 to 0.9, found {share}")
    side = 0.455 * min(width, height)
    tissue = _blob(width / 2, height / 2, 0.455 * width, 0.455 * height, 0.05, rng)
    seed = affinity.scale(
        _blob(width / 2, height / 2, side, side, 0.08, rng), width / (2.2 * side), height / (2.2 * side)
    )
    turn, shift, wall = rng.uniform(0, 2 * np.pi), rng.uniform(0.03, 0.08) * side, rng.uniform(0, np.pi)
    cut_at = rng.uniform(-0.25, 0.25, 2) * side
    hole = _blob(width / 2 + cut_at[0], height / 2 + cut_at[1], 0.13 * side, 0.1 * side, 0.06, rng)
    inside = tissue.buffer(-0.01 * side)

    def tumour(scale: float) -> Area:
        area = affinity.translate(affinity.scale(seed, scale, scale), shift * np.cos(turn), shift * np.sin(turn))
        area = area.intersection(inside)
        if island:
            area = area.difference(hole)
        if septum:
            away = np.array([np.cos(wall), np.sin(wall)]) * 2 * (width + height)
            middle = np.array([width / 2 - cut_at[0], height / 2 - cut_at[1]])
            area = area.difference(LineString([middle - away, middle + away]).buffer(0.035 * side))
        return area

    low, high = 0.05, 2.0
    if tumour(high).area < share * tissue.area:
        raise ValueError(f"no tumour of share {share} fits in the tissue")
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if tumour(middle).area < share * tissue.area else (low, middle)
    return Shape(tissue, tumour(high))


def _blob(x: float, y: float, a: float, b: float, rough: float, rng: Rng) -> Polygon:
    """A smooth closed outline around x, y with half axes a and b; `rough` is the wobble's standard deviation."""
    phi = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    radius = np.ones_like(phi)
    for wave in range(2, 8):
        radius += rng.normal(0, rough / wave**0.7) * np.cos(wave * phi + rng.uniform(0, 2 * np.pi))
    radius /= radius.max()
    return Polygon(np.column_stack([x + a * radius * np.cos(phi), y + b * radius * np.sin(phi)]))


def polygons(area: Area) -> list[Polygon]:
    """The polygons of an area, largest first."""
    parts = list(area.geoms) if isinstance(area, MultiPolygon) else [area]
    return sorted((p for p in parts if not p.is_empty), key=lambda p: -p.area)


def fill(area: Area, size: tuple[int, int], spacing: float) -> npt.NDArray[np.uint8]:
    """The area as 0 and 1, (rows, columns), with `spacing` um a pixel."""
    canvas = Pillow.new("L", (size[1], size[0]))
    pen = ImageDraw.Draw(canvas)
    for polygon in polygons(area):
        pen.polygon([(x / spacing, y / spacing) for x, y in polygon.exterior.coords], fill=1)
        for ring in polygon.interiors:
            pen.polygon([(x / spacing, y / spacing) for x, y in ring.coords], fill=0)
    return np.array(canvas, dtype=np.uint8)


def scribble(shape: Shape, size: tuple[int, int], spacing: float, rng: Rng) -> FloatArray:
    """Ink of a felt pen, (rows, columns) 0 to 1: an arc along the tissue's edge, as one marks a slide, and a dot."""
    canvas = Pillow.new("L", (size[1], size[0]))
    pen = ImageDraw.Draw(canvas)
    edge = np.asarray(shape.tissue.buffer(0.012 * max(size) * spacing).exterior.coords)
    start, length = int(rng.integers(len(edge))), int(0.22 * len(edge))
    line = edge[(start + np.arange(length)) % len(edge)] / spacing
    wide = max(2, round(0.011 * max(size)))
    pen.line([(x, y) for x, y in line], fill=235, width=wide, joint="curve")
    x, y = edge[(start + len(edge) // 2) % len(edge)] / spacing
    pen.ellipse([x - wide, y - wide, x + wide, y + wide], fill=235)
    return np.array(canvas.filter(ImageFilter.GaussianBlur(0.8)), dtype=np.float32) / np.float32(255)
