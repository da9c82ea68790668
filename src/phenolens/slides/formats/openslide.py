"""Slides that OpenSlide reads; JPEG tiles of Aperio and plain TIFF levels are decoded directly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import openslide

from phenolens.core.errors import ImageError
from phenolens.core.types import Rgb
from phenolens.slides.jpeg import JpegGrid, jpeg_grids
from phenolens.slides.levels import Level

_DIRECT_VENDORS = ("aperio", "generic-tiff")


class OpenSlideSource:
    """One slide behind OpenSlide."""

    stain_hint: str | None = None
    notes: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._slide = openslide.OpenSlide(path)
        except (openslide.OpenSlideError, OSError) as fault:
            raise _broken(path, fault) from fault
        known = self._slide.properties
        sizes = zip(self._slide.level_dimensions, self._slide.level_downsamples, strict=True)
        self.levels = tuple(Level(w, h, d) for (w, h), d in sizes)
        x, y = (_number(known.get(name)) for name in (openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y))
        self.mpp: tuple[float, float] | None = None if x is None and y is None else (x or y or 0.0, y or x or 0.0)
        left, top = (
            _number(known.get(name)) for name in (openslide.PROPERTY_NAME_BOUNDS_X, openslide.PROPERTY_NAME_BOUNDS_Y)
        )
        self.bounds = int(left or 0), int(top or 0)
        self._vendor = known.get(openslide.PROPERTY_NAME_VENDOR, "unknown")
        self.kind = f"{self._vendor.replace('-', ' ').capitalize()} slide"
        self._grids: dict[int, JpegGrid] | None = None

    def read_region(self, level: int, x: int, y: int, width: int, height: int) -> Rgb:
        """See `levels.Source`. OpenSlide is asked in whole level-0 px: at most half of one off on other levels."""
        at = self.levels[level].downsample
        try:
            picture = self._slide.read_region((round(x * at), round(y * at)), level, (width, height))
        except openslide.OpenSlideError as fault:
            raise _broken(self._path, fault) from fault
        return over_white(np.asarray(picture))

    def grid(self, level: int) -> JpegGrid | None:
        """The stored tiles, for the levels that `jpeg.jpeg_grids` can decode as OpenSlide does."""
        if self._grids is None:
            direct = self._vendor in _DIRECT_VENDORS
            self._grids = jpeg_grids(self._path, self.levels) if direct else {}
        return self._grids.get(level)

    def close(self) -> None:
        for grid in (self._grids or {}).values():
            grid.close()
        self._slide.close()


def over_white(rgba: Rgb) -> Rgb:
    """(height, width, 4) with straight alpha, laid over white: (height, width, 3)."""
    alpha = rgba[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(rgba[..., :3])
    a = alpha.astype(np.uint16)
    return ((rgba[..., :3] * a + 255 * (255 - a) + 127) // 255).astype(np.uint8)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if value > 0 else None


def _broken(path: Path, fault: Exception) -> ImageError:
    reason = str(fault).removeprefix(f"Reading {path}: ")
    return ImageError(
        f"a slide that OpenSlide cannot read: {reason}",
        expected="a complete slide file",
        todo="copy the file again from the scanner; open it in QuPath to see whether it is damaged",
        where=str(path),
    )


@dataclass(frozen=True, kw_only=True)
class OpenSlideFormat:
    """svs, ndpi, mrxs, scn, bif, vms, svslide, czi and tiled TIFF, through OpenSlide."""

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Slides of the common scanners, through OpenSlide"
    suffixes: ClassVar[tuple[str, ...]] = (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".svslide", ".czi", ".tif")
    priority: ClassVar[int] = 10

    def accepts(self, path: Path) -> bool:
        """Whether OpenSlide knows the kind of file."""
        return path.is_file() and openslide.OpenSlide.detect_format(path) is not None

    def open(self, path: Path) -> OpenSlideSource:
        """Raises ImageError when OpenSlide cannot open it."""
        return OpenSlideSource(path)


plugin = OpenSlideFormat
