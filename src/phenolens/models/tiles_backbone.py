"""Backbones of `tile_cnn`: a row of hub.toml or a convolutional network of timm, its weights, and how deep each lies.

A backbone reads tiles at their own size where it is convolutional, and resized to its published size where it is a
transformer. What stands after its last feature map (the classifier it was trained with) is taken off.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from phenolens.core.compat import import_timm
from phenolens.core.errors import WeightsMissingError
from phenolens.features.encoders import _hub_weights
from phenolens.features.encoders._hub_networks import Row, build, pool, tokens_of

RANDOM = "none"
"""What `weights` says for a network without pre-training."""
_BLOCK = re.compile(r"\blayers?\.(\d+)\.")


class Backbone(nn.Module):
    """Tiles (n, 3, s, s) in 0 to 1 to one vector each, (n, d)."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, row: Row, network: nn.Module) -> None:
        super().__init__()
        self.row, self.network = row, network
        for name, values in (("mean", row.mean), ("std", row.std)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        side = self.row.size_px
        if self.row.pooling != "gap" and pixels.shape[-1] != side:
            pixels = functional.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
        tokens = tokens_of(self.row, self.network, (pixels - self.mean) / self.std)
        return pool(tokens, self.row.pooling, self.row.registers).float()


def weights_of(name: str, row: Row, given: str | None) -> Path | None:
    """The file of the weights, None for random ones; raises WeightsMissingError where there is none."""
    if given == RANDOM:
        return None
    if given is None and not row.hub:
        raise WeightsMissingError(
            f"no pre-trained weights of '{name}'",
            expected="a network that timm has weights for",
            todo=f"give a file as weights: PATH, or weights: {RANDOM} to begin at random",
        )
    return _hub_weights.find(name, row, given)


def backbone(row: Row, file: Path | None) -> Backbone:
    """The network of a row with the weights of a file, with or without a classifier, or with random ones."""
    state = None if file is None else _hub_weights.read_state(file)
    if state is not None and row.library == "timm" and not _classifies(row, state):
        row = replace(row, kwargs={**row.kwargs, "num_classes": 0})
    network = build(row, state, where=str(file or ""))
    if hasattr(network, "reset_classifier"):
        network.reset_classifier(0, "")
    if hasattr(network, "pre_logits"):  # VGG: two large layers that nothing reads any more
        network.pre_logits = nn.Identity()
    return Backbone(row, network)


def _classifies(row: Row, state: Mapping[str, Any]) -> bool:
    """Whether the weights hold the classifier that the network was published with."""
    told = import_timm().get_pretrained_cfg(row.architecture)
    names = told.classifier if told is not None and told.classifier else ()
    return any(f"{name}.weight" in state for name in ((names,) if isinstance(names, str) else names))


def depths(made: Backbone) -> dict[str, float]:
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
