"""A slide that can be read by box at any resolution, and how one is opened."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, floor
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import ImageError
from phenolens.core.types import Box, Frame, Rgb
from phenolens.slides.levels import FINER, Level, Source, TiledSource, TileGrid, nearest_level, reduction
from phenolens.slides.opening import decoding, open_source, resolution
from phenolens.slides.resample import SNAP, enlarge, resample
from phenolens.slides.stored import Tiles

__all__ = ["Level", "Slide", "Source", "open_slide"]

_PART_PX = 8_000_000
"""Most px of a level that are held in memory at once; larger boxes are read in parts."""
_PART_ROWS = 512
"""Parts are as wide as the box, so that strips and tiles are read in order, unless they would be lower than this."""


class Slide:
    """One slide: read by box in level-0 px at any spacing. Satisfies `core.types.Image`; open it with `open_slide`.

    frame: shape (width, height) in level-0 px, spacing (x, y) in um. levels: finest first. bounds: where the scanned
    area begins, level-0 px. format: the name of the format that opened it. Never whole in memory; not thread-safe:
    each process opens its own.
    """

    def __init__(
        self, source: Source, frame: Frame, *, patient: str, image: str, format: str, notes: tuple[str, ...] = ()
    ) -> None:
        self.patient, self.image, self.format, self.frame = patient, image, format, frame
        self.levels: tuple[Level, ...] = source.levels
        self.bounds: tuple[int, int] = source.bounds
        self.stain_hint: str | None = source.stain_hint
        self._source = source
        self._notes = dict.fromkeys((*source.notes, *notes))
        self._tiles: dict[int, Tiles | None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the slide cannot be read afterwards."""
        self._tiles.clear()
        self._source.close()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the report should say about this slide, in sentences; each once, also what reading found so far."""
        return tuple(self._notes)

    def read(self, box: Box, spacing: float) -> Rgb:
        """The box at `spacing` um per px: (round(height * mpp_y / spacing), round(width * mpp_x / spacing), 3).

        box is in level-0 px, may be fractional and may reach beyond the slide, which is white there. From the nearest
        level at or above the asked resolution, by exact area; finer than level 0 by more than 1 %: bilinear, with a
        note. Raises ImageError where the file cannot be read.
        """
        width = max(1, round(box.width * self.frame.spacing[0] / spacing))
        height = max(1, round(box.height * self.frame.spacing[1] / spacing))
        return np.array(self._draw(box, (width, height)))

    def read_tiles(self, xy: npt.NDArray[Any], side: float, size_px: int) -> Rgb:
        """Square tiles, (n, size_px, size_px, 3); xy is (n, 2) with top left corners, xy and side in level-0 px.

        Each equals `read` of its box. Stored JPEG tiles are decoded directly, each once for neighbouring tiles, and
        made smaller while they are decoded. Raises ImageError where the file cannot be read.
        """
        out = np.empty((len(xy), size_px, size_px, 3), np.uint8)
        for i, (x, y) in enumerate(np.asarray(xy, dtype=float).tolist()):
            out[i] = self._draw(Box(x, y, side, side), (size_px, size_px))
        return out

    def thumbnail(self, max_px: int) -> Rgb:
        """The whole slide, its longer side max_px (never enlarged), drawn from the levels alone."""
        width, height = self.frame.shape
        scale = max(1.0, max(width, height) / max_px)
        size = max(1, round(width / scale)), max(1, round(height / scale))
        return np.array(self._draw(Box(0, 0, width, height), size))

    def _draw(self, box: Box, size: tuple[int, int]) -> Rgb:
        """The box drawn on `size` = (width, height) px, in parts where it covers much of a level; may be a view."""
        downsample = min(box.width / size[0], box.height / size[1])
        level = nearest_level(self.levels, downsample)
        parts = list(_parts(box, size, self.levels[level].downsample))
        if len(parts) == 1:
            return self._part(box, size, level)
        out = np.empty((size[1], size[0], 3), np.uint8)
        for part, (x, y, w, h) in parts:
            out[y : y + h, x : x + w] = self._part(part, (w, h), level)
        return out

    def _part(self, box: Box, size: tuple[int, int], level: int) -> Rgb:
        at = self.levels[level].downsample
        wanted = min(box.width / size[0], box.height / size[1]) / at
        up = wanted < 1 / (1 + FINER)
        if up:
            asked, finest = self.frame.mpp * wanted * at, self.frame.mpp
            self._notes.setdefault(f"upsampled: asked for {asked:.3g} um/px, the finest level has {finest:.3g} um/px")
        tiles = self._stored(level)
        less = 1 if tiles is None else self._reduction(tiles.grid, box, wanted, level)
        scale = at * less
        inside = Box(*(v / scale for v in box))
        x, y = floor(inside.x + SNAP) - up, floor(inside.y + SNAP) - up
        right, bottom = (ceil(inside[i] + inside[i + 2] - SNAP) + up for i in (0, 1))
        pixels = self._pixels(level, less, x, y, max(1, right - x), max(1, bottom - y))
        method = enlarge if up else resample
        return method(pixels, Box(inside.x - x, inside.y - y, inside.width, inside.height), size)

    def _reduction(self, grid: TileGrid, box: Box, wanted: float, level: int) -> int:
        """How much smaller the stored tiles of a level are decoded for a box.

        1 where the box reaches beyond the whole reduced px of the slide: there a reduced px would mix in padding.
        """
        less = reduction(grid.reductions, wanted)
        at = self.levels[level].downsample * less
        size = self.levels[level].width // less, self.levels[level].height // less
        reaches = min(box.x, box.y) < 0 or any((box[i] + box[i + 2]) / at > size[i] + SNAP for i in (0, 1))
        return 1 if reaches else less

    def _pixels(self, level: int, less: int, x: int, y: int, width: int, height: int) -> Rgb:
        """Pixels of a level made smaller `less` times, white beyond the slide."""
        full = -(-self.levels[level].width // less), -(-self.levels[level].height // less)
        left, top = min(max(x, 0), full[0]), min(max(y, 0), full[1])
        right, bottom = max(min(x + width, full[0]), left), max(min(y + height, full[1]), top)
        whole = (left, top, right, bottom) == (x, y, x + width, y + height)
        if not whole and (right == left or bottom == top):
            return np.full((height, width, 3), 255, np.uint8)
        with decoding(f"image {self.image}"):
            tiles = self._stored(level)
            if tiles is None:
                found = self._source.read_region(level, left, top, right - left, bottom - top)
            else:
                found = tiles.read(left, top, right - left, bottom - top, less)
        if whole:
            return found
        out = np.full((height, width, 3), 255, np.uint8)
        out[top - y : bottom - y, left - x : right - x] = found
        return out

    def _stored(self, level: int) -> Tiles | None:
        if level not in self._tiles:
            grid = self._source.grid(level) if isinstance(self._source, TiledSource) else None
            self._tiles[level] = None if grid is None else Tiles(grid)
        return self._tiles[level]


def open_slide(path: Any, *, patient: str = "", image: str = "", mpp: float | None = None) -> Slide:
    """Open a slide with the first format that can.

    path: a file or a folder. mpp: um per px as declared by the user, or None; it rules over the file's. Raises
    ImageError (found, expected, todo) when no format can open it, naming what each said, or when it has no usable
    resolution.
    """
    name, source, where = open_source(path)
    try:
        spacing, notes = resolution(source, mpp, where)
    except ImageError:
        source.close()
        raise
    shape = (source.levels[0].width, source.levels[0].height)
    frame = Frame(shape=shape, spacing=spacing, origin=(0.0, 0.0), unit="um")
    return Slide(source, frame, patient=patient, image=image or where.stem, format=name, notes=notes)


def _parts(box: Box, size: tuple[int, int], downsample: float) -> Iterator[tuple[Box, tuple[int, int, int, int]]]:
    """A box and its drawing cut into parts of whole output px that cover at most about _PART_PX of the level."""
    step = box.width / size[0], box.height / size[1]
    rows = max(_PART_ROWS, _PART_PX * downsample / box.width)
    most = [max(1, int(px * downsample / s)) for px, s in zip((_PART_PX / rows, rows), step, strict=True)]
    for y in range(0, size[1], most[1]):
        for x in range(0, size[0], most[0]):
            w, h = min(most[0], size[0] - x), min(most[1], size[1] - y)
            yield Box(box.x + x * step[0], box.y + y * step[1], w * step[0], h * step[1]), (x, y, w, h)
