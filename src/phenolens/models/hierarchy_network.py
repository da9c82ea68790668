"""The network behind `hierarchy`: attention over the tiles of each region, then over the regions."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from phenolens.core.types import Example
from phenolens.models.bag_network import BagNetwork, Bags, GatedScore, Places


def shares(scores: torch.Tensor, of: torch.Tensor, count: int) -> torch.Tensor:
    """The logarithm of the softmax of scores (n,) within each of `count` groups; `of` (n,) is the group of each."""
    top = scores.new_full((count,), float("-inf")).scatter_reduce(0, of, scores.detach(), "amax")
    lifted = scores - top[of]
    return lifted - scores.new_zeros(count).index_add(0, of, lifted.exp()).log()[of]


def gathered(h: torch.Tensor, log_shares: torch.Tensor, of: torch.Tensor, count: int) -> torch.Tensor:
    """Σ share · h within each group, (count, w)."""
    return h.new_zeros(count, h.shape[1]).index_add(0, of, h * log_shares.exp()[:, None])


class Hierarchy(BagNetwork):
    """Tiles → square regions → bag, each step a gated attention with weights of its own (`GatedScore`).

    h = ReLU(P z); a region is ReLU(R Σ a h) over its tiles; the bag is Σ b region; logits = C bag. The attention of a
    tile is that of its region times its own within the region.
    """

    def __init__(
        self, dimension: int, classes: int, *, width: int, attention_width: int, dropout: float, region_um: float
    ) -> None:
        super().__init__()
        self.project = nn.Linear(dimension, width)
        self.attend_tiles = GatedScore(width, attention_width)
        self.project_regions = nn.Linear(width, width)
        self.attend_regions = GatedScore(width, attention_width)
        self.classify = nn.Linear(width, classes)
        self.dropout, self.region_um = dropout, region_um

    def place(self, example: Example) -> Places:
        """The region of each instance: squares (cubes) of `region_um` from the origin of its image, by its centre."""
        cells = []
        for number, bag in enumerate(example.bags()):
            side = self.region_um / (1000 if bag.frame.unit == "mm" else 1)
            corner = np.floor((bag.coords + bag.extent / 2) / side)
            cells.append(np.column_stack([np.full(len(corner), number), corner]))
        deepest = max(c.shape[1] for c in cells)
        even = [np.pad(c, ((0, 0), (0, deepest - c.shape[1]))) for c in cells]
        numbered: Places = np.unique(np.concatenate(even), axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
        return numbered

    def forward(self, bags: Bags) -> tuple[torch.Tensor, torch.Tensor]:
        """As in `BagNetwork`."""
        regions, log_within, of, bag = self.regions(bags)
        count = len(bags.mask)
        log_between = shares(self.attend_regions(regions), bag, count)
        slides = gathered(regions, log_between, bag, count)
        scores = torch.full(bags.mask.shape, float("-inf"), device=regions.device)
        scores[bags.mask] = log_within + log_between[of]
        return self.classify(functional.dropout(slides, self.dropout, self.training)), scores

    def regions(self, bags: Bags) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Region embeddings (r, w), log share of each instance in its region (n,), its region (n,), their bags (r,).

        n counts the instances of all bags, in their order; regions are numbered by bag, then by place.
        """
        step = bags.places.max() + 1
        keys = (torch.arange(len(bags.mask), device=bags.z.device)[:, None] * step + bags.places)[bags.mask]
        found, of = torch.unique(keys, return_inverse=True)
        h = functional.dropout(functional.relu(self.project(bags.z[bags.mask])), self.dropout, self.training)
        within = shares(self.attend_tiles(h), of, len(found))
        regions = functional.relu(self.project_regions(gathered(h, within, of, len(found))))
        return regions, within, of, torch.div(found, step, rounding_mode="floor")
