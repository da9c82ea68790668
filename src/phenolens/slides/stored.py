"""Reading any rectangle of a level from its stored tiles, each decoded once while it is near."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from phenolens.core.types import Rgb
from phenolens.slides.levels import TileGrid

_CACHE_BYTES = 128 * 2**20


class Tiles:
    """The stored tiles of one level behind a cache of at most 128 MiB (or one tile, where one is larger)."""

    def __init__(self, grid: TileGrid) -> None:
        self.grid = grid
        self._kept: OrderedDict[tuple[int, int, int], Rgb] = OrderedDict()
        self._bytes = 0

    def read(self, x: int, y: int, width: int, height: int, less: int) -> Rgb:
        """(height, width, 3) of the level made smaller `less` times; x, y in its px. Asked only inside the level.

        To be looked at, not written to: it may be a kept tile. A tile asked for whole is not kept: in a grid of aligned
        tiles nothing else wants it.
        """
        w, h = self.grid.tile[0] // less, self.grid.tile[1] // less
        columns, rows = range(x // w, -(-(x + width) // w)), range(y // h, -(-(y + height) // h))
        if len(columns) == len(rows) == 1:
            left, top = x - columns[0] * w, y - rows[0] * h
            if (width, height) == (w, h) and (*columns, *rows, less) not in self._kept:
                return self.grid.decode(columns[0], rows[0], less)
            return self._tile(columns[0], rows[0], less)[top : top + height, left : left + width]
        out = np.empty((height, width, 3), np.uint8)
        for row in rows:
            for column in columns:
                left, top = column * w - x, row * h - y
                a, b = max(left, 0), max(top, 0)
                part = self._tile(column, row, less)[b - top : height - top, a - left : width - left]
                out[b : b + part.shape[0], a : a + part.shape[1]] = part
        return out

    def _tile(self, column: int, row: int, less: int) -> Rgb:
        key = (column, row, less)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        tile = self.grid.decode(column, row, less)
        self._kept[key] = tile
        self._bytes += tile.nbytes
        while self._bytes > _CACHE_BYTES and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return tile
