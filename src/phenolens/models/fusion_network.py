"""The networks behind `sequence_fusion`: an encoder a sequence, gated attention over those that are there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


def _drawn(*shape: int, inputs: int) -> nn.Parameter:
    return nn.Parameter((torch.rand(*shape) * 2 - 1) / inputs**0.5)


def _zeros(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(*shape))


class Head(nn.Module):
    """Gated attention over sequences (the gate of Ilse, Tomczak and Welling, ICML 2018, eq. 9), for m members at once.

    score = w · (tanh(V h + v) ⊙ sigmoid(U h + u)), v and u own to each sequence; a = softmax over the sequences that
    are there, times their number; logits = c + Σ a C h. So evidence adds up, however many sequences there are.
    Attention starts out even.
    """

    def __init__(self, members: int, sequences: int, width: int, attention_width: int, classes: int) -> None:
        super().__init__()
        self.signal = _drawn(members, width, attention_width, inputs=width)
        self.gate = _drawn(members, width, attention_width, inputs=width)
        self.signal_bias = _zeros(members, 1, sequences, attention_width)
        self.gate_bias = _zeros(members, 1, sequences, attention_width)
        self.score = _zeros(members, attention_width)
        self.classify = _drawn(members, width, classes, inputs=width)
        self.bias = _zeros(members, 1, 1, classes)

    def forward(self, h: torch.Tensor, there: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Attention (m, b, s), summing to one, and what each sequence adds to the logits (m, b, s, k), from embeddings
        h (m, b, s, w) of the sequences `there` (m, b, s). The bias is shared evenly by those that are there."""
        signal = torch.tanh(torch.einsum("mbsw,mwa->mbsa", h, self.signal) + self.signal_bias)
        gate = torch.sigmoid(torch.einsum("mbsw,mwa->mbsa", h, self.gate) + self.gate_bias)
        scores = torch.einsum("mbsa,ma->mbs", signal * gate, self.score)
        attention = torch.softmax(scores.masked_fill(~there, float("-inf")), -1)
        count = there.sum(-1, keepdim=True)
        told = torch.einsum("mbsw,mwk->mbsk", h, self.classify)
        added = (attention * count).unsqueeze(-1) * told + (there / count).unsqueeze(-1) * self.bias
        return attention, added


class BagFusion(nn.Module):
    """m networks side by side: a linear encoder of low rank a sequence, dropout, and the head."""

    def __init__(
        self,
        *,
        members: int,
        sequences: int,
        inputs: int,
        width: int,
        attention_width: int,
        classes: int,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.encode = _drawn(members, sequences, inputs, width, inputs=inputs)
        self.encode_bias = _zeros(members, 1, sequences, width)
        self.head = Head(members, sequences, width, attention_width, classes)
        self.dropout, self.input_dropout = dropout, input_dropout

    def forward(self, x: torch.Tensor, there: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Attention (m, b, s) and what is added (m, b, s, k), from points x (b, s, r) and `there` (m, b, s)."""
        each = x.unsqueeze(0).expand(len(there), *x.shape)
        each = functional.dropout(each, self.input_dropout, self.training)
        h = torch.einsum("mbsr,msrw->mbsw", each, self.encode) + self.encode_bias
        found: tuple[torch.Tensor, torch.Tensor] = self.head(functional.dropout(h, self.dropout, self.training), there)
        return found


class VolumeFusion(nn.Module):
    """One network for the volumes of all sequences, an embedding a sequence added to what it gives, and the head."""

    def __init__(
        self,
        network: nn.Module,
        *,
        sequences: int,
        width: int,
        attention_width: int,
        classes: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.embed = _zeros(sequences, width)
        self.head = Head(1, sequences, width, attention_width, classes)
        self.dropout = dropout

    def parts(self, x: Sequence[torch.Tensor | None], there: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Attention (b, s) and what is added (b, s, k). `there` is (b, s); x[i] holds the volumes of sequence i that
        are there, or None."""
        held = [v for v in x if v is not None]
        places = [there[:, i].nonzero().squeeze(1) * there.shape[1] + i for i, v in enumerate(x) if v is not None]
        found = self.network(torch.cat(held)).float()
        h = found.new_zeros(there.numel(), found.shape[1]).index_add(0, torch.cat(places), found)
        h = torch.relu(h.reshape(*there.shape, -1) + self.embed)
        h = functional.dropout(h, self.dropout, self.training)
        attention, added = self.head(h.unsqueeze(0), there.unsqueeze(0))
        return attention[0], added[0]

    def forward(self, x: Sequence[torch.Tensor | None], there: torch.Tensor) -> torch.Tensor:
        """Logits (b, k)."""
        return self.parts(x, there)[1].sum(1)
