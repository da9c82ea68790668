"""How long and how fast `sequence_fusion` is trained, on bags and on volumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from phenolens.models.fusion import Settings


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Hyper-parameters of training, as `models.training` and `models.volume_fit` ask for them."""

    learning_rate: float
    weight_decay: float
    epochs: int
    patience: int
    batch: int
    drop_sequence: float
    augment: bool


_DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "bag": {"learning_rate": 0.003, "weight_decay": 0.1, "epochs": 300, "patience": 30},
        "volume": {"learning_rate": 0.001, "weight_decay": 0.01, "epochs": 60, "patience": 15},
    }
)


def schedule(settings: Settings, reads: Literal["bag", "volume"]) -> Schedule:
    """The settings, with the defaults of bags or volumes where none is given."""
    given: dict[str, Any] = {name: getattr(settings, name) for name in _DEFAULTS[reads]}
    chosen = {name: _DEFAULTS[reads][name] if value is None else value for name, value in given.items()}
    own: dict[str, Any] = {name: getattr(settings, name) for name in ("batch", "drop_sequence", "augment")}
    return Schedule(**chosen, **own)
