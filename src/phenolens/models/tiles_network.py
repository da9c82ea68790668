"""The network behind `tile_cnn`: a backbone, one pooling layer and two fully connected layers; and its rates."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from phenolens.core.compat import import_timm
from phenolens.models.backbones import Vectors

_HEAD = ("hidden", "classify")
_BLOCK = re.compile(r"\blayers?\.(\d+)\.")


class TileNetwork(nn.Module):
    """Tiles (n, 3, s, s) in 0 to 1 to logits (n, k) and the hidden layer (n, width) they are read from.

    `statistics` says that batch normalisation learns its running means in training; else they stay as they were
    pre-trained, since a batch holds tiles of few patients. With `frozen` only the head is trained.
    """

    def __init__(
        self, backbone: Vectors, width: int, classes: int, dropout: float = 0.0, *, frozen: bool, statistics: bool
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.hidden = nn.Linear(backbone.row.dimension, width)
        self.classify = nn.Linear(width, classes)
        self.dropout, self.frozen, self.statistics = dropout, frozen, statistics and not frozen
        backbone.requires_grad_(not frozen)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            pooled = self.backbone(pixels)
        pooled = functional.dropout(pooled, self.dropout, self.training)
        hidden = functional.relu(self.hidden(pooled))
        return self.classify(functional.dropout(hidden, self.dropout, self.training)), hidden

    def train(self, mode: bool = True) -> TileNetwork:
        """As torch's; frozen parts and kept running means stay as in evaluation."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        elif not self.statistics:
            for module in self.backbone.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def trained(self) -> dict[str, torch.Tensor]:
        """The tensors that training changes, by name: parameters and, where they are learnt, running means."""
        names = {name for name, p in self.named_parameters() if p.requires_grad}
        if self.statistics:
            names |= {name for name, _ in self.named_buffers()}
        return {name: value for name, value in self.state_dict().items() if name in names}


def depths(made: Vectors) -> dict[str, float]:
    """How deep each parameter lies: 0 in the stem, 1 in the last block, evenly between; names as in the backbone."""
    network: Any = made.network
    if hasattr(network, "group_matcher"):
        of: Mapping[str, int] = import_timm().models.group_parameters(
            network, network.group_matcher(coarse=False), reverse=True
        )
    else:
        found = {name: _BLOCK.search(name) for name, _ in network.named_parameters()}
        blocks = [int(hit.group(1)) for hit in found.values() if hit]
        last = max(blocks, default=0) + 2
        of = {n: int(hit.group(1)) + 1 if hit else 0 if "embed" in n else last for n, hit in found.items()}
    places = sorted({of[name] for name, _ in network.named_parameters()})
    step = {place: i / max(len(places) - 1, 1) for i, place in enumerate(places)}
    return {f"network.{name}": step[of[name]] for name, _ in network.named_parameters()}


def rates(network: TileNetwork, *, head: float, backbone: float, stem_share: float) -> dict[str, float]:
    """The learning rate of every trained parameter.

    The head has `head`; the last block of the backbone has `backbone`, the stem `stem_share` of that, and the blocks
    between fall geometrically (discriminative rates: Howard and Ruder, ULMFiT, ACL 2018).
    """
    deep = depths(network.backbone)
    found = {}
    for name, p in network.named_parameters():
        if p.requires_grad:
            own = name.removeprefix("backbone.")
            found[name] = head if name.split(".")[0] in _HEAD else backbone * stem_share ** (1 - deep[own])
    return found


def optimiser_of(network: TileNetwork, rate_of: dict[str, float], weight_decay: float) -> torch.optim.AdamW:
    """AdamW with a group a rate; vectors (biases and normalisation) do not decay."""
    groups: dict[tuple[float, bool], list[torch.Tensor]] = {}
    for name, p in _named(network):
        groups.setdefault((rate_of[name], p.ndim > 1), []).append(p)
    told: list[dict[str, Any]] = [
        {"params": held, "lr": rate, "full": rate, "weight_decay": weight_decay if decays else 0.0}
        for (rate, decays), held in groups.items()
    ]
    return torch.optim.AdamW(told)


def _named(network: TileNetwork) -> Iterator[tuple[str, torch.Tensor]]:
    return ((name, p) for name, p in network.named_parameters() if p.requires_grad)
