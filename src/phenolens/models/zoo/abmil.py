"""Attention-based multiple instance learning with gated attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy.typing as npt

from phenolens.core.types import Example
from phenolens.tasks._contract import Task

if TYPE_CHECKING:
    from phenolens.models.contract import Fitted


@dataclass(frozen=True, kw_only=True)
class Abmil:
    """A weighted mean of embedded instances, whose weights are learnt, and a linear classifier on it.

    Ilse, Tomczak and Welling, Attention-based deep multiple instance learning, ICML 2018. Instances are standardised by
    those of the training examples. `instances` is the most instances of a bag in one training step and `instance_share`
    the share drawn of a smaller bag; predictions use all. Training stops `patience` epochs after the least tune loss.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Gated-attention multiple instance learning, early stopping on the tune split."
    reads: ClassVar[str] = "bag"
    offers: ClassVar[tuple[str, ...]] = ("attention",)
    accepts_missing: ClassVar[bool] = False
    needs_tune: ClassVar[bool] = True
    cheap: ClassVar[bool] = False

    width: int = 64
    attention_width: int = 32
    dropout: float = 0.25
    learning_rate: float = 0.001
    weight_decay: float = 0.01
    epochs: int = 100
    patience: int = 25
    batch: int = 8
    instances: int = 512
    instance_share: float = 0.75

    def __post_init__(self) -> None:
        for name in ("width", "attention_width", "epochs", "patience", "batch", "instances"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in 0 to 1 (1 excluded), not {self.dropout}")
        if not 0 < self.instance_share <= 1:
            raise ValueError(f"instance_share must lie above 0 and up to 1, not {self.instance_share}")
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise ValueError("learning_rate must be above 0 and weight_decay not below 0")

    def fit(self, train: Sequence[Example], tune: Sequence[Example], task: Task, *, seed: int) -> Fitted:
        """As in `models.contract.Model`."""
        from phenolens.models.gated_attention import fit_attention

        return fit_attention(self, train, tune, task, seed=seed)

    def restore(self, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Fitted:
        from phenolens.models.gated_attention import FittedAttention

        return FittedAttention.restore(weights, config)


plugin = Abmil
