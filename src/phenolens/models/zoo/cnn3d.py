"""A convolutional network on volumes, in 3-D or 2.5-D, for one sequence or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy.typing as npt

from phenolens.core.types import Example
from phenolens.tasks._contract import Task

if TYPE_CHECKING:
    from phenolens.models.contract import Fitted


@dataclass(frozen=True, kw_only=True)
class Cnn3d:
    """A residual or dense network of MONAI on each image's volume, trained with augmentation and early stopping.

    Several sequences: `join: late` gives each sequence a network and averages the logits of those that are there;
    `join: channels` stacks the sequences as channels of one network, so that every one must be there; `sequence` reads
    one alone. In training with `join: late`, each sequence is left out with the chance `drop_sequence`, so that the
    networks do not lean on one another. A unit that has none of what is read is refused, or, with `fallback: prior`,
    left out of training and given equal probabilities, as classes weigh the same in training. `new_subset` says whether
    a set of sequences that no training unit had is predicted, with a flag, or refused. A volume one slice thick (2.5-D)
    gets a network in two dimensions.

    `width` is the number of maps of the first stage; see `models/volume_network.py`. Volumes with landmarks
    (intensity: {scale: nyul_landmarks}) are brought to a standard scale fitted on the training volumes of their
    sequence. Then channels are standardised by the voxels of the training volumes. Training stops `patience` epochs
    after the least tune loss; on a GPU it computes in bfloat16. Predictions are made on the CPU.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Convolutional network on volumes (3-D or 2.5-D), sequences fused late; early stopping."
    reads: ClassVar[str] = "volume"
    offers: ClassVar[tuple[str, ...]] = ("gradients", "contributions")
    accepts_missing: ClassVar[bool] = True
    needs_tune: ClassVar[bool] = True
    cheap: ClassVar[bool] = False
    reads_landmarks: ClassVar[bool] = True

    network: Literal["small", "resnet10", "resnet18", "densenet121"] = "small"
    width: int = 8
    join: Literal["late", "channels"] = "late"
    sequence: str | None = None
    drop_sequence: float = 0.25
    fallback: Literal["refuse", "prior"] = "refuse"
    new_subset: Literal["predict", "refuse"] = "predict"
    augment: bool = True
    learning_rate: float = 0.001
    weight_decay: float = 0.01
    epochs: int = 60
    patience: int = 15
    batch: int = 8

    def __post_init__(self) -> None:
        for name, options in _OPTIONS.items():
            if getattr(self, name) not in options:
                raise ValueError(f"{name} must be one of {', '.join(options)}, not {getattr(self, name)!r}")
        for name in ("width", "epochs", "patience", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.drop_sequence < 1:
            raise ValueError(f"drop_sequence must lie in 0 to 1 (1 excluded), not {self.drop_sequence}")
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise ValueError("learning_rate must be above 0 and weight_decay not below 0")

    def fit(self, train: Sequence[Example], tune: Sequence[Example], task: Task, *, seed: int) -> Fitted:
        """As in `models.contract.Model`."""
        from phenolens.models.volume_fit import fit_volumes

        return fit_volumes(self, train, tune, task, seed=seed)

    def restore(self, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Fitted:
        from phenolens.models.volume_fitted import FittedVolumes

        return FittedVolumes.restore(self, weights, config)


_OPTIONS = {
    "network": ("small", "resnet10", "resnet18", "densenet121"),
    "join": ("late", "channels"),
    "fallback": ("refuse", "prior"),
    "new_subset": ("predict", "refuse"),
}

plugin = Cnn3d
