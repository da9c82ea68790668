"""The networks of `hub.toml`: the rows, how a row is built and how its output becomes one vector a tile."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from phenolens.core.compat import import_timm
from phenolens.core.errors import FeatureError
from phenolens.core.store import key_of

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model of `hub.toml`; the fields are explained at its top."""

    summary: str
    library: Literal["timm", "transformers"]
    hub: str
    file: str
    architecture: str
    kwargs: Mapping[str, Any]
    size_px: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dimension: int
    pooling: Literal["cls", "cls+mean", "gap"]
    licence: str
    gated: bool
    source: str
    mpp: float | None = None
    mpp_others: tuple[float, ...] = ()
    crop_px: int | None = None
    registers: int = 0

    def facts(self) -> str:
        """A hash of every fact that changes features."""
        told = {"summary", "licence", "gated", "source", "mpp", "mpp_others", "hub", "file"}
        return key_of({k: v for k, v in vars(self).items() if k not in told})


@lru_cache(maxsize=1)
def rows() -> Mapping[str, Row]:
    """All models by name. Shapes and sizes are those of the publications named in `source`."""
    tables = tomllib.loads(Path(__file__).with_name("hub.toml").read_text("utf-8"))
    return {name: _row(table) for name, table in tables.items()}


def _row(table: Mapping[str, Any]) -> Row:
    lists = ("mean", "std", "mpp_others")
    fields: dict[str, Any] = {k: tuple(v) if k in lists else v for k, v in table.items()}
    return Row(**fields)


def tokens_of(row: Row, network: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Tokens (n, t, d) of a transformer, class token first and normalised, or the last map (n, d, h, w) of a CNN."""
    if row.library == "transformers":
        out: torch.Tensor = network(pixel_values=pixels).last_hidden_state
    else:
        out = network.forward_features(pixels)
    return out


def pool(tokens: torch.Tensor, how: str, registers: int = 0) -> torch.Tensor:
    """One vector a tile, (n, d) or (n, 2d) for cls+mean, whose mean leaves class token and registers out."""
    import torch

    if how == "gap":
        return tokens.float().mean((2, 3))
    if how == "cls":
        return tokens[:, 0]
    return torch.cat([tokens[:, 0].float(), tokens[:, 1 + registers :].float().mean(1)], -1)


def build(row: Row, state: Mapping[str, Any] | None, where: str = "") -> Any:
    """The network of a row with the given weights, or with random ones when `state` is None."""
    try:
        return (_build_timm if row.library == "timm" else _build_transformers)(row, state)
    except (RuntimeError, KeyError) as fault:
        if state is None:
            raise
        raise FeatureError(
            f"weights that do not fit {row.architecture}: {str(fault).splitlines()[0][:200]}",
            expected=f"the content of {row.file} of {row.hub}",
            todo="correct `weights:`, or download the file again",
            where=where,
        ) from fault


def _build_timm(row: Row, state: Mapping[str, Any] | None) -> Any:
    import torch

    timm = import_timm()
    kwargs = dict(row.kwargs)
    if "mlp_layer" in kwargs:
        kwargs["mlp_layer"] = getattr(timm.layers, kwargs["mlp_layer"])
    if "act_layer" in kwargs:
        kwargs["act_layer"] = getattr(torch.nn, kwargs["act_layer"])
    if state is None:
        return timm.create_model(row.architecture, pretrained=False, **kwargs)
    overlay = {"state_dict": dict(state), "custom_load": False}
    if "num_classes" in kwargs:
        overlay["num_classes"] = kwargs["num_classes"]
    network = timm.create_model(row.architecture, pretrained=True, pretrained_cfg_overlay=overlay, **kwargs)
    network.pretrained_cfg = {}
    return network


def _build_transformers(row: Row, state: Mapping[str, Any] | None) -> Any:
    import transformers

    network_class = getattr(transformers, row.architecture)
    config = getattr(transformers, row.architecture.removesuffix("Model") + "Config")(**row.kwargs)
    extra = {"add_pooling_layer": False} if row.architecture == "ViTModel" else {}
    if state is None:
        return network_class(config, **extra)
    position = state.get("embeddings.position_embeddings")
    if position is not None:
        config.image_size = round((position.shape[1] - 1) ** 0.5) * config.patch_size
    state = {k: v for k, v in state.items() if not k.startswith("pooler.")}
    network, told = network_class.from_pretrained(
        None, config=config, state_dict=state, output_loading_info=True, **extra
    )
    if told["missing_keys"]:
        raise KeyError(f"no {', '.join(sorted(told['missing_keys'])[:5])}")
    return network
