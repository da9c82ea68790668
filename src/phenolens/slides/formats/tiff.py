"""TIFF and OME-TIFF of 8-bit RGB, pyramidal or flat, tiled or in strips, through tifffile."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

import numpy as np
import tifffile

from phenolens.core.errors import ImageError
from phenolens.core.types import Rgb
from phenolens.slides.jpeg import JpegGrid, jpeg_grids
from phenolens.slides.levels import Level, TileGrid
from phenolens.slides.stored import Tiles

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MOST_PX = 150_000_000
_STRIP_ROWS = 64
_UM = {"um": 1.0, "µm": 1.0, "μm": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}
_PER_UNIT = {2: 25400.0, 3: 10000.0}
_ASPECT = 0.02


@dataclass(frozen=True, kw_only=True)
class SegmentGrid:
    """The tiles or strips of one page, decoded by tifffile (a `levels.TileGrid`). `ask` is the page's own decoder."""

    path: Path
    file: int
    tile: tuple[int, int]
    columns: int
    planes: int
    offsets: Sequence[int]
    counts: Sequence[int]
    tables: bytes | None
    ask: Any
    reductions: tuple[int, ...] = (1,)

    def decode(self, column: int, row: int, reduction: int) -> Rgb:  # noqa: ARG002 (by the protocol)
        """See `levels.TileGrid`. The last strip may be shorter. Raises ImageError where the tile is damaged."""
        at = row * self.columns + column
        each = len(self.offsets) // self.planes
        parts = [self._segment(at + plane * each) for plane in range(self.planes)]
        pixels = parts[0] if self.planes == 1 else np.concatenate(parts, axis=2)
        return pixels[..., :3] if pixels.shape[2] == 3 else _over_white(pixels)

    def _segment(self, at: int) -> Rgb:
        if self.counts[at] == 0:
            return np.full((self.tile[1], self.tile[0], 3 if self.planes == 1 else 1), 255, np.uint8)
        try:
            data = os.pread(self.file, self.counts[at], self.offsets[at])
            pixels = self.ask(data, at, jpegtables=self.tables, _fullsize=True)[0]
        except (ValueError, RuntimeError, OSError, NotImplementedError, tifffile.TiffFileError) as fault:
            raise _refused(self.path, f"a damaged or unknown TIFF tile (number {at}): {fault}") from fault
        found: Rgb = np.asarray(pixels)[0]
        return found

    def close(self) -> None:
        os.close(self.file)


@dataclass(frozen=True, kw_only=True)
class RowGrid:
    """An uncompressed page stored as one block, read in strips of 64 rows (a `levels.TileGrid`)."""

    path: Path
    file: int
    tile: tuple[int, int]
    start: int
    samples: int
    rows: int
    reductions: tuple[int, ...] = (1,)

    def decode(self, column: int, row: int, reduction: int) -> Rgb:  # noqa: ARG002 (by the protocol)
        """See `levels.TileGrid`; column is always 0, and the last strip is shorter."""
        line = self.tile[0] * self.samples
        rows = min(self.tile[1], self.rows - row * self.tile[1])
        data = os.pread(self.file, rows * line, self.start + row * self.tile[1] * line)
        if len(data) != rows * line:
            raise _refused(self.path, f"a TIFF that ends within row {row * self.tile[1] + len(data) // line}")
        pixels = np.frombuffer(data, np.uint8).reshape(rows, self.tile[0], self.samples)
        return pixels if self.samples == 3 else _over_white(pixels)

    def close(self) -> None:
        os.close(self.file)


