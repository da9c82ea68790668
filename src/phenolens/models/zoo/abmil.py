"""Attention-based multiple instance learning with gated attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from phenolens.models.bag_model import BagModel

if TYPE_CHECKING:
    from phenolens.models.bag_network import BagNetwork


@dataclass(frozen=True, kw_only=True)
class Abmil(BagModel):
    """A weighted mean of embedded instances, whose weights are learnt, and a linear classifier on it.

    Ilse, Tomczak and Welling, Attention-based deep multiple instance learning, ICML 2018. Parameters of training as in
    `BagModel`.
    """

    version: ClassVar[int] = 2
    summary: ClassVar[str] = "Gated-attention multiple instance learning, early stopping on the tune split."

    attention_width: int = 32

    def build(self, dimension: int, classes: int) -> BagNetwork:
        """As in `BagModel`."""
        from phenolens.models.gated_attention import GatedAttention

        return GatedAttention(dimension, self.width, self.attention_width, classes, self.dropout)


plugin = Abmil
