"""Write synthetic slides as pyramidal Aperio-style TIFF files (SVS) that OpenSlide opens, tile by tile.

Pages as Aperio lays them out: the full slide, a thumbnail, the smaller levels, the label and the macro picture (Aperio
Digital Slides and Third-Party Data Interchange, rev. E). No page is ever whole in memory but the small pictures.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import imagecodecs
import numpy as np
import tifffile
from PIL import Image as Pillow
from PIL import ImageDraw

from phenolens.core.store import atomic
from phenolens.core.types import Rgb

_BLOCK = 2048
_STEP = 4


class Painter(Protocol):
    """Paints a box of level 0, given in px, as (height, width, 3); boxes are asked for in rows from the top."""

    def __call__(self, x: int, y: int, width: int, height: int) -> Rgb: ...


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a slide lies in its file: size in px, mpp (None leaves it and the magnification out), tile side, number of
    levels (each a quarter of the one before), JPEG quality and the text on its label."""

    width: int
    height: int
    mpp: float | None
    tile: int = 256
    levels: int = 2
    quality: int = 85
    label: str = "synthetic"

    def __post_init__(self) -> None:
        if self.tile % (16 * _STEP) or not 1 <= self.levels <= 3:
            raise ValueError(
                f"a tile of 64, 128, 192 … px and 1 to 3 levels are wanted, found {self.tile} and {self.levels}"
            )
        if min(self.width, self.height) < _STEP**self.levels * 4:
            raise ValueError(f"a slide of {self.width} x {self.height} px is too small for {self.levels} levels")

    def size(self, level: int) -> tuple[int, int]:
        """Width and height of a level in px."""
        return self.width // _STEP**level, self.height // _STEP**level


def write(path: Path, paint: Painter, layout: Layout, *, pool: Sequence[Rgb] | None = None) -> None:
    """Write one slide, whole or not at all; the same call gives the same bytes.

    Memory is bounded by a row of tiles, not by the slide. With `pool`, tiles (tile, tile, 3) that are repeated over the
    slide in an irregular order, nothing is painted and a slide of 40,000 x 40,000 px takes seconds.
    """
    with atomic(path) as part, ExitStack() as open_files:
        numbers = range(1, max(layout.levels, 2))
        files = [open_files.enter_context(tempfile.TemporaryFile(dir=path.parent)) for _ in numbers]
        spools = [_Spool(file, layout, level) for file, level in zip(files, numbers, strict=True)]
        rows = _painted(paint, layout) if pool is None else _pooled(list(pool), layout)
        with tifffile.TiffWriter(part, bigtiff=False) as tiff:
            _page(tiff, layout, 0, _spooled(rows, spools), _describe(layout))
            thumbnail = spools[-1].picture(768)
            _picture(tiff, thumbnail, _describe(layout, f"{thumbnail.shape[1]}x{thumbnail.shape[0]}"))
            for level, spool in enumerate(spools[: layout.levels - 1], start=1):
                size = "x".join(str(n) for n in layout.size(level))
                _page(tiff, layout, level, spool.tiles(), _describe(layout, size))
            label = _label(layout.label)
            _picture(tiff, label, f"{_NAME}\r\nlabel {label.shape[1]}x{label.shape[0]}", lossless=True)
            macro = _macro(thumbnail, label)
            _picture(tiff, macro, f"{_NAME}\r\nmacro {macro.shape[1]}x{macro.shape[0]}")


_NAME = "Aperio Image Library v12.0.15"


def _describe(layout: Layout, smaller: str = "") -> str:
    whole = f"{layout.width}x{layout.height}"
    text = f"{_NAME}\r\n{whole} [0,0 {whole}] ({layout.tile}x{layout.tile})"
    text += f" -> {smaller} JPEG/RGB Q={layout.quality}" if smaller else f" JPEG/RGB Q={layout.quality}"
    text += "|ScanScope ID = SYNTHETIC|Title = made by phenolens, no patient"
    if layout.mpp is not None:
        text += f"|AppMag = {40 if layout.mpp < 0.375 else 20 if layout.mpp < 0.75 else 10}|MPP = {layout.mpp:.4f}"
    return text


Row = tuple[list[bytes], Rgb]
"""One row of tiles as JPEG, and the same row, cut to the slide, as a picture a quarter the size."""


def _encode(tile: Rgb, quality: int) -> bytes:
    return bytes(
        imagecodecs.jpeg8_encode(tile, level=quality, colorspace="RGB", outcolorspace="YCBCR", subsampling="420")
    )


