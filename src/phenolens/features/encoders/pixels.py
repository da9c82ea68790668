"""Encoder `pixels`: the tiles themselves, stored as JPEG or PNG, for networks that are trained on pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

from phenolens.core.types import Rgb


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """Every tile as a JPEG of `quality` without reduced colour, or as PNG, loss-free, where quality is null.

    At quality 90 a tile of 224 px takes about 20 kB, an eighth of its pixels. With `outlines` the part of each tile
    that lies in the annotated class is stored beside it.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "the tiles themselves, as JPEG or PNG, for networks trained on pixels"
    reads: ClassVar[str] = "slide"
    makes: ClassVar[str] = "tiles"
    licence: ClassVar[str] = "Apache-2.0 (this package)"
    place: ClassVar[Literal["cpu", "device"]] = "cpu"
    mpp: ClassVar[float | None] = None
    size_px: ClassVar[int | None] = None
    names: ClassVar[tuple[str, ...] | None] = None

    quality: int | None = 90
    outlines: bool = False

    def __post_init__(self) -> None:
        if self.quality is not None and not 50 <= self.quality <= 100:
            raise ValueError(f"quality must lie in 50 to 100, or be null for PNG, not {self.quality}")

    def load(self, device: str) -> Callable[[Rgb, float], list[bytes]]:
        """A function from tiles (n, s, s, 3) to their bytes; `device` makes no difference."""
        del device
        return self.encode

    def encode(self, tiles: Rgb, _mpp: float) -> list[bytes]:
        """One picture a tile."""
        import imagecodecs

        if self.quality is None:
            return [bytes(imagecodecs.png_encode(tile)) for tile in tiles]
        return [bytes(imagecodecs.jpeg8_encode(t, level=self.quality, subsampling="444")) for t in tiles]


plugin = Pixels
