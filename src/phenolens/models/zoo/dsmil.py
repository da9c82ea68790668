"""DSMIL: the critical instance of each class, and the bag as seen from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from phenolens.models.bag_model import BagModel

if TYPE_CHECKING:
    from phenolens.models.bag_network import BagNetwork


@dataclass(frozen=True, kw_only=True)
class Dsmil(BagModel):
    """Two streams: the highest-scoring instance of each class, and attention by likeness to that instance; their mean.

    Li, Li and Eliceiri, Dual-stream multiple instance learning network for whole slide image classification with
    self-supervised contrastive learning, CVPR 2021 (queries 128 wide there, on features of 512). Ours: one scale, a
    learnt projection in front, and classes that exclude one another. Maps show the attention of the predicted class.
    Parameters of training as in `BagModel`.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "DSMIL: the critical tile of each class and attention by likeness to it."

    query_width: int = 32

    def build(self, dimension: int, classes: int) -> BagNetwork:
        """As in `BagModel`."""
        from phenolens.models.dsmil_network import Dsmil as Network

        return Network(dimension, classes, width=self.width, query_width=self.query_width, dropout=self.dropout)


plugin = Dsmil
