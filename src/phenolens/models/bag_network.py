"""What every network on bags promises, and the gated attention that several of them are built of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from phenolens.core.types import Example

Places = npt.NDArray[np.int64]
"""(n,): where each instance belongs, a number whose meaning is the network's own."""


@dataclass(frozen=True, kw_only=True)
class Bags:
    """Padded bags: z (b, n, d) standardised, places (b, n), and mask (b, n), False where there is no instance."""

    z: torch.Tensor
    places: torch.Tensor
    mask: torch.Tensor

    def to(self, device: torch.device) -> Bags:
        return Bags(z=self.z.to(device), places=self.places.to(device), mask=self.mask.to(device))


class BagNetwork(nn.Module, ABC):
    """A network that reads bags, and what it is trained by."""

    @abstractmethod
    def forward(self, bags: Bags) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (b, k) and attention scores (b, n), −inf off the mask; their softmax is the attention."""

    def losses(self, bags: Bags, labels: torch.Tensor) -> torch.Tensor:
        """The loss of each bag, (b,); cross-entropy of the logits unless a network has a loss of its own."""
        logits, _ = self(bags)
        return functional.cross_entropy(logits, labels, reduction="none")

    def place(self, example: Example) -> Places:
        """The place of each row of `example.instances()`, from coordinates alone; nowhere unless a network asks."""
        return np.zeros(len(example.instances()), dtype=np.int64)


class GatedScore(nn.Module):
    """w · (tanh(V h) ⊙ sigmoid(U h)): Ilse, Tomczak and Welling, ICML 2018, equation 9 before its softmax."""

    def __init__(self, width: int, attention_width: int) -> None:
        super().__init__()
        self.signal = nn.Linear(width, attention_width)
        self.gate = nn.Linear(width, attention_width)
        self.score = nn.Linear(attention_width, 1)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """One score an embedding, (…), of h (…, width)."""
        scores: torch.Tensor = self.score(torch.tanh(self.signal(h)) * torch.sigmoid(self.gate(h))).squeeze(-1)
        return scores


def pool(h: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Σ softmax(scores) h over the instances: (b, w) from h (b, n, w) and scores (b, n)."""
    return torch.bmm(torch.softmax(scores, 1).unsqueeze(1), h).squeeze(1)
