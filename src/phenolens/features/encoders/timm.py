"""Encoder `timm`: any convolutional network of timm with a weight file of your own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from phenolens.features.encoders import _hub_weights
from phenolens.features.encoders._hub_networks import Row, build
from phenolens.features.encoders._timm_rows import row_of
from phenolens.features.encoders.hub import Forward, precision_on

if TYPE_CHECKING:
    from phenolens.features.contract import Encode


@dataclass(frozen=True, kw_only=True)
class Timm:
    """The mean over the last feature map of a network of timm.

    architecture: its name in timm. weights: a file with its state, which must be given: nothing is downloaded. Weights
    that were trained on patients of this study make its results worthless, and phenolens cannot see that. tile_px: the
    side to which tiles are resized; default: that of the network's own training. batch and precision as of the encoders
    of the hub.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "any convolutional network of timm, with a weight file of your own"
    reads: ClassVar[str] = "slide"
    makes: ClassVar[str] = "bag"
    licence: ClassVar[str] = "that of the weights"
    place: ClassVar[Literal["cpu", "device"]] = "device"
    mpp: ClassVar[float | None] = None
    size_px: ClassVar[int | None] = None
    names: ClassVar[tuple[str, ...] | None] = None

    architecture: str
    weights: str = field(metadata={"key": False})
    tile_px: int | None = None
    batch: int = field(default=64, metadata={"key": False})
    precision: Literal["auto", "fp32", "bf16"] = "auto"

    def __post_init__(self) -> None:
        row_of(self.architecture)
        if self.tile_px is not None and self.tile_px < 32:
            raise ValueError(f"tile_px must be at least 32, not {self.tile_px}")
        if self.batch < 1:
            raise ValueError(f"batch must be at least 1, not {self.batch}")
        if self.precision not in ("auto", "fp32", "bf16"):
            raise ValueError(f"precision is {self.precision!r}; it must be auto, fp32 or bf16")

    @property
    def row(self) -> Row:
        known = row_of(self.architecture)
        return known if self.tile_px is None else replace(known, size_px=self.tile_px)

    def numerics(self, device: str) -> dict[str, str]:
        """The precision used on a device."""
        return {"precision": precision_on(self.precision, device)}

    def fingerprint(self) -> str:
        """SHA-256 of the weight file; raises WeightsMissingError where there is none."""
        with self._file().open("rb") as data:
            return hashlib.file_digest(data, "sha256").hexdigest()

    def load(self, device: str) -> Encode:
        """The encoding function on a device; raises WeightsMissingError or FeatureError."""
        file = self._file()
        network = build(self.row, _hub_weights.read_state(file), where=str(file))
        return Forward(self.row, network, device, self.batch, precision_on(self.precision, device))

    def _file(self) -> Path:
        return _hub_weights.find(self.architecture, self.row, self.weights)


plugin = Timm
