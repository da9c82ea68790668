"""Two fully connected layers on the features of each tile, with the tiles' votes for the patient."""

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
class TileHead:
    """The classifier of a frozen network: its pooled features are stored, and two layers are trained on them by tile.

    It gives what `tile_cnn` with `frozen: true` gives, without reading a pixel again: the way to compare many networks.
    width and dropout are of the hidden layer. A tile of training is drawn class → patient → tile, each uniformly, from
    at most `instances` tiles of a unit (evenly over its slides). Training stops `patience` epochs after the least log
    loss of the tune units, each judged by the mean of its tiles. Features are standardised by the training tiles.
    """

    version: ClassVar[int] = 2
    summary: ClassVar[str] = "Two layers on each tile's features; patients by the mean, majority or attention of tiles."
    reads: ClassVar[str] = "bag"
    offers: ClassVar[tuple[str, ...]] = ("attention", "tile_probability")
    accepts_missing: ClassVar[bool] = False
    needs_tune: ClassVar[bool] = True
    cheap: ClassVar[bool] = False

    width: int = 256
    dropout: float = 0.25
    learning_rate: float = 0.001
    weight_decay: float = 0.01
    epochs: int = 60
    patience: int = 12
    batch: int = 64
    instances: int = 512
    tiles_per_epoch: int = 4096

    def __post_init__(self) -> None:
        for name in ("width", "epochs", "patience", "batch", "instances", "tiles_per_epoch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in 0 to 1 (1 excluded), not {self.dropout}")
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise ValueError("learning_rate must be above 0 and weight_decay not below 0")

    def fit(self, train: Sequence[Example], tune: Sequence[Example], task: Task, *, seed: int) -> Fitted:
        """As in `models.contract.Model`."""
        from phenolens.models.heads import fit_head

        return fit_head(self, train, tune, task, seed=seed)

    def restore(self, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Fitted:
        from phenolens.models.heads import FittedHead

        return FittedHead.restore(weights, config)


plugin = TileHead
