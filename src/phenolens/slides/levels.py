"""What a format gives: the levels of a slide and their pixels; and the choice of a level for an asked resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from phenolens.core.types import Rgb

FINER = 0.01
"""How much coarser than asked (relative) a level may be and still count as "at or above": roundings of level sizes."""


@dataclass(frozen=True)
class Level:
    """One level of the pyramid: size in its own px and level-0 px per px (downsample)."""

    width: int
    height: int
    downsample: float


class Source(Protocol):
    """An open slide file, as a format gives it.

    levels: finest first. mpp: (x, y) in um per level-0 px as the file says, unjudged, or None. bounds: where the
    scanned area begins, (x, y) in level-0 px; QuPath's coordinates start there. kind: what the file is, in words for
    messages ("Aperio TIFF"). stain_hint: the stain as the file names it, or None.
    """

    @property
    def levels(self) -> tuple[Level, ...]: ...
    @property
    def mpp(self) -> tuple[float, float] | None: ...
    @property
    def bounds(self) -> tuple[int, int]: ...
    @property
    def kind(self) -> str: ...
    @property
    def stain_hint(self) -> str | None: ...
    @property
    def notes(self) -> tuple[str, ...]: ...

    def read_region(self, level: int, x: int, y: int, width: int, height: int) -> Rgb:
        """Pixels of one level, (height, width, 3); x, y in px of that level. Asked only inside the level.

        Where the scanner stored nothing, and under transparency: white. Raises ImageError when it cannot be read.
        """
        ...

    def close(self) -> None: ...


class TileGrid(Protocol):
    """The stored tiles of one level, decoded one by one.

    tile: (width, height) in px. reductions: the whole factors by which a tile can be made smaller while it is decoded,
    ascending, 1 first; each divides both sides of a tile.
    """

    @property
    def tile(self) -> tuple[int, int]: ...
    @property
    def reductions(self) -> tuple[int, ...]: ...

    def decode(self, column: int, row: int, reduction: int) -> Rgb:
        """One whole stored tile, (height / reduction, width / reduction, 3), with its padding beyond the level."""
        ...


@runtime_checkable
class TiledSource(Protocol):
    """A source that may give the stored tiles of a level, so that they are decoded directly."""

    def grid(self, level: int) -> TileGrid | None:
        """The stored tiles, or None where this level must be read by `read_region`."""
        ...


def nearest_level(levels: Sequence[Level], downsample: float) -> int:
    """The coarsest level at or above the asked resolution (level-0 px per px), else the finest there is."""
    fit = [i for i, level in enumerate(levels) if level.downsample <= downsample * (1 + FINER)]
    return max(fit, key=lambda i: levels[i].downsample) if fit else 0


def reduction(reductions: Sequence[int], downsample: float) -> int:
    """The largest reduction at or above the asked resolution (px of the level per px)."""
    return max((r for r in reductions if r <= downsample * (1 + FINER)), default=1)
