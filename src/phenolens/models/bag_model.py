"""What the networks on bags of tiles share before fitting: their training, its parameters and how they are restored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy.typing as npt

from phenolens.core.types import Example
from phenolens.tasks._contract import Task

if TYPE_CHECKING:
    from phenolens.models.bag_network import BagNetwork
    from phenolens.models.contract import Fitted


@dataclass(frozen=True, kw_only=True)
class BagModel(ABC):
    """A network on the standardised instances of a bag, trained by AdamW with early stopping on the tune split.

    Instances are standardised by those of the training examples. `width` is that of an embedded instance. `batch` bags
    make one step; `instances` is the most instances of a bag in one step and `instance_share` the share drawn of a
    smaller bag; predictions use all. Training stops `patience` epochs after the least tune loss and keeps that epoch.
    """

    reads: ClassVar[str] = "bag"
    offers: ClassVar[tuple[str, ...]] = ("attention",)
    accepts_missing: ClassVar[bool] = False
    needs_tune: ClassVar[bool] = True
    cheap: ClassVar[bool] = False

    width: int = 64
    dropout: float = 0.25
    learning_rate: float = 0.001
    weight_decay: float = 0.01
    epochs: int = 100
    patience: int = 25
    batch: int = 8
    instances: int = 512
    instance_share: float = 0.75

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.type == "int" and getattr(self, field.name) < 1:
                raise ValueError(f"{field.name} must be at least 1, not {getattr(self, field.name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in 0 to 1 (1 excluded), not {self.dropout}")
        if not 0 < self.instance_share <= 1:
            raise ValueError(f"instance_share must lie above 0 and up to 1, not {self.instance_share}")
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise ValueError("learning_rate must be above 0 and weight_decay not below 0")

    @abstractmethod
    def build(self, dimension: int, classes: int) -> BagNetwork:
        """The network before training, for instances of `dimension` features."""

    def fit(self, train: Sequence[Example], tune: Sequence[Example], task: Task, *, seed: int) -> Fitted:
        """As in `models.contract.Model`."""
        from phenolens.models.bag_fit import fit_bags

        return fit_bags(self, train, tune, task, seed=seed)

    def restore(self, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Fitted:
        from phenolens.models.bag_fit import FittedBags

        return FittedBags.restore(self, weights, config)
