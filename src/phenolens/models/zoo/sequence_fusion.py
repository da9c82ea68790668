"""An encoder a sequence, attention over the sequences that are there, sequences left out by chance in training."""

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
class SequenceFusion:
    """Fuses the sequences that a unit has; any subset of them is predicted.

    Parts are told apart by name. Of a bag, standardised instances are averaged, each feature is weighed by its F
    statistic over the training units to the power `screen`, and a sequence becomes a point in at most `components`
    principal directions. `members` small networks (a linear encoder of `width` a sequence, gated attention, a linear
    classifier) are trained side by side and their logits averaged. Volumes of all sequences share one convolutional
    network of `maps` first maps (see `cnn3d`), told apart by an embedding a sequence, trained in batches of `batch`.

    In training each sequence is left out with the chance `drop_sequence`, never all of a unit. Classes weigh the same.
    Training stops `patience` epochs after the least tune loss, which on bags counts the training patients too, each by
    the members that were not trained on them (every member leaves out a fifth). learning_rate, weight_decay, epochs and
    patience are by default 0.003, 0.1, 300 and 30 on bags, and 0.001, 0.01, 60 and 15 on volumes.

    A set of sequences that no training unit had is predicted with a flag, or with `new_subset: refuse` refused; a
    sequence that no training unit had is always refused, and so is absence filled with zeros.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Attention over the sequences that are there; bags or volumes; any of them may be missing."
    reads: ClassVar[str] = "any"
    offers: ClassVar[tuple[str, ...]] = ("parts", "contributions")
    accepts_missing: ClassVar[bool] = True
    needs_tune: ClassVar[bool] = True
    cheap: ClassVar[bool] = False
    reads_landmarks: ClassVar[bool] = True

    width: int = 16
    attention_width: int = 8
    members: int = 10
    components: int = 80
    screen: float = 1.0
    dropout: float = 0.3
    input_dropout: float = 0.2
    drop_sequence: float = 0.2
    new_subset: Literal["predict", "refuse"] = "predict"
    network: Literal["small", "resnet10", "resnet18"] = "small"
    maps: int = 8
    augment: bool = True
    batch: int = 8
    learning_rate: float | None = None
    weight_decay: float | None = None
    epochs: int | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        for name in ("width", "attention_width", "members", "components", "maps", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("epochs", "patience"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("dropout", "input_dropout", "drop_sequence"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in 0 to 1 (1 excluded), not {getattr(self, name)}")
        if not 0 <= self.screen <= 4:
            raise ValueError(f"screen must lie in 0 to 4, not {self.screen}")
        for name, options in _OPTIONS.items():
            if getattr(self, name) not in options:
                raise ValueError(f"{name} must be one of {', '.join(options)}, not {getattr(self, name)!r}")
        if self.learning_rate is not None and self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be above 0, not {self.learning_rate}")
        if self.weight_decay is not None and self.weight_decay < 0:
            raise ValueError(f"weight_decay must not be below 0, not {self.weight_decay}")

    def fit(self, train: Sequence[Example], tune: Sequence[Example], task: Task, *, seed: int) -> Fitted:
        """As in `models.contract.Model`."""
        from phenolens.models.fusion_fit import fit_fusion

        return fit_fusion(self, train, tune, task, seed=seed)

    def restore(self, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Fitted:
        from phenolens.models.fusion import FittedFusion

        return FittedFusion.restore(self, weights, config)


_OPTIONS = {"new_subset": ("predict", "refuse"), "network": ("small", "resnet10", "resnet18")}

plugin = SequenceFusion
