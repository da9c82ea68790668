"""Where an image lies: boxes, frames, regions, and what an image can be asked.

Axis order of `Frame` and coordinates is x, y(, z), as in DICOM; arrays are indexed the other way round ([z,] y, x).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Rgb = npt.NDArray[np.uint8]
"""Shape (height, width, 3) or (n, height, width, 3), values 0 to 255."""


class Box(NamedTuple):
    """A rectangle in a frame's pixels (level 0 of a slide); x, y is its top left corner. Fractions are allowed."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Where an image lies: shape in px (x, y[, z]), spacing and origin in `unit`, direction cosines or None."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    unit: Literal["um", "mm"]
    direction: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not len(self.shape) == len(self.spacing) == len(self.origin):
            raise ValueError(f"shape {self.shape}, spacing {self.spacing} and origin {self.origin} differ in length")
        if min(self.shape) < 1 or min(self.spacing) <= 0:
            raise ValueError(f"shape {self.shape} and spacing {self.spacing} must be positive")

    @property
    def mpp(self) -> float:
        """Micrometres per pixel, the mean of x and y; only for frames in um."""
        if self.unit != "um":
            raise ValueError(f"mpp is for frames in um, this one is in {self.unit}")
        return (self.spacing[0] + self.spacing[1]) / 2


class Image(Protocol):
    """One image that can be read by box: `Slide` today, `Scan` beside it."""

    @property
    def patient(self) -> str: ...
    @property
    def image(self) -> str: ...
    @property
    def frame(self) -> Frame: ...
    def read(self, box: Box, spacing: float) -> Rgb: ...
    def thumbnail(self, max_px: int) -> Rgb: ...


@dataclass(frozen=True, kw_only=True)
class Region:
    """Part of one image: a polygon in frame px on slides (shapely), a boolean mask on scans."""

    area: Any
    frame: Frame
    label: str
    source: str
