"""One slide's tiles as encoded pictures that can be read in any order: what networks trained on pixels read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import FeatureError
from phenolens.core.geometry import Frame, Rgb

PNG = b"\x89PNG"


class Encoded(Protocol):
    """Pictures as bytes, by row."""

    def __len__(self) -> int: ...
    def read(self, rows: Sequence[int]) -> list[bytes]:
        """The bytes of the given rows, in their order."""
        ...


@dataclass(frozen=True, kw_only=True)
class TileSet:
    """One slide's tiles, stored as JPEG or PNG.

    data holds the n pictures of size_px x size_px; outlines, where there are any, the part of each that lies in the
    annotated region (PNG of one channel, 255 inside). coords (n, 2) is the top left corner and extent the side of a
    tile, both in the frame's unit (um); recipe is the key of how the set was made.
    """

    data: Encoded
    outlines: Encoded | None
    coords: npt.NDArray[np.float64]
    extent: float
    size_px: int
    frame: Frame
    recipe: str

    def __post_init__(self) -> None:
        if len(self.data) != len(self.coords) or (self.outlines is not None and len(self.outlines) != len(self.data)):
            raise FeatureError(
                f"{len(self.data)} tiles with coordinates of shape {self.coords.shape}",
                expected="one row of coordinates (and one outline, where there are any) a tile",
                todo="extract the tiles of this image again",
            )

    def __len__(self) -> int:
        return len(self.data)

    @property
    def mpp(self) -> float:
        """Micrometres per px of the tiles."""
        return self.extent / self.size_px

    def pixels(self, rows: Sequence[int]) -> Rgb:
        """The tiles of the given rows, (n, size_px, size_px, 3). Raises FeatureError where one is damaged."""
        made = [self._decoded(data, row, (3,)) for data, row in zip(self.data.read(rows), rows, strict=True)]
        return np.stack(made) if made else np.zeros((0, self.size_px, self.size_px, 3), np.uint8)

    def inside(self, rows: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Which px of the given tiles lie in the annotated region, (n, size_px, size_px).

        Raises FeatureError where the tiles were stored without outlines.
        """
        if self.outlines is None:
            raise FeatureError(
                "tiles without outlines",
                expected="the annotated region of each tile",
                todo="extract the tiles with outlines: features: {encoder: pixels, outlines: true}",
            )
        made = [self._decoded(data, row, ()) > 127 for data, row in zip(self.outlines.read(rows), rows, strict=True)]
        return np.stack(made) if made else np.zeros((0, self.size_px, self.size_px), bool)

    def _decoded(self, data: bytes, row: int, channels: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        import imagecodecs

        try:
            made = imagecodecs.png_decode(data) if data[:4] == PNG else imagecodecs.jpeg8_decode(data)
        except (ValueError, imagecodecs.Jpeg8Error, imagecodecs.PngError) as fault:
            raise self._damaged(row, str(fault)) from fault
        if made.shape != (self.size_px, self.size_px, *channels):
            raise self._damaged(row, f"a picture of shape {made.shape}")
        pixels: npt.NDArray[np.uint8] = made
        return pixels

    def _damaged(self, row: int, why: str) -> FeatureError:
        return FeatureError(
            f"a damaged tile (row {row}): {why}",
            expected=f"a picture of {self.size_px} x {self.size_px} px",
            todo="delete the file of this image's tiles and run again",
            where=self.recipe,
        )


class TileSource(Protocol):
    """Where a set of tiles is read from when it is needed."""

    def load(self) -> TileSet: ...
