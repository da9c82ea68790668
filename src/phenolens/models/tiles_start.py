"""Another fitted `tile_cnn` as what a fit begins with: its weights, its hash and whom it was trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phenolens.core.errors import ModelError, WeightsMissingError
from phenolens.models.predict import config_of, load_path

if TYPE_CHECKING:
    import torch

    from phenolens.models.tiles_network import TileNetwork

MODEL = "tile_cnn"


@dataclass(frozen=True, kw_only=True)
class Start:
    """A stored fit: where it lies, and the config beside its weights."""

    path: Path
    config: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Start:
        """The folder of a stored model or the weights file of a fit. Raises WeightsMissingError where there is none,
        ModelError where it is no `tile_cnn`."""
        file = config_of(path)
        if not file.is_file():
            raise WeightsMissingError(
                f"no {file.name} of a stored model at {path}",
                expected="the folder of a fitted tile_cnn (results/models/tile_cnn/…), or the weights file of a fit",
                todo="correct start:, or fit that model first",
            )
        config = json.loads(file.read_text("utf-8"))
        name = config.get("model", {}).get("name")
        if name != MODEL:
            raise ModelError(
                f"a start from model '{name}'",
                expected=f"a fitted {MODEL}",
                todo=f"name the folder of one (results/models/{MODEL}/…)",
                where=str(path),
            )
        return cls(path=path, config=config)

    @property
    def sha256(self) -> str:
        """The hash of its weights, which `give` compares with them."""
        return str(self.config["weights_sha256"])

    @property
    def patients(self) -> frozenset[str]:
        """The patients whose images or labels it saw."""
        return frozenset(self.config["training_patients"])

    def give(self, network: TileNetwork, backbone: str) -> None:
        """Copy the backbone's weights, and the head's where all of it has the same shape."""
        stored: Any = load_path(self.path).fitted
        if stored.told["backbone"] != backbone:
            raise ModelError(
                f"a start with the backbone '{stored.told['backbone']}'",
                expected=f"'{backbone}', as this model asks for",
                todo="set backbone to that of the start",
            )
        shape = {name: value.shape for name, value in network.state_dict().items()}
        state: Mapping[str, torch.Tensor] = stored.network.state_dict()
        whole = all(value.shape == shape[name] for name, value in state.items())
        kept = {name: value for name, value in state.items() if whole or name.startswith("backbone.")}
        network.load_state_dict(kept, strict=False)

    def told(self) -> dict[str, Any]:
        """What is recorded of it: its hash and its training patients."""
        return {"weights_sha256": self.sha256, "patients": sorted(self.patients)}