class TiffSource:
    """The largest RGB image of a TIFF file with its smaller copies."""

    bounds: tuple[int, int] = (0, 0)
    stain_hint: str | None = None
    notes: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with tifffile.TiffFile(path) as file:
                series = _slide_series(file, path)
                pages = _pyramid(series)
                _refuse_short(path, pages)
                self.kind = "OME-TIFF" if file.is_ome else "TIFF"
                self.mpp = _ome_mpp(file) or _tag_mpp(pages[0])
                self.levels = _levels(pages)
                direct = jpeg_grids(path, self.levels)
                self._grids = [direct.get(i) or _grid(path, page) for i, page in enumerate(pages)]
        except (tifffile.TiffFileError, ValueError, struct.error, IndexError, ElementTree.ParseError) as fault:
            raise _refused(path, f"a TIFF that cannot be read: {fault}") from fault

    def grid(self, level: int) -> TileGrid:
        """The stored tiles or strips; all reading goes through them."""
        return self._grids[level]

    def read_region(self, level: int, x: int, y: int, width: int, height: int) -> Rgb:
        """See `levels.Source`."""
        return Tiles(self._grids[level]).read(x, y, width, height, 1)

    def close(self) -> None:
        for grid in self._grids:
            grid.close()


def _refuse_short(path: Path, pages: Sequence[Any]) -> None:
    """Refuse a file that ends before the pixels it points to: a copy that broke off."""
    size = path.stat().st_size
    wanted = max(o + c for page in pages for o, c in zip(page.dataoffsets, page.databytecounts, strict=True))
    if wanted > size:
        raise ImageError(
            f"a TIFF of {size:,} bytes whose pixels end at byte {wanted:,}",
            expected="a whole file; this one broke off",
            todo="copy the file again from the scanner or archive",
            where=str(path),
        )


def _slide_series(file: Any, path: Path) -> Any:
    """The largest image of the file; refused unless it is 8-bit RGB in one plane of focus."""
    if not file.series:
        raise _refused(path, "a TIFF without an image")
    series = max(file.series, key=lambda s: s.sizes.get("width", 0) * s.sizes.get("height", 0))
    page = series.levels[0].pages[0]
    bits = np.dtype(series.dtype).itemsize * 8
    if series.dtype != np.uint8 or page.samplesperpixel not in (3, 4) or page.photometric not in (2, 6):
        shape = " x ".join(f"{name} {n}" for name, n in series.sizes.items())
        raise ImageError(
            f"a TIFF of {bits}-bit samples ({series.dtype}), {page.samplesperpixel} a px ({shape})",
            expected="an RGB image of 8 bits, as bright-field scanners make them; not fluorescence or raw data",
            todo="export this slide as 8-bit RGB, or leave it out of the images table",
            where=str(path),
        )
    if set(series.axes) - set("YXS"):
        raise _refused(path, f"a stack of RGB images (axes {series.axes}, {' x '.join(map(str, series.shape))})")
    return series


def _pyramid(series: Any) -> list[Any]:
    """The first pages of the levels, finest first, without any of another shape (a thumbnail or a macro image)."""
    pages = [level.pages[0] for level in series.levels]
    first = pages[0]
    aspect = first.imagewidth / first.imagelength
    near = [p for p in pages[1:] if min(p.imagewidth, p.imagelength) < 32 or _same(p, aspect)]
    return [first, *(p for p in near if p.imagewidth < first.imagewidth)]


def _same(page: Any, aspect: float) -> bool:
    return bool(abs(page.imagewidth / page.imagelength / aspect - 1) < _ASPECT)


def _levels(pages: Sequence[Any]) -> tuple[Level, ...]:
    w, h = pages[0].imagewidth, pages[0].imagelength
    return tuple(
        Level(p.imagewidth, p.imagelength, (w / p.imagewidth + h / p.imagelength) / 2 if i else 1.0)
        for i, p in enumerate(pages)
    )


