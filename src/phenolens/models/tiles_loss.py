"""What `tile_cnn` is trained by: cross-entropy, and where a teacher spoke, its softened probabilities as well."""

from __future__ import annotations

import torch
from torch.nn import functional


def loss_of(
    logits: torch.Tensor, label: torch.Tensor, soft: torch.Tensor | None, *, share: float, temperature: float
) -> torch.Tensor:
    """Mean of (1 − λ) CE + λ T² KL(teacher ‖ student), λ = `share`, over tiles (n, k); CE alone where `soft` is NaN.

    Both distributions are softened by the temperature T: the student's logits are divided by it, the teacher's
    probabilities raised to 1 / T (Hinton, Vinyals and Dean 2015, arXiv:1503.02531).
    """
    hard = functional.cross_entropy(logits, label, reduction="none")
    if soft is None or share == 0:
        return hard.mean()
    there = ~torch.isnan(soft).any(1)
    teacher = torch.where(there[:, None], soft, torch.ones_like(soft) / soft.shape[1])
    softened = torch.log_softmax(torch.log(teacher.clamp_min(1e-12)) / temperature, 1)
    student = torch.log_softmax(logits / temperature, 1)
    far = (softened.exp() * (softened - student)).sum(1) * temperature**2
    weight = torch.where(there, share, 0.0)
    return ((1 - weight) * hard + weight * far).mean()
