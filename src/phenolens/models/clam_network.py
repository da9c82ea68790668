"""The network behind `clam`: gated attention whose most and least attended instances are told apart as well."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from phenolens.models.bag_network import BagNetwork, Bags, GatedScore, pool


def smooth_svm(logits: torch.Tensor, labels: torch.Tensor, *, margin: float = 1.0, tau: float = 1.0) -> torch.Tensor:
    """The smooth top-1 SVM loss of each row: τ log Σ_j exp((margin · [j ≠ y] + s_j − s_y) / τ).

    logits (n, k), labels (n,); gives (n,). Berrada, Zisserman and Kumar, Smooth loss functions for deep top-k
    classification, ICLR 2018; as τ falls to 0 it becomes the hinge loss. CLAM sets τ = 1 and margin = 1.
    """
    own = logits.gather(1, labels[:, None])
    other = torch.ones_like(logits).scatter(1, labels[:, None], 0.0)
    return tau * torch.logsumexp((logits + margin * other - own) / tau, 1)


class Clam(BagNetwork):
    """Single-branch CLAM: one attention for all classes, and a classifier of instances in two for each class.

    Lu et al., Data-efficient and weakly supervised computational pathology on whole-slide images, Nat Biomed Eng 5
    (2021) 555–570. The `k` most attended instances are evidence for the bag's own class and the `k` least attended
    against it; with `subtyping`, the most attended are evidence against every other class. The loss of a bag is
    c₁ · cross-entropy + (1 − c₁) · the mean loss of these instances, c₁ = `bag_weight`.
    """

    def __init__(
        self,
        dimension: int,
        classes: int,
        *,
        width: int,
        attention_width: int,
        dropout: float,
        k: int,
        inst_loss: Literal["svm", "ce"],
        bag_weight: float,
        subtyping: bool,
    ) -> None:
        super().__init__()
        self.project = nn.Linear(dimension, width)
        self.attend = GatedScore(width, attention_width)
        self.classify = nn.Linear(width, classes)
        self.instance = nn.Linear(width, 2 * classes)
        self.dropout, self.k, self.inst_loss = dropout, k, inst_loss
        self.bag_weight, self.subtyping = bag_weight, subtyping

    def forward(self, bags: Bags) -> tuple[torch.Tensor, torch.Tensor]:
        """As in `BagNetwork`."""
        h, scores = self._attended(bags)
        return self.classify(pool(h, scores)), scores

    def losses(self, bags: Bags, labels: torch.Tensor) -> torch.Tensor:
        """As in `BagNetwork`; instances count for bags of two or more."""
        h, scores = self._attended(bags)
        of_bags = functional.cross_entropy(self.classify(pool(h, scores)), labels, reduction="none")
        of_instances = [self.instance_loss(h[j][m], scores[j][m], labels[j]) for j, m in enumerate(bags.mask)]
        return self.bag_weight * of_bags + (1 - self.bag_weight) * torch.stack(of_instances)

    def instance_loss(self, h: torch.Tensor, scores: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Of one bag of embeddings h (n, w) with attention scores (n,): a number, 0 for a single instance.

        Where a bag holds less than 2 k instances, half of them are the most and half the least attended.
        """
        k = min(self.k, len(h) // 2)
        if k == 0:
            return h.new_zeros(())
        order = torch.argsort(scores, descending=True, stable=True)
        ends = torch.cat([order[:k], order[-k:]])
        two = self.instance(h[ends]).reshape(2 * k, -1, 2)
        evidence = torch.arange(2 * k, device=h.device) < k
        own = self._of(two[:, label], evidence.long())
        if not self.subtyping:
            return own
        others = [self._of(two[:k, c], evidence.new_zeros(k).long()) for c in range(two.shape[1]) if c != int(label)]
        return torch.stack([own, *others]).mean()

    def _of(self, logits: torch.Tensor, evidence: torch.Tensor) -> torch.Tensor:
        if self.inst_loss == "svm":
            return smooth_svm(logits, evidence).mean()
        return functional.cross_entropy(logits, evidence)

    def _attended(self, bags: Bags) -> tuple[torch.Tensor, torch.Tensor]:
        h = functional.dropout(functional.relu(self.project(bags.z)), self.dropout, self.training)
        return h, self.attend(h).masked_fill(~bags.mask, float("-inf"))
