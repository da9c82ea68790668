"""Tiles, regions, slide: attention in two steps, on stored features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from phenolens.models.bag_model import BagModel

if TYPE_CHECKING:
    from phenolens.models.bag_network import BagNetwork


@dataclass(frozen=True, kw_only=True)
class Hierarchy(BagModel):
    """Gated attention over the tiles of each square region, then over the regions of all images of a unit.

    In the manner of HIPT: Chen et al., Scaling vision transformers to gigapixel images via hierarchical self-supervised
    learning, CVPR 2022, whose regions are 4,096 px at 20x, 0.5 um per px. `region_um` is that side in micrometres, so
    that a region is as large on every scanner: 2,048. Ours, not theirs: features of tiles come from the encoder of the
    study, and both steps are gated attention instead of transformers trained without labels, which tens of patients
    cannot train. A tile belongs to the region its centre lies in. Parameters of training as in `BagModel`.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Attention over the tiles of each 2,048 um region, then over the regions."

    attention_width: int = 32
    region_um: float = 2048.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.region_um > 0:
            raise ValueError(f"region_um must be above 0, not {self.region_um}")

    def build(self, dimension: int, classes: int) -> BagNetwork:
        """As in `BagModel`."""
        from phenolens.models.hierarchy_network import Hierarchy as Network

        return Network(
            dimension,
            classes,
            width=self.width,
            attention_width=self.attention_width,
            dropout=self.dropout,
            region_um=self.region_um,
        )


plugin = Hierarchy
