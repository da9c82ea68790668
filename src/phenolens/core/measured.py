"""What was measured of one image, as models read it, and where it is read from when it is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import FeatureError
from phenolens.core.geometry import Frame

FloatArray = npt.NDArray[np.float32]
"""Shape (n, d), (n,) or as said where it is used."""


@dataclass(frozen=True, kw_only=True)
class Bag:
    """One image's instances.

    x is (n, d) float32; coords is (n, 2 or 3) in the frame's unit (top left corner of the instance); extent is the side
    of an instance in that unit; names holds d feature names or None; recipe is the key of how it was made.
    """

    x: FloatArray
    coords: npt.NDArray[np.float64]
    extent: float
    names: tuple[str, ...] | None
    frame: Frame
    recipe: str

    def __post_init__(self) -> None:
        if self.x.ndim != 2 or len(self.x) != len(self.coords):
            raise FeatureError(
                f"features of shape {self.x.shape} with coordinates of shape {self.coords.shape}",
                expected="one row of each an instance",
                todo="extract the features of this image again",
            )
        if self.names is not None and len(self.names) != self.x.shape[1]:
            raise FeatureError(
                f"{len(self.names)} names for {self.x.shape[1]} features",
                expected="one name a feature",
                todo="extract the features of this image again",
            )


@dataclass(frozen=True, kw_only=True)
class Volume:
    """One image's crop, as networks in three dimensions read it.

    x is (c, z, y, x) float32; mask is (z, y, x) bool or None; frame (in mm) is that of the crop; recipe is the key of
    how it was made. landmarks are percentiles of the whole image's intensities, for a standard scale that is fitted
    inside a fold, or None; mask_channel says that the last channel is the share of each voxel in the region, and no
    intensity.
    """

    x: FloatArray
    mask: npt.NDArray[np.bool_] | None
    frame: Frame
    recipe: str
    landmarks: tuple[float, ...] | None = None
    mask_channel: bool = False

    def __post_init__(self) -> None:
        grid = self.frame.shape[::-1]
        if self.x.ndim != 4 or self.x.shape[1:] != grid or (self.mask is not None and self.mask.shape != grid):
            raise FeatureError(
                f"a volume of shape {self.x.shape}" + ("" if self.mask is None else f" with mask {self.mask.shape}"),
                expected=f"(c, z, y, x) with z, y, x = {grid}, as its frame says",
                todo="extract the volume of this image again",
            )


class BagSource(Protocol):
    """Where a bag is read from when it is needed, so that a cohort is never whole in memory."""

    def load(self) -> Bag: ...


class VolumeSource(Protocol):
    """Where a volume is read from when it is needed."""

    def load(self) -> Volume: ...


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A bag that is already in memory, as a source."""

    bag: Bag

    def load(self) -> Bag:
        return self.bag


@dataclass(frozen=True, kw_only=True)
class Held:
    """A volume that is already in memory, as a source."""

    volume: Volume

    def load(self) -> Volume:
        return self.volume
