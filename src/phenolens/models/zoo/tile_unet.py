"""A U-Net on tiles whose encoder is a backbone by name; for the task `segmentation` on slides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy.typing as npt

from phenolens.core.types import Example
from phenolens.features.encoders._timm_rows import row_of

if TYPE_CHECKING:
    from phenolens.models.tile_segment import FittedTileSegmenter


@dataclass(frozen=True, kw_only=True)
class TileUnet:
    """A U-Net on tiles with outlines, trained on Dice plus binary cross-entropy; all parameters are trained.

    `backbone` is a row of hub.toml or a convolutional network of timm; its `weights` come from the hub, from a local
    file, or are random ("none"). `tiles` are drawn of each slide an epoch, the share `foreground` of them from those
    that are outlined at least in part; the loss on at most `tune_tiles` of each tune slide says when to stop. The
    probabilities of a slide are smoothed by `smooth_um`, cut at one half, and pieces and holes below `smallest_mm2` go.
    """

    version: ClassVar[int] = 2
    summary: ClassVar[str] = "U-Net on tiles with a backbone of timm; outlines on slides for the task segmentation."
    reads: ClassVar[str] = "tiles"
    offers: ClassVar[tuple[str, ...]] = ("masks",)
    accepts_missing: ClassVar[bool] = True
    needs_tune: ClassVar[bool] = True
    cheap: ClassVar[bool] = False
    task: ClassVar[str] = "segmentation"

    backbone: str = "resnet50v2"
    weights: str | None = None
    width: int = 16
    tiles: int = 32
    tune_tiles: int = 64
    foreground: float = 0.6
    augment: bool = True
    smooth_um: float = 10.0
    smallest_mm2: float = 0.01
    learning_rate: float = 0.0003
    weight_decay: float = 0.01
    epochs: int = 60
    patience: int = 10
    batch: int = 16

    def __post_init__(self) -> None:
        for name in ("tiles", "tune_tiles", "epochs", "patience", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.width < 8 or self.width % 8:
            raise ValueError(f"width must be a multiple of 8, not {self.width}")
        if not 0 <= self.foreground <= 1:
            raise ValueError(f"foreground must lie in 0 to 1, not {self.foreground}")
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise ValueError("learning_rate must be above 0 and weight_decay not below 0")
        if self.smooth_um < 0 or self.smallest_mm2 < 0:
            raise ValueError("smooth_um and smallest_mm2 must not be below 0")
        if row_of(self.backbone).library != "timm":
            raise ValueError(f"backbone '{self.backbone}' gives no maps: name a network of timm, such as resnet50v2")

    def fingerprint(self) -> str:
        """The SHA-256 of the backbone's weights; raises WeightsMissingError where they are not on this machine."""
        from phenolens.models.backbones import Backbone

        return Backbone(name=self.backbone, weights=self.weights).fingerprint()

    def fit(self, train: Sequence[Example], tune: Sequence[Example], task: Any, *, seed: int) -> FittedTileSegmenter:
        """Fit on the outlines of `train`; stop on those of `tune`. Raises ModelError for a task without masks."""
        from phenolens.models.tile_segment import fit_tile_segmenter

        return fit_tile_segmenter(self, train, tune, task, seed=seed)

    def restore(self, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> FittedTileSegmenter:
        from phenolens.models.tile_segment import FittedTileSegmenter

        return FittedTileSegmenter.restore(self, weights, config)


plugin = TileUnet
