"""TransMIL: self-attention among the tiles, aware of their places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from phenolens.models.bag_model import BagModel

if TYPE_CHECKING:
    from phenolens.models.bag_network import BagNetwork


@dataclass(frozen=True, kw_only=True)
class Transmil(BagModel):
    """Two layers of self-attention with a class token, and a position encoding by convolution (PPEG) between them.

    Shao et al., TransMIL: transformer based correlated multiple instance learning for whole slide image classification,
    NeurIPS 2021: width 512, 8 heads, 256 landmarks for a thousand slides and more; ours are smaller, for tens to
    hundreds of patients. Places enter as in the paper, by squaring the sequence of tiles, here taken in raster order of
    their coordinates: a grid of true coordinates would hold other densities in training, where `instances` are drawn,
    than in prediction, and cannot hold the several slides of a patient. So what lies side by side in a row of tissue
    stays side by side; rows above one another only roughly. The order of tiles on disk does not matter; their places
    do. Parameters of training as in `BagModel`.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "TransMIL: Nyström self-attention among tiles with a position encoding."

    learning_rate: float = 0.0005
    heads: int = 4
    landmarks: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, not {self.width} for {self.heads} heads")

    def build(self, dimension: int, classes: int) -> BagNetwork:
        """As in `BagModel`."""
        from phenolens.models.transmil_network import Transmil as Network

        return Network(
            dimension,
            classes,
            width=self.width,
            heads=self.heads,
            landmarks=self.landmarks,
            dropout=self.dropout,
        )


plugin = Transmil
