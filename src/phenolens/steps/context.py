"""What a stored model must remember of how its features were made."""

from __future__ import annotations

from typing import Any

from phenolens.features.extract import encoder_identity
from phenolens.steps.desk import Desk, Ready
from phenolens.steps.scans import sequences_of


def context_of(desk: Desk, ready: Ready) -> dict[str, Any]:
    """Encoder, region, tiles and quality as JSON; travels in the config of every model, and predict holds to it."""
    study = desk.study
    encoder = study.encoder()
    return {
        "encoder": None if encoder is None else encoder_identity(encoder),
        "encoder_choice": None if encoder is None else {"name": encoder.name, "params": study.features.params},
        "features_folder": None if study.features.folder is None else study.features.folder.name,
        **_of_kind(desk, ready),
        "quality": dict(study.quality),
        "unit": study.task.unit,
        **({"outline": study.task.target} if study.segments and study.reads == "slide" else {}),
    }


def _of_kind(desk: Desk, ready: Ready) -> dict[str, Any]:
    study = desk.study
    if study.reads == "scan":
        scan = study.scan.model_dump(mode="json", exclude={"masks"}) | {"sequences": list(sequences_of(desk, ready))}
        return {"scan": scan if study.scan.masks is None else {**scan, "masks": "predicted"}}
    if study.reads == "table":
        return {"table": study.features.params}
    tiles = study.tiles.model_dump(mode="json", exclude={"magnification", "stain"}) | {"mpp": study.tiles.spacing}
    cut = {"region": study.region.model_dump(mode="json", exclude={"masks"}) | _lent(desk), "tiles": tiles}
    return cut if desk.stain is None else {**cut, "normalised": desk.stain}


def _lent(desk: Desk) -> dict[str, Any]:
    """Where the annotations are a model's."""
    return {} if desk.study.region.masks is None else {"annotation": desk.region.annotation}


def devices_of(desk: Desk) -> list[str]:
    """Where the encoder ran."""
    encoder = desk.study.encoder()
    if encoder is None or encoder.create().place == "cpu":
        return ["cpu"]
    from phenolens.core.compute import devices

    return devices()
