"""Backbones of `tile_cnn` and `tile_unet`: a name, its row, the file of its weights, and the network made of them.

A name is a row of hub.toml or a network of timm. The network gives one vector a tile, or maps of several resolutions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from phenolens.core.compat import import_timm
from phenolens.core.errors import ModelError, WeightsMissingError
from phenolens.features.encoders import _hub_weights
from phenolens.features.encoders._hub_networks import Row, build, pool, tokens_of
from phenolens.features.encoders._timm_rows import row_of

RANDOM = "none"
"""What `weights` says for a network without pre-training."""


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A network by name.

    weights: a local file (or a folder that holds it), RANDOM for random numbers, or None for the hub and its cache.
    """

    name: str
    weights: str | None = None

    @property
    def row(self) -> Row:
        """Architecture, normalisation and where weights lie; raises ValueError for a name that is not known."""
        return row_of(self.name)

    def file(self) -> Path | None:
        """The file of the weights, None for random ones; raises WeightsMissingError where there is none."""
        if self.weights == RANDOM:
            return None
        if self.weights is None and not self.row.hub:
            raise WeightsMissingError(
                f"no pre-trained weights of '{self.name}'",
                expected="a network that timm has weights for",
                todo=f"give a file as weights: PATH, or weights: {RANDOM} to begin at random",
            )
        return _hub_weights.find(self.name, self.row, self.weights)

    def fingerprint(self) -> str:
        """SHA-256 of the weight file, or "random"; raises WeightsMissingError where there is no such file."""
        file = self.file()
        if file is None:
            return "random"
        with file.open("rb") as data:
            return hashlib.file_digest(data, "sha256").hexdigest()

    def vectors(self) -> Vectors:
        """The network that gives one vector a tile; its weight file may be with or without a classifier."""
        row, file = self.row, self.file()
        state = None if file is None else _hub_weights.read_state(file)
        if state is not None and row.library == "timm" and not _classifies(row, state):
            row = replace(row, kwargs={**row.kwargs, "num_classes": 0})
        network = build(row, state, where=str(file or ""))
        if hasattr(network, "reset_classifier"):
            network.reset_classifier(0, "")
        if hasattr(network, "pre_logits"):  # VGG: two large layers that nothing reads any more
            network.pre_logits = nn.Identity()
        return Vectors(row, network)

    def maps(self) -> Any:
        """The network that gives maps (n, c, h, w), finest first; raises ModelError where it cannot."""
        file = self.file()
        state = None if file is None else _hub_weights.read_state(file)
        kwargs = {k: v for k, v in self.row.kwargs.items() if k not in ("num_classes", "global_pool")}
        try:
            made = _mapping(self.row.architecture, state, kwargs)
        except (RuntimeError, KeyError, AttributeError, ValueError, TypeError) as fault:
            raise ModelError(
                f"backbone '{self.name}' that cannot be built as an encoder: {str(fault).splitlines()[0][:160]}",
                expected="a network of timm that gives maps, and weights that fit it",
                todo="choose another backbone, such as resnet50v2, or correct weights",
                where="" if file is None else str(file),
            ) from fault
        if state is not None:
            self._refuse_others(made, state, str(file))
        return made

    def _refuse_others(self, made: Any, state: Mapping[str, Any], where: str) -> None:
        """Stop where a number of the network is not of the file: timm leaves random what it does not find."""
        given = {_digest(value) for value in state.values()}
        every = {n: v for n, v in made.state_dict().items() if not n.endswith("num_batches_tracked")}
        random = [name for name, value in every.items() if _digest(value) not in given]
        if random:
            raise ModelError(
                f"weights that hold {len(every) - len(random)} of the {len(every)} arrays of backbone '{self.name}' "
                f"(not {', '.join(random[:3])})",
                expected=f"the weights of {self.row.architecture}",
                todo="correct weights, or choose the backbone that they are of",
                where=where,
            )


class Vectors(nn.Module):
    """Tiles (n, 3, s, s) in 0 to 1 to one vector each, (n, d).

    Tiles are read at their own size where the network is convolutional, and resized to its published size where it is
    a transformer. What stands after its last feature map (the classifier it was trained with) is taken off.
    """

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


def _classifies(row: Row, state: Mapping[str, Any]) -> bool:
    """Whether the weights hold the classifier that the network was published with."""
    told = import_timm().get_pretrained_cfg(row.architecture)
    names = told.classifier if told is not None and told.classifier else ()
    return any(f"{name}.weight" in state for name in ((names,) if isinstance(names, str) else names))


def _mapping(architecture: str, state: Mapping[str, Any] | None, kwargs: Mapping[str, Any]) -> Any:
    timm = import_timm()
    if state is None:
        return timm.create_model(architecture, pretrained=False, features_only=True, **kwargs)
    overlay = {"state_dict": dict(state), "custom_load": False}
    return timm.create_model(
        architecture, pretrained=True, pretrained_cfg_overlay=overlay, features_only=True, **kwargs
    )


def _digest(value: Any) -> bytes:
    return hashlib.sha256(value.detach().float().contiguous().numpy().tobytes()).digest()
