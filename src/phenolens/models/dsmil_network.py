"""The network behind `dsmil`: the highest instance of each class, and a bag weighed by likeness to it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from phenolens.models.bag_network import BagNetwork, Bags


class Dsmil(BagNetwork):
    """Dual-stream multiple instance learning.

    Li, Li and Eliceiri, Dual-stream multiple instance learning network for whole slide image classification, CVPR 2021.
    h = ReLU(P z). First stream: the highest of the instance scores C h for each class, equation 2; that instance is
    critical. Second stream: U = softmax over the instances of ⟨q_i, q_critical⟩ / √(width of q), equation 4 with the
    scale of transformers, the bag Σ U h for each class, and a linear score of all of them, equation 5. Logits are the
    mean of both, equation 6; the loss is the mean of the cross-entropies of both, as in the authors' program.
    """

    def __init__(self, dimension: int, classes: int, *, width: int, query_width: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.Linear(dimension, width)
        self.query = nn.Sequential(nn.Linear(width, query_width), nn.ReLU(), nn.Linear(query_width, query_width))
        self.classify = nn.Linear(width, classes)
        self.bag = nn.Linear(classes * width, classes)
        self.dropout = dropout

    def forward(self, bags: Bags) -> tuple[torch.Tensor, torch.Tensor]:
        """As in `BagNetwork`; the attention is that of the class with the highest logit."""
        highest, of_bag, likeness = self.streams(bags)
        logits = (highest + of_bag) / 2
        called = logits.argmax(1)[:, None, None].expand(-1, likeness.shape[1], 1)
        return logits, likeness.gather(2, called).squeeze(2)

    def losses(self, bags: Bags, labels: torch.Tensor) -> torch.Tensor:
        """As in `BagNetwork`."""
        highest, of_bag, _ = self.streams(bags)
        each = [functional.cross_entropy(stream, labels, reduction="none") for stream in (highest, of_bag)]
        return (each[0] + each[1]) / 2

    def streams(self, bags: Bags) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Scores of the critical instances (b, k), of the bag (b, k), and likeness to the critical one (b, n, k)."""
        h = functional.dropout(functional.relu(self.project(bags.z)), self.dropout, self.training)
        off = ~bags.mask[..., None]
        highest, critical = self.classify(h).masked_fill(off, float("-inf")).max(1)
        q = torch.tanh(self.query(h))
        q_critical = q.gather(1, critical[..., None].expand(-1, -1, q.shape[2]))
        likeness = torch.bmm(q, q_critical.transpose(1, 2)) / q.shape[2] ** 0.5
        likeness = likeness.masked_fill(off, float("-inf"))
        each = torch.bmm(torch.softmax(likeness, 1).transpose(1, 2), h)
        return highest, self.bag(each.flatten(1)), likeness
