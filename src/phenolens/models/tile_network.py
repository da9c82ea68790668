"""A U-Net on tiles whose encoder is a backbone of timm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

_GROUP = 8


class TileUnet(nn.Module):
    """Maps of a backbone, brought back to the resolution of the tile step by step (Ronneberger et al., MICCAI 2015).

    backbone gives maps with `channels`, finest first. Each step enlarges by nearest neighbour to the next finer map
    (backbones need not halve exactly), joins both and convolves twice; the last map is that of the tile itself, since
    backbones begin at half its resolution or less. `width` maps are left at the end, one logit a pixel.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self, backbone: nn.Module, channels: Sequence[int], width: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.fine = _block(3, width)
        steps, deep = [], channels[-1]
        for level, skip in reversed(list(enumerate([width, *channels[:-1]]))):
            wide = min(width * 2**level, 256)
            steps.append(nn.Sequential(_block(deep + skip, wide), _block(wide, wide)))
            deep = wide
        self.steps = nn.ModuleList(steps)
        self.last = nn.Conv2d(deep, 1, 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits (n, 1, h, w) of tiles (n, 3, h, w) in 0 to 1."""
        x = (pixels - self.mean) / self.std
        maps: list[torch.Tensor] = [self.fine(x), *self.backbone(x)]
        finer, deep = maps[:-1], maps[-1]
        for step, skip in zip(self.steps, reversed(finer), strict=True):
            deep = step(torch.cat([functional.interpolate(deep, skip.shape[2:], mode="nearest"), skip], 1))
        logits: torch.Tensor = self.last(deep)
        return logits


def _block(channels: int, wide: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, wide, 3, padding=1, bias=False), nn.GroupNorm(max(1, wide // _GROUP), wide), nn.ReLU()
    )


def weights_of(network: nn.Module) -> dict[str, Any]:
    """The state of a network as arrays."""
    return {name: value.cpu().numpy().copy() for name, value in network.state_dict().items()}
