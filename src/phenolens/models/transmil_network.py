"""The network behind `transmil`: self-attention over tiles, with their places in the sequence squared to a picture."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from phenolens.core.types import Example
from phenolens.models.bag_network import BagNetwork, Bags, Places
from phenolens.models.nystrom import NystromAttention


class Ppeg(nn.Module):
    """Pyramid position encoding: depth-wise convolutions of 7, 5 and 3 cells on the square, added to it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.each = nn.ModuleList(nn.Conv2d(width, width, k, padding=k // 2, groups=width) for k in (7, 5, 3))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(s², w) from (s², w), rows of the square one after another."""
        side = math.isqrt(len(tokens))
        square = tokens.T.reshape(1, -1, side, side)
        encoded: torch.Tensor = square + sum(convolve(square) for convolve in self.each)
        return encoded.flatten(2)[0].T


class Transmil(BagNetwork):
    """Squared sequence with a class token → Nyström attention → PPEG → attention of the class token → logits.

    Shao et al., TransMIL: transformer based correlated multiple instance learning for whole slide image classification,
    NeurIPS 2021, algorithms 1 and 2. The instances of a bag, in raster order, are laid row by row in the least square
    that holds them; cells left over repeat the first instances. The class token is all that is read of the second
    layer, so its attention there is taken exactly, without landmarks; it is the attention of the network.
    """

    def __init__(self, dimension: int, classes: int, *, width: int, heads: int, landmarks: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.Linear(dimension, width)
        self.token = nn.Parameter(torch.randn(1, width) * 0.02)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.first = NystromAttention(width, heads=heads, landmarks=landmarks, dropout=dropout)
        self.second = NystromAttention(width, heads=heads, landmarks=landmarks, dropout=dropout)
        self.ppeg = Ppeg(width)
        self.classify = nn.Linear(width, classes)
        self.dropout = dropout

    def place(self, example: Example) -> Places:
        """The rank of each instance in raster order: by image id, then slowest along the last axis of coordinates.

        Instances of one place are ordered by their features, so that the order on disk decides nothing.
        """
        present = [part for part in example.parts if part.present]
        images = {name: i for i, name in enumerate(sorted(part.image for part in present))}
        keys = []
        for part, bag in zip(present, example.bags(), strict=True):
            axes = np.zeros((len(bag.x), 3))
            axes[:, : bag.coords.shape[1]] = bag.coords
            image = np.full(len(bag.x), images[part.image])
            keys.append(np.column_stack([bag.x[:, ::-1][:, :4], axes, image]))
        rank = np.empty(sum(len(k) for k in keys), dtype=np.int64)
        rank[np.lexsort(np.concatenate(keys).T)] = np.arange(len(rank))
        return rank

    def forward(self, bags: Bags) -> tuple[torch.Tensor, torch.Tensor]:
        """As in `BagNetwork`, one bag after another."""
        tokens, log_attention = [], torch.full(bags.mask.shape, float("-inf"), device=bags.z.device)
        for j, mask in enumerate(bags.mask):
            token, attention = self.read(bags.z[j][mask], bags.places[j][mask])
            tokens.append(token)
            log_attention[j, mask] = attention.detach().log()
        return self.classify(torch.cat(tokens)), log_attention

    def read(self, z: torch.Tensor, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The class token (1, w) of one bag z (n, d), and its attention to the instances (n,), in their order."""
        order = torch.argsort(places)
        h = functional.dropout(functional.relu(self.project(z[order])), self.dropout, self.training)
        over = math.isqrt(len(h) - 1) + 1
        repeated = over**2 - len(h)
        x = torch.cat([self.token, h, h[:repeated]])
        x = x + self.first(self.norms[0](x))
        x = torch.cat([x[:1], self.ppeg(x[1:])])
        out, weights = self.second.first(self.norms[1](x))
        attention = weights[1 : len(h) + 1].clone()
        attention[:repeated] += weights[len(h) + 1 :]
        return self.norms[2](x[:1] + out), attention[torch.argsort(order)]
