"""A folder of ready-cut tiles as one slide, or one PNG, JPEG or BMP picture as a slide of one level."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, gcd, sqrt
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from phenolens.core.errors import ImageError
from phenolens.core.types import Rgb
from phenolens.slides.levels import Level

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
_TILES = (*_PICTURES, ".tif", ".tiff")
_MOST_PX = 150_000_000
_CACHE_PX = 20_000_000
_PLACE = re.compile(r"(?:^|[^0-9a-z])\(?x?=?(\d+)\s*[,_-]\s*y?=?(\d+)\)?$", re.IGNORECASE)
_ENOUGH = 4


@dataclass(frozen=True)
class Tile:
    """One picture and where it lies on the canvas, in px."""

    path: Path
    x: int
    y: int
    width: int
    height: int


class FolderSource:
    """Pictures on a white canvas; where two overlap, the later by name is seen."""

    bounds: tuple[int, int] = (0, 0)
    mpp: tuple[float, float] | None = None
    stain_hint: str | None = None

    def __init__(self, tiles: Sequence[Tile], kind: str, notes: tuple[str, ...]) -> None:
        self._tiles = tuple(tiles)
        self.kind, self.notes = kind, notes
        edges = np.array([(t.x, t.y, t.x + t.width, t.y + t.height) for t in tiles])
        self._edges = edges
        self.levels = (Level(int(edges[:, 2].max()), int(edges[:, 3].max()), 1.0),)
        largest = max(t.width * t.height for t in tiles)
        self._pixels = lru_cache(maxsize=max(1, _CACHE_PX // largest))(_pixels)

    def read_region(self, level: int, x: int, y: int, width: int, height: int) -> Rgb:  # noqa: ARG002 (one level)
        """See `levels.Source`."""
        out = np.full((height, width, 3), 255, np.uint8)
        left, top, right, bottom = self._edges.T
        for i in np.flatnonzero((left < x + width) & (right > x) & (top < y + height) & (bottom > y)):
            tile = self._tiles[i]
            a, b = max(tile.x - x, 0), max(tile.y - y, 0)
            c, d = min(tile.x + tile.width - x, width), min(tile.y + tile.height - y, height)
            part = self._pixels(tile.path)[b + y - tile.y : d + y - tile.y, a + x - tile.x : c + x - tile.x]
            out[b:d, a:c] = part
        return out

    def close(self) -> None:
        self._pixels.cache_clear()


def _pixels(path: Path) -> Rgb:
    with _open(path) as picture:
        try:
            if picture.mode == "RGB":
                return np.asarray(picture)
            rgba = picture.convert("RGBA")
        except (OSError, ValueError) as fault:
            raise _unreadable(path, fault) from fault
    return np.asarray(Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB"))


def _open(path: Path) -> Image.Image:
    """The picture, its pixels not read yet. Raises ImageError when it is damaged, too large or not 8-bit colour."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(path)
    except Image.DecompressionBombError as fault:
        raise _too_large(path, str(fault)) from fault
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as fault:
        raise _unreadable(path, fault) from fault
    if picture.width * picture.height > _MOST_PX:
        picture.close()
        raise _too_large(path, f"{picture.width} x {picture.height} px")
    if picture.mode not in ("RGB", "RGBA", "P"):
        picture.close()
        raise ImageError(
            f"a picture of mode {picture.mode} ({picture.width} x {picture.height} px)",
            expected="8-bit RGB colour",
            todo="save it as 8-bit RGB, or leave it out",
            where=str(path),
        )
    return picture


def _size(path: Path) -> tuple[int, int]:
    with _open(path) as picture:
        return picture.size


def _too_large(path: Path, size: str) -> ImageError:
    return ImageError(
        f"a picture too large to be decoded at once ({size})",
        expected=f"at most {_MOST_PX // 1_000_000} million px in one PNG, JPEG or BMP",
        todo="convert it to a tiled, pyramidal TIFF, for example: vips tiffsave IN OUT --tile --pyramid",
        where=str(path),
    )


