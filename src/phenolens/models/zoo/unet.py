"""A residual U-Net that finds the lesion in a volume; for the task `segmentation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy.typing as npt

from phenolens.core.types import Example

if TYPE_CHECKING:
    from phenolens.models.segment import FittedSegmenter


@dataclass(frozen=True, kw_only=True)
class Unet:
    """MONAI's U-Net of `levels` levels, the first of `width` maps, trained on patches of Dice plus cross-entropy.

    `patch` is a patch in voxels x, y, z, or one number; `patches` are drawn of each volume an epoch, the share
    `foreground` of them around a voxel of the lesion. A whole volume is predicted by a sliding window.
    Intensities are standardised by the training volumes. Training stops `patience` epochs after the least tune loss.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Residual U-Net on patches, sliding window; masks of lesions for the task segmentation."
    reads: ClassVar[str] = "volume"
    offers: ClassVar[tuple[str, ...]] = ("masks",)
    accepts_missing: ClassVar[bool] = True
    needs_tune: ClassVar[bool] = True
    cheap: ClassVar[bool] = False
    task: ClassVar[str] = "segmentation"

    patch: int | tuple[int, int, int] = 32
    width: int = 8
    levels: int = 3
    patches: int = 4
    foreground: float = 0.67
    augment: bool = True
    learning_rate: float = 0.003
    weight_decay: float = 0.01
    epochs: int = 100
    patience: int = 20
    batch: int = 4

    def __post_init__(self) -> None:
        given = (self.patch,) * 3 if isinstance(self.patch, int) else tuple(self.patch)
        if not isinstance(self.patch, int):
            object.__setattr__(self, "patch", given)
        for name in ("width", "patches", "epochs", "patience", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.levels < 2:
            raise ValueError(f"levels must be at least 2, not {self.levels}")
        step = 2 ** (self.levels - 1)
        if len(given) != 3 or any(n < 2 * step or n % step for n in given):
            raise ValueError(f"patch must be one or three multiples of {step}, from {2 * step} on, not {self.patch}")
        if not 0 <= self.foreground <= 1:
            raise ValueError(f"foreground must lie in 0 to 1, not {self.foreground}")
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise ValueError("learning_rate must be above 0 and weight_decay not below 0")

    def fit(self, train: Sequence[Example], tune: Sequence[Example], task: Any, *, seed: int) -> FittedSegmenter:
        """Fit on the masks of `train`; stop on those of `tune`. Raises ModelError for a task without masks."""
        from phenolens.models.segment import fit_segmenter

        return fit_segmenter(self, train, tune, task, seed=seed)

    def restore(self, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> FittedSegmenter:
        from phenolens.models.segment import FittedSegmenter

        return FittedSegmenter.restore(self, weights, config)


plugin = Unet
