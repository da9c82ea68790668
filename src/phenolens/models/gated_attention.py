"""The network behind `abmil`."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from phenolens.models.bag_network import BagNetwork, Bags, GatedScore, pool


class GatedAttention(BagNetwork):
    """Gated attention (Ilse, Tomczak and Welling, Attention-based deep multiple instance learning, ICML 2018, eq. 9).

    h = ReLU(P z); a = softmax(w · (tanh(V h) ⊙ sigmoid(U h))) over the instances; logits = C Σ a h.
    """

    def __init__(self, dimension: int, width: int, attention_width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.Linear(dimension, width)
        self.attend = GatedScore(width, attention_width)
        self.classify = nn.Linear(width, classes)
        self.dropout = dropout

    def forward(self, bags: Bags) -> tuple[torch.Tensor, torch.Tensor]:
        """As in `BagNetwork`."""
        h = functional.dropout(functional.relu(self.project(bags.z)), self.dropout, self.training)
        scores = self.attend(h).masked_fill(~bags.mask, float("-inf"))
        pooled = functional.dropout(pool(h, scores), self.dropout, self.training)
        return self.classify(pooled), scores
