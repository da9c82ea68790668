"""What timm says of a network that `hub.toml` does not name, as a row like its rows."""

from __future__ import annotations

from functools import cache

from phenolens.core.compat import import_timm
from phenolens.core.errors import nearest
from phenolens.features.encoders._hub_networks import Row, rows


@cache
def row_of(name: str) -> Row:
    """The row of hub.toml, or what timm says of a network of this name; its dimension is measured.

    Raises ValueError for a name that neither knows, or a network of timm that makes no feature map.
    """
    if name in rows():
        return rows()[name]
    import torch

    timm = import_timm()
    if not timm.is_model(name.partition(".")[0]):
        raise ValueError(f"'{name}' is neither a row of hub.toml nor a network of timm{nearest(name, rows())}")
    with torch.device("meta"):  # shapes without numbers
        network = timm.create_model(name, pretrained=False, num_classes=0).eval()
        told = network.pretrained_cfg
        made = network.forward_features(torch.zeros(1, *told["input_size"]))
    if made.ndim != 4 or made.shape[1] != network.num_features:
        raise ValueError(f"'{name}' makes no feature map; name a transformer by its row of hub.toml")
    return Row(
        summary=name,
        library="timm",
        hub=told.get("hf_hub_id") or "",
        file="model.safetensors",
        architecture=name,
        kwargs={},
        size_px=told["input_size"][-1],
        mean=tuple(told["mean"]),
        std=tuple(told["std"]),
        dimension=int(made.shape[1]),
        pooling="gap",
        licence="as its authors say",
        gated=False,
        source=f"timm {name}",
    )