def _grid(path: Path, page: Any) -> SegmentGrid | RowGrid | JpegGrid:
    width, height, samples = page.imagewidth, page.imagelength, page.samplesperpixel
    plain = page.compression == 1 and page.predictor == 1 and page.planarconfig == 1 and not page.is_tiled
    if plain and page.is_contiguous:
        return RowGrid(
            path=path,
            file=os.open(path, os.O_RDONLY),
            tile=(width, min(_STRIP_ROWS, height)),
            start=page.dataoffsets[0],
            samples=samples,
            rows=height,
        )
    tile = (page.tilewidth, page.tilelength) if page.is_tiled else (width, min(page.rowsperstrip, height))
    if page.compression != 1 and page.compression not in tifffile.TIFF.DECOMPRESSORS:
        raise _refused(path, f"a TIFF of unknown compression {int(page.compression)}")
    if tile[0] * tile[1] > _MOST_PX:
        raise ImageError(
            f"a TIFF whose {width} x {height} px are compressed as one block",
            expected=f"tiles or strips of at most {_MOST_PX // 1_000_000} million px",
            todo="convert it to a tiled, pyramidal TIFF, for example: vips tiffsave IN OUT --tile --pyramid",
            where=str(path),
        )
    return SegmentGrid(
        path=path,
        file=os.open(path, os.O_RDONLY),
        tile=tile,
        columns=-(-width // tile[0]),
        planes=samples if page.planarconfig == 2 else 1,
        offsets=page.dataoffsets,
        counts=page.databytecounts,
        tables=page.jpegtables,
        ask=page.decode,
    )


def _ome_mpp(file: Any) -> tuple[float, float] | None:
    """PhysicalSizeX and Y of the largest image in the OME-XML, in um; None where there is none in a unit of length."""
    if not file.is_ome or not file.ome_metadata:
        return None
    pixels = [e for e in ElementTree.fromstring(file.ome_metadata).iter() if e.tag.rpartition("}")[2] == "Pixels"]
    largest = max(pixels, key=lambda e: int(e.get("SizeX", 0)) * int(e.get("SizeY", 0)), default=None)
    if largest is None:
        return None
    sizes = []
    for axis in ("X", "Y"):
        value, unit = largest.get(f"PhysicalSize{axis}"), largest.get(f"PhysicalSize{axis}Unit", "µm")
        if value is None or unit not in _UM:
            return None
        sizes.append(float(value) * _UM[unit])
    return sizes[0], sizes[1]


def _tag_mpp(page: Any) -> tuple[float, float] | None:
    """um per px by the resolution tags; None where they have no unit or no value."""
    per = _PER_UNIT.get(int(page.resolutionunit))
    tags = [page.tags.get(name) for name in ("XResolution", "YResolution")]
    if per is None or None in tags:
        return None
    x, y = (tag.value[0] / tag.value[1] if tag.value[1] else 0.0 for tag in tags)
    return (per / x, per / y) if x > 0 and y > 0 else None


def _over_white(pixels: Rgb) -> Rgb:
    alpha = pixels[..., 3:4].astype(np.uint16)
    return ((pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _refused(path: Path, found: str) -> ImageError:
    return ImageError(
        found,
        expected="a complete TIFF of 8-bit RGB in one plane",
        todo="copy the file again, or export the slide again as a pyramidal TIFF",
        where=str(path),
    )


@dataclass(frozen=True, kw_only=True)
class TiffFormat:
    """TIFF, BigTIFF and OME-TIFF of 8-bit RGB."""

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "TIFF and OME-TIFF of 8-bit RGB, pyramidal or flat, through tifffile"
    suffixes: ClassVar[tuple[str, ...]] = (".tif", ".tiff")
    priority: ClassVar[int] = 30

    def accepts(self, path: Path) -> bool:
        """Whether the file begins as TIFF or BigTIFF does; a DICOM file that is a TIFF as well is read as DICOM."""
        if not path.is_file():
            return False
        with path.open("rb") as file:
            start = file.read(132)
        return start[:4] in _MAGIC and start[128:] != b"DICM"

    def open(self, path: Path) -> TiffSource:
        """Raises ImageError unless the largest image is 8-bit RGB that can be read tile by tile."""
        return TiffSource(path)


plugin = TiffFormat