def _unreadable(path: Path, fault: Exception) -> ImageError:
    return ImageError(
        f"a picture that cannot be read: {fault}",
        expected="a complete PNG, JPEG, BMP or TIFF",
        todo="copy the file again",
        where=str(path),
    )


def lay_out(paths: Sequence[Path], sizes: Sequence[tuple[int, int]]) -> tuple[list[Tile], str]:
    """The tiles on a canvas that begins at (0, 0), and a sentence on how they were placed.

    By the numbers that end every name (`tile_512_0`, `x=512,y=0`, `a_(512,0)`), in px, in tiles where taken as px all
    would lie within a tile's width, or in whole multiples of a tile's side (then of the px they were cut from). Where
    a name has none, or two tiles have the same place: row by row in the order of names.
    """
    found = [_PLACE.search(p.stem) for p in paths]
    width, height = max(w for w, _ in sizes), max(h for _, h in sizes)
    places = [(int(m[1]), int(m[2])) for m in found if m]
    if len(places) < len(paths) or len(set(places)) < len(paths):
        columns = ceil(sqrt(len(paths)))
        xy = [(i % columns * width, i // columns * height) for i in range(len(paths))]
        said = "tiles laid out row by row in the order of their names: they are not neighbours on the slide"
    else:
        x0, y0 = (min(p[i] for p in places) for i in (0, 1))
        step_x, step_y = (gcd(*(p[i] - z for p in places)) for i, z in ((0, x0), (1, y0)))
        across, down = _scale(step_x, step_y, width, height, len(paths))
        xy = [(round((x - x0) * across), round((y - y0) * down)) for x, y in places]
        unit = "px" if across == down == 1 else f"steps of {step_x or step_y} from tile to tile"
        said = f"tiles placed by the numbers in their names, taken as {unit}; the canvas begins at ({x0}, {y0})"
    return [Tile(p, x, y, w, h) for p, (x, y), (w, h) in zip(paths, xy, sizes, strict=True)], said


def _scale(step_x: int, step_y: int, width: int, height: int, n: int) -> tuple[float, float]:
    """Canvas px per unit of the numbers in the names, across and down. A step of 0: all tiles in one column or row."""
    steps = {s for s in (step_x, step_y) if s}
    if steps and max(steps) == 1:
        return width, height
    times = {s / side for s, side in ((step_x, width), (step_y, height)) if s}
    if n >= _ENOUGH and len(times) == 1 and min(times) > 1 and min(times) == int(min(times)):
        return 1 / min(times), 1 / min(times)
    return 1, 1


def _is_tile(path: Path) -> bool:
    return path.suffix.lower() in _TILES and not path.name.startswith(".") and path.is_file()


def _by_number(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


@dataclass(frozen=True, kw_only=True)
class FolderFormat:
    """A folder of tiles, or one picture. The resolution is always declared in the images table."""

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "A folder of ready-cut tiles, or one PNG, JPEG or BMP picture"
    suffixes: ClassVar[tuple[str, ...]] = _PICTURES
    priority: ClassVar[int] = 40

    def accepts(self, path: Path) -> bool:
        """Whether it is a picture by its name, or a folder that holds one (and no DICOM: that is another format's)."""
        if path.is_dir():
            suffixes = {f.suffix.lower() for f in path.iterdir()}
            return ".dcm" not in suffixes and not suffixes.isdisjoint(_TILES)
        return path.suffix.lower() in _PICTURES

    def open(self, path: Path) -> FolderSource:
        """Raises ImageError when a picture is damaged, too large or not 8-bit colour."""
        if path.is_file():
            return FolderSource([Tile(path, 0, 0, *_size(path))], "picture", ())
        paths = sorted((f for f in path.iterdir() if _is_tile(f)), key=_by_number)
        tiles, said = lay_out(paths, [_size(p) for p in paths])
        return FolderSource(tiles, f"folder of {len(paths)} tiles", (said,))


plugin = FolderFormat
