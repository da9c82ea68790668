"""Where a fit that takes hours stands, so that a killed run goes on from there and ends in the same bytes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from phenolens.core.errors import ModelError
from phenolens.core.store import Store, atomic

EVERY = 120.0
"""Seconds between two states, unless a fit is told otherwise."""
_TOLD = "told"


@dataclass(kw_only=True)
class Checkpoint:
    """One file beside the artefacts, under the key of the fit; written whole or not at all.

    A state is arrays by name and what else is to be known, as JSON. When it was written makes no difference to what
    the fit ends in.
    """

    store: Store
    key: str
    every: float = EVERY
    written: float = field(default_factory=time.monotonic)

    @property
    def path(self) -> Path:
        return self.store.path("checkpoints", self.key, ".safetensors")

    def due(self) -> bool:
        """Whether it is time to save again."""
        return time.monotonic() - self.written >= self.every

    def save(self, arrays: Mapping[str, npt.NDArray[Any]], told: Mapping[str, Any]) -> None:
        """Replace the state."""
        sound = {name: np.asarray(value, order="C") for name, value in arrays.items()}
        with atomic(self.path) as part:
            save_file(sound, part, {_TOLD: json.dumps(told, sort_keys=True)})
        self.written = time.monotonic()

    def load(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]] | None:
        """The state, or None where there is none. Raises ModelError for a file that cannot be read."""
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="numpy") as file:
                told: dict[str, Any] = json.loads(file.metadata()[_TOLD])
                return {name: file.get_tensor(name) for name in file.keys()}, told  # noqa: SIM118 - not a mapping
        except (SafetensorError, TypeError, KeyError, json.JSONDecodeError) as fault:
            raise ModelError(
                f"the state of a fit that cannot be read ({fault})",
                expected="the file that phenolens wrote",
                todo="delete it; the fit then begins anew",
                where=str(self.path),
            ) from fault

    def clear(self) -> None:
        """Remove the state: the fit is stored."""
        self.path.unlink(missing_ok=True)
