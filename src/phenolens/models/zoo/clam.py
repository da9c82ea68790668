"""CLAM, single branch: gated attention constrained by its own most and least attended instances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from phenolens.models.bag_model import BagModel

if TYPE_CHECKING:
    from phenolens.models.bag_network import BagNetwork


@dataclass(frozen=True, kw_only=True)
class Clam(BagModel):
    """Gated attention with a second loss that asks the most and least attended instances to be told apart.

    Lu et al., Data-efficient and weakly supervised computational pathology on whole-slide images, Nat Biomed Eng 5
    (2021) 555–570: single branch, `k_sample` instances from each end of the attention (B in the paper, 8), `bag_weight`
    the share of the bag's loss (c₁ = 0.7), `inst_loss` the smooth top-1 SVM of the paper (`svm`) or cross-entropy
    (`ce`). `subtyping` says that classes exclude one another: the most attended instances then count against all other
    classes, as in the paper's subtyping; say false where one class is only the absence of the other. The widths of the
    paper are 512 and 256 for thousands of slides; ours are those of `abmil`, for tens to hundreds of patients.
    Parameters of training as in `BagModel`.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "CLAM, single branch: gated attention with a loss on its most and least attended tiles."

    attention_width: int = 32
    k_sample: int = 8
    bag_weight: float = 0.7
    inst_loss: Literal["svm", "ce"] = "svm"
    subtyping: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.bag_weight <= 1:
            raise ValueError(f"bag_weight must lie above 0 and up to 1, not {self.bag_weight}")
        if self.inst_loss not in ("svm", "ce"):
            raise ValueError(f"inst_loss must be svm or ce, not {self.inst_loss!r}")

    def build(self, dimension: int, classes: int) -> BagNetwork:
        """As in `BagModel`."""
        from phenolens.models.clam_network import Clam as Network

        return Network(
            dimension,
            classes,
            width=self.width,
            attention_width=self.attention_width,
            dropout=self.dropout,
            k=self.k_sample,
            inst_loss=self.inst_loss,
            bag_weight=self.bag_weight,
            subtyping=self.subtyping,
        )


plugin = Clam
