"""Self-attention over long sequences by landmarks, and exact attention of one token."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

PINV_STEPS = 6
"""Steps of the iterated pseudoinverse; six in the paper."""
SKIP = 33
"""Width of the convolution of the values that is added to the attention, in tokens; as in the authors' program."""


def pseudoinverse(a: torch.Tensor, steps: int = PINV_STEPS) -> torch.Tensor:
    """The Moore–Penrose inverse of softmax matrices a (h, m, m), iterated from aᵀ / (‖a‖₁ ‖a‖∞).

    Xiong et al., Nyströmformer, AAAI 2021, equation 11: Z ← ¼ Z (13 I − aZ (15 I − aZ (7 I − aZ))).
    """
    one, most = a.abs().sum(-2).amax(-1), a.abs().sum(-1).amax(-1)
    z = a.transpose(-1, -2) / (one * most)[:, None, None]
    eye = torch.eye(a.shape[-1], device=a.device, dtype=a.dtype)
    for _ in range(steps):
        az = a @ z
        z = z @ (13 * eye - az @ (15 * eye - az @ (7 * eye - az))) / 4
    return z


class NystromAttention(nn.Module):
    """Multi-head self-attention in time and memory linear in the number of tokens.

    Xiong et al., Nyströmformer: a Nyström-based algorithm for approximating self-attention, AAAI 2021, equation 14:
    softmax(Q K̃ᵀ) softmax(Q̃ K̃ᵀ)⁺ softmax(Q̃ Kᵀ) V, with Q̃, K̃ the means of `landmarks` segments of the sequence, and a
    convolution of the values along the sequence added. Exact where there are no more tokens than landmarks.
    """

    def __init__(self, width: int, *, heads: int, landmarks: int, dropout: float) -> None:
        super().__init__()
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.to_out = nn.Linear(width, width)
        self.skip = nn.Conv1d(heads, heads, SKIP, padding=SKIP // 2, groups=heads, bias=False)
        self.heads, self.landmarks, self.dropout = heads, landmarks, dropout

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(n, w) from (n, w)."""
        q, k, v = self._split(tokens)
        mixed = self.attended(q, k, v) + self._skipped(v)
        return self._joined(mixed)

    def first(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the first token alone, exactly: output (1, w) and attention to all tokens (n,), the mean of the heads."""
        q, k, v = self._split(tokens)
        weights = torch.softmax(q[:, :1] @ k.transpose(1, 2), -1)
        mixed = weights @ v + self._skipped(v[:, : SKIP // 2 + 1])[:, :1]
        return self._joined(mixed), weights[:, 0].mean(0)

    def attended(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """(h, n, e) from queries (already scaled), keys and values (h, n, e)."""
        n = q.shape[1]
        if n <= self.landmarks:
            return torch.softmax(q @ k.transpose(1, 2), -1) @ v
        q_few, k_few = (segment_means(t, self.landmarks) for t in (q, k))
        near = torch.softmax(q @ k_few.transpose(1, 2), -1)
        middle = torch.softmax(q_few @ k_few.transpose(1, 2), -1)
        far = torch.softmax(q_few @ k.transpose(1, 2), -1)
        return near @ (pseudoinverse(middle) @ (far @ v))

    def _split(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        q, k, v = self.to_qkv(tokens).reshape(len(tokens), 3, self.heads, -1).permute(1, 2, 0, 3)
        return q * q.shape[-1] ** -0.5, k, v

    def _skipped(self, v: torch.Tensor) -> torch.Tensor:
        """Every feature of a head is convolved by the head's own kernel: (h, n, e) from (h, n, e)."""
        skipped: torch.Tensor = self.skip(v.permute(2, 0, 1)).permute(1, 2, 0)
        return skipped

    def _joined(self, mixed: torch.Tensor) -> torch.Tensor:
        out = self.to_out(mixed.transpose(0, 1).flatten(1))
        return functional.dropout(out, self.dropout, self.training)


def segment_means(tokens: torch.Tensor, count: int) -> torch.Tensor:
    """Means of `count` consecutive segments as even as can be: (h, count, e) from (h, n, e), n at least count."""
    n = tokens.shape[1]
    of = torch.arange(n, device=tokens.device) * count // n
    weights = functional.one_hot(of, count).to(tokens.dtype)
    return (weights / weights.sum(0)).T @ tokens