def _cut(strip: Rgb, side: int, quality: int) -> list[bytes]:
    """A strip (up to `side` rows) as JPEG tiles; what lies outside is white."""
    height, width = strip.shape[:2]
    full = np.full((side, -(-width // side) * side, 3), 255, dtype=np.uint8)
    full[:height, :width] = strip
    return [_encode(np.ascontiguousarray(full[:, x : x + side]), quality) for x in range(0, full.shape[1], side)]


def _reduce(strip: Rgb) -> Rgb:
    """A quarter of the size by area means; odd rows and columns at the end are left out, as in the level's size."""
    height, width = strip.shape[0] // _STEP * _STEP, strip.shape[1] // _STEP * _STEP
    if not height or not width:
        return np.zeros((height // _STEP, width // _STEP, 3), dtype=np.uint8)
    return np.asarray(Pillow.fromarray(np.ascontiguousarray(strip[:height, :width])).reduce(_STEP))


def _painted(paint: Painter, layout: Layout) -> Iterator[Row]:
    side = layout.tile
    for top in range(0, layout.height, 2 * side):
        height = min(2 * side, layout.height - top)
        boxes = [(x, min(_BLOCK, layout.width - x)) for x in range(0, layout.width, _BLOCK)]
        band = np.concatenate([paint(x, top, width, height) for x, width in boxes], axis=1)
        for y in range(0, height, side):
            strip = band[y : y + side]
            yield _cut(strip, side, layout.quality), _reduce(strip)


def _pooled(pool: list[Rgb], layout: Layout) -> Iterator[Row]:
    side = layout.tile
    if not pool or any(tile.shape != (side, side, 3) for tile in pool):
        raise ValueError(f"a pool of tiles of {side} x {side} px is wanted")
    whole, small = [_encode(tile, layout.quality) for tile in pool], [_reduce(tile) for tile in pool]
    columns = np.arange(-(-layout.width // side))
    for row, top in enumerate(range(0, layout.height, side)):
        which = (columns * 7919 + row * 104_729 + (columns * row) % 31) % len(pool)
        strip = np.concatenate([small[i] for i in which], axis=1)
        rows = min(side, layout.height - top) // _STEP
        yield [whole[i] for i in which], strip[:rows, : layout.width // _STEP]


def _spooled(rows: Iterator[Row], spools: Sequence[_Spool]) -> Iterator[bytes]:
    for tiles, strip in rows:
        small = strip
        for spool in spools:
            spool.add(small)
            small = _reduce(small)
        yield from tiles


class _Spool:
    """The rows of a smaller level, kept in a file until its page's turn comes."""

    def __init__(self, file: IO[bytes], layout: Layout, level: int) -> None:
        self.width, self.height = layout.size(level)
        self.side, self.quality = layout.tile, layout.quality
        self.file = file

    def add(self, strip: Rgb) -> None:
        self.file.write(np.ascontiguousarray(strip[:, : self.width]).tobytes())

    def tiles(self) -> Iterator[bytes]:
        self.file.seek(0)
        for top in range(0, self.height, self.side):
            yield from _cut(self._read(min(self.side, self.height - top)), self.side, self.quality)

    def picture(self, side: int) -> Rgb:
        """The whole level as a picture of at most `side` px, put together in strips."""
        step = max(1, -(-max(self.width, self.height) // side))
        self.file.seek(0)
        strips = []
        for _ in range(self.height // step):
            strip = self._read(step)[:, : self.width // step * step]
            strips.append(strip.reshape(step, -1, step, 3).mean((0, 2)))
        return np.round(np.stack(strips)).astype(np.uint8)

    def _read(self, rows: int) -> Rgb:
        data = self.file.read(rows * self.width * 3)
        return np.frombuffer(data, dtype=np.uint8).reshape(rows, self.width, 3)


def _page(tiff: tifffile.TiffWriter, layout: Layout, level: int, tiles: Iterator[bytes], text: str) -> None:
    width, height = layout.size(level)
    tiff.write(
        tiles,
        shape=(height, width, 3),
        dtype=np.uint8,
        tile=(layout.tile, layout.tile),
        photometric="ycbcr",
        compression="jpeg",
        subsampling=(2, 2),
        description=text,
        metadata=None,
        software=False,
        subfiletype=0,
    )


def _picture(tiff: tifffile.TiffWriter, picture: Rgb, text: str, *, lossless: bool = False) -> None:
    """A small picture in one strip: JPEG, or LZW as Aperio stores labels."""
    height, width = picture.shape[:2]
    shared = {"description": text, "metadata": None, "software": False, "rowsperstrip": height}
    if lossless:
        tiff.write(picture, photometric="rgb", compression="lzw", subfiletype=1, **shared)
        return
    tiff.write(
        iter([_encode(np.ascontiguousarray(picture), 85)]),
        shape=(height, width, 3),
        dtype=np.uint8,
        photometric="ycbcr",
        compression="jpeg",
        subsampling=(2, 2),
        subfiletype=0 if "label" not in text and "macro" not in text else 9,
        **shared,
    )


def _label(text: str) -> Rgb:
    canvas = Pillow.new("RGB", (400, 380), (250, 250, 246))
    pen = ImageDraw.Draw(canvas)
    pen.rectangle([8, 8, 391, 371], outline=(60, 60, 60), width=3)
    for i, line in enumerate(["SYNTHETIC", *text.split("\n")]):
        pen.text((34, 60 + 60 * i), line, fill=(20, 20, 20), font_size=40)
    return np.array(canvas)


def _macro(thumbnail: Rgb, label: Rgb) -> Rgb:
    """The whole glass, as a scanner's overview camera sees it: label on the left, tissue on the right."""
    canvas = Pillow.new("RGB", (1280, 432), (226, 226, 222))
    canvas.paste(Pillow.fromarray(label).resize((380, 361)), (20, 35))
    tissue = Pillow.fromarray(thumbnail)
    tissue.thumbnail((760, 380))
    canvas.paste(tissue, (460, (432 - tissue.height) // 2))
    return np.array(canvas)
