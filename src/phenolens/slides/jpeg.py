"""JPEG tiles of TIFF slides decoded directly, without OpenSlide's drawing; and made smaller while they are decoded.

libjpeg can leave out the high frequencies of each 8 x 8 block and so give a half, quarter or eighth of the size (DCT
scaling). A reduced px then differs little from the mean of the px it stands for.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from phenolens.core.errors import ImageError
from phenolens.core.types import Rgb
from phenolens.slides.levels import Level

REDUCTIONS = (1, 2, 4, 8)
_SPACES = {2: "RGB", 6: "YCBCR"}
_JPEG = 7
_NO_SIZE = frozenset({0x01, *range(0xD0, 0xDA)})


@dataclass(frozen=True, kw_only=True)
class JpegGrid:
    """The JPEG tiles of one level of a TIFF file (a `levels.TileGrid`).

    offsets and counts are the bytes of each tile, row by row; tables are the page's shared JPEG tables ("" if none);
    space is the colour space the tiles are stored in, which the page says and the tiles may not.
    """

    path: Path
    file: int
    tile: tuple[int, int]
    columns: int
    offsets: Sequence[int]
    counts: Sequence[int]
    tables: bytes
    space: str
    reductions: tuple[int, ...] = REDUCTIONS

    def decode(self, column: int, row: int, reduction: int) -> Rgb:
        """See `levels.TileGrid`. Raises ImageError where the tile is damaged."""
        at = row * self.columns + column
        data = os.pread(self.file, self.counts[at], self.offsets[at])
        try:
            if len(data) != self.counts[at] or frame_size(data) != self.tile:
                raise ValueError(f"not one JPEG frame of {self.tile[0]} x {self.tile[1]} px")
            return self._decode(data, reduction)
        except (ValueError, OSError, imagecodecs.Jpeg8Error) as fault:
            raise ImageError(
                f"a damaged JPEG tile (column {column}, row {row}): {fault}",
                expected="a complete slide file",
                todo="copy the file again from the scanner",
                where=str(self.path),
            ) from fault

    def _decode(self, data: bytes, reduction: int) -> Rgb:
        if reduction == 1:
            pixels: Rgb = imagecodecs.jpeg8_decode(
                data, tables=self.tables or None, colorspace=self.space, outcolorspace="RGB"
            )
            return pixels
        space = {"YCBCR": "YCbCr"}.get(self.space, self.space)
        size = self.tile[0] // reduction, self.tile[1] // reduction
        whole = data[:2] + self.tables[2:-2] + data[2:]
        return np.asarray(Image.frombytes("RGB", size, whole, "jpeg", ("RGB", space, reduction, 0)))

    def close(self) -> None:
        """Close the file behind the grid."""
        os.close(self.file)


def jpeg_grids(path: Path, levels: Sequence[Level]) -> dict[int, JpegGrid]:
    """Level number -> its stored tiles, for the levels of a TIFF file that can be decoded as OpenSlide would.

    These have one page of exactly their size that is tiled, complete (no tile without bytes), JPEG-compressed
    (TIFF compression 7), of three interleaved 8-bit samples stored as RGB or YCbCr. The other levels are left out.
    """
    with tifffile.TiffFile(path) as file:
        pages = [page for page in file.pages if page.is_tiled]
        found = {}
        for number, level in enumerate(levels):
            fitting = [p for p in pages if (p.imagewidth, p.imagelength) == (level.width, level.height)]
            if len(fitting) == 1 and _decodable(fitting[0]):
                found[number] = _grid(path, fitting[0])
    return found


def _decodable(page: Any) -> bool:
    return (
        int(page.compression) == _JPEG
        and int(page.photometric) in _SPACES
        and page.samplesperpixel == 3
        and page.bitspersample == 8
        and int(page.planarconfig) == 1
        and page.tilewidth % max(REDUCTIONS) == page.tilelength % max(REDUCTIONS) == 0
        and min(page.databytecounts) > 0
    )


def _grid(path: Path, page: Any) -> JpegGrid:
    return JpegGrid(
        path=path,
        file=os.open(path, os.O_RDONLY),
        tile=(page.tilewidth, page.tilelength),
        columns=-(-page.imagewidth // page.tilewidth),
        offsets=page.dataoffsets,
        counts=page.databytecounts,
        tables=page.jpegtables or b"",
        space=_SPACES[int(page.photometric)],
    )


def frame_size(data: bytes) -> tuple[int, int]:
    """(width, height) of the frame in a JPEG stream. Raises ValueError where there is none."""
    at = 2
    while data[:2] == b"\xff\xd8" and at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in (0xC0, 0xC1, 0xC2):
            return int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7])
        at += 1 if marker == 0xFF else 2 if marker in _NO_SIZE else 2 + int.from_bytes(data[at + 2 : at + 4])
    raise ValueError("no JPEG frame")
