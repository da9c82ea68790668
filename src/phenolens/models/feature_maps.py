"""Backbones of timm by name that give maps of several resolutions: where their weights lie and what they expect."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phenolens.core.compat import import_timm
from phenolens.core.errors import ModelError, nearest
from phenolens.features.encoders._hub_networks import Row, rows
from phenolens.features.encoders._hub_weights import find, read_state

NONE = "none"
"""In place of weights: the network starts from random numbers."""


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A network by name: a row of `hub.toml` or an architecture of timm.

    weights: a local file (or a folder that holds it), "none" for random numbers, or None for the hub and its cache.
    """

    name: str
    weights: str | None = None

    @property
    def row(self) -> Row:
        """Architecture, normalisation and where weights lie; raises ModelError for a name that neither timm nor
        `hub.toml` knows, and for networks of other libraries."""
        known = rows()
        if self.name in known:
            if known[self.name].library != "timm":
                raise _unknown(f"backbone '{self.name}', which gives no maps", self.name)
            return known[self.name]
        timm = import_timm()
        told = timm.get_pretrained_cfg(self.name) if timm.is_model(self.name.partition(".")[0]) else None
        if told is None:
            raise _unknown(f"backbone '{self.name}'", self.name)
        return Row(
            summary=self.name,
            library="timm",
            hub=told.hf_hub_id or f"timm/{self.name}",
            file="model.safetensors",
            architecture=self.name,
            kwargs={},
            size_px=told.input_size[-1],
            mean=told.mean,
            std=told.std,
            dimension=0,
            pooling="gap",
            licence=told.license or "see the repository",
            gated=False,
            source="timm",
        )

    def file(self) -> Path | None:
        """The weight file, None where there is to be none; raises WeightsMissingError where it is not there."""
        return None if self.weights == NONE else find(self.name, self.row, self.weights)

    def fingerprint(self) -> str:
        """SHA-256 of the weight file, or "none"."""
        file = self.file()
        if file is None:
            return NONE
        with file.open("rb") as data:
            return hashlib.file_digest(data, "sha256").hexdigest()

    def network(self, *, empty: bool = False) -> Any:
        """The network with its weights (`empty`: with random ones), which gives maps (n, c, h, w), finest first."""
        file = None if empty else self.file()
        state = None if file is None else read_state(file)
        kwargs = {k: v for k, v in self.row.kwargs.items() if k not in ("num_classes", "global_pool")}
        try:
            made = _made(self.row.architecture, state, kwargs)
        except (RuntimeError, KeyError, AttributeError, ValueError, TypeError) as fault:
            raise ModelError(
                f"backbone '{self.name}' that cannot be built as an encoder: {str(fault).splitlines()[0][:160]}",
                expected="a network of timm that gives maps, and weights that fit it",
                todo="choose another backbone, such as resnet50v2, or correct weights",
                where="" if file is None else str(file),
            ) from fault
        if state is not None:
            self._refuse_others(made, state)
        return made

    def _refuse_others(self, made: Any, state: Mapping[str, Any]) -> None:
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
                where=str(self.file()),
            )


def _made(architecture: str, state: Mapping[str, Any] | None, kwargs: Mapping[str, Any]) -> Any:
    timm = import_timm()
    if state is None:
        return timm.create_model(architecture, pretrained=False, features_only=True, **kwargs)
    overlay = {"state_dict": dict(state), "custom_load": False}
    return timm.create_model(
        architecture, pretrained=True, pretrained_cfg_overlay=overlay, features_only=True, **kwargs
    )


def _digest(value: Any) -> bytes:
    return hashlib.sha256(value.detach().float().contiguous().numpy().tobytes()).digest()


def _unknown(found: str, name: str) -> ModelError:
    known = [n for n, row in rows().items() if row.library == "timm"]
    return ModelError(
        found,
        expected=f"an architecture of timm, or one of {', '.join(known)}",
        todo=f"correct the name{nearest(name, known)}",
    )
