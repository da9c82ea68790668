"""Training of a network by AdamW that keeps the epoch with the least tune loss: what all networks on volumes share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from phenolens.core.errors import ModelError


class Schedule(Protocol):
    """Hyper-parameters of training."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def epochs(self) -> int: ...
    @property
    def patience(self) -> int: ...
    @property
    def batch(self) -> int: ...


def check_schedule(schedule: Schedule) -> None:
    """Raises ValueError where a hyper-parameter is out of range."""
    for name in ("epochs", "patience", "batch"):
        if getattr(schedule, name) < 1:
            raise ValueError(f"{name} must be at least 1, not {getattr(schedule, name)}")
    if schedule.learning_rate <= 0 or schedule.weight_decay < 0:
        raise ValueError("learning_rate must be above 0 and weight_decay not below 0")


def best_device() -> str:
    """A CUDA device where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def autocast(device: torch.device) -> Any:
    """bfloat16 on CUDA; on the CPU nothing is changed."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def batches(count: int, size: int, seed: int, epoch: int) -> list[list[int]]:
    """Positions in an order drawn by (seed, epoch), in batches; a last batch of one joins the one before."""
    order = np.random.default_rng([seed, epoch]).permutation(count).tolist()
    cut = [order[start : start + size] for start in range(0, count, size)]
    if len(cut) > 1 and len(cut[-1]) == 1:
        last = cut.pop()
        cut[-1] = cut[-1] + last
    return cut


def train(
    network: nn.Module,
    schedule: Schedule,
    *,
    seed: int,
    losses: Callable[[int], Iterator[torch.Tensor]],
    tune_loss: Callable[[], float],
) -> dict[str, Any]:
    """Train in place and leave the best epoch's weights; epochs run, epoch kept, its tune loss.

    `losses(epoch)` gives one loss a batch. Raises ModelError when the tune loss is not finite.
    """
    optimiser = torch.optim.AdamW(network.parameters(), schedule.learning_rate, weight_decay=schedule.weight_decay)
    least, kept_epoch, kept_state, epoch = float("inf"), 0, _copy(network), 0
    for epoch in range(1, schedule.epochs + 1):
        torch.manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))
        network.train()
        for loss in losses(epoch):
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        network.eval()
        with torch.inference_mode():
            found = tune_loss()
        if not np.isfinite(found):
            raise ModelError(
                f"a tune loss of {found} in epoch {epoch}", expected="a finite loss", todo="lower learning_rate"
            )
        if found < least:
            least, kept_epoch, kept_state = found, epoch, _copy(network)
        elif epoch - kept_epoch >= schedule.patience:
            break
    network.load_state_dict(kept_state)
    return {"epochs": epoch, "kept_epoch": kept_epoch, "tune_loss": least}


def _copy(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
