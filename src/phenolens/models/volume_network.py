"""The networks behind `cnn3d`: one of MONAI's a group of sequences, whose logits are averaged over those present."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import torch
from monai.networks.nets import DenseNet121, ResNet
from torch import nn

from phenolens.core.errors import ModelError

Kind = Literal["small", "resnet10", "resnet18", "densenet121"]
KINDS: tuple[Kind, ...] = ("small", "resnet10", "resnet18", "densenet121")
_LEAST = {"small": 17, "resnet10": 9, "resnet18": 9, "densenet121": 64}
"""Voxels along the longest axis below which the last map of a network is a single voxel and cannot be normalised."""


class Shape(Protocol):
    """Which network, and how wide."""

    @property
    def network(self) -> Kind: ...
    @property
    def width(self) -> int: ...


def dimensions(shape: Sequence[int]) -> int:
    """2 where the volume is one slice thick (2.5-D: neighbouring slices are its channels), else 3."""
    return 2 if shape[-1] == 1 else 3


def build(settings: Shape, dims: int, channels: int, outputs: int) -> Any:
    """One network from (b, channels, [z,] y, x) to (b, outputs), with random weights.

    `width` is the number of maps of the first stage of a residual network (He et al., Deep residual learning for image
    recognition, CVPR 2016; 64 as published), each later stage doubling it. "small" has one block a stage as resnet10
    has, and halves its input at once. densenet121 (Huang et al., Densely connected convolutional networks, CVPR 2017)
    starts with 4 · width maps and grows by 2 · width (64 and 32 as published: width 16).
    """
    w = settings.width
    if settings.network == "densenet121":
        return DenseNet121(
            spatial_dims=dims,
            in_channels=channels,
            out_channels=outputs,
            init_features=4 * w,
            growth_rate=2 * w,
            pretrained=False,
        )
    blocks = [2] * 4 if settings.network == "resnet18" else [1] * 4
    return ResNet(
        block="basic",
        layers=blocks,
        block_inplanes=[w, 2 * w, 4 * w, 8 * w],
        spatial_dims=dims,
        n_input_channels=channels,
        conv1_t_size=3,
        conv1_t_stride=2 if settings.network == "small" else 1,
        no_max_pool=True,
        num_classes=outputs,
    )


def refuse_small(settings: Shape, shape: Sequence[int]) -> None:
    """Raises ModelError where volumes (x, y, z) have too few voxels for the network."""
    least = _LEAST[settings.network]
    if max(shape) < least:
        raise ModelError(
            f"volumes of {' x '.join(str(n) for n in shape)} voxels for network '{settings.network}'",
            expected=f"at least {least} voxels along an axis",
            todo="raise the encoder's size, lower its spacing_mm, or choose the network 'small'",
        )


class Late(nn.Module):
    """One network a group; the logits of an example are the mean over its groups that are there."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Sequence[torch.Tensor | None], there: torch.Tensor) -> torch.Tensor:
        """Logits (b, k). `there` is (b, groups) bool; x[g] holds the rows of group g that are there, or None."""
        total: torch.Tensor | None = None
        for g, network in enumerate(self.networks):
            held = x[g]
            if held is None:
                continue
            logits = network(held).float()
            rows = there[:, g].nonzero().squeeze(1)
            spread = logits.new_zeros((len(there), logits.shape[1])).index_add(0, rows, logits)
            total = spread if total is None else total + spread
        assert total is not None
        return total / there.sum(1, keepdim=True)
