"""What a study of outlines on slides may ask for, and a study that reads outlines a model found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phenolens.sections import SEGMENTATION
from phenolens.studyfile import Fault

if TYPE_CHECKING:
    from phenolens.study import Study


def outline_faults(study: Study) -> list[Fault]:
    """Faults of a segmentation of slides, of `features.outlines` and of `region.masks`."""
    segments, region = study.task.kind == SEGMENTATION, study.region
    faults: list[Fault] = []
    if segments:
        faults += _segmentation(study)
    elif "tolerance_um" in study.task.model_fields_set:
        todo = "remove tolerance_um: nothing of it is used"
        faults.append((("task", "tolerance_um"), "tolerance_um without masks", "kind: segmentation", todo))
    elif _outlines(study) and region.annotation is None:
        todo = "name the class in region.annotation, or remove outlines"
        faults.append((("features", "outlines"), "outlines of no class", "region.annotation", todo))
    if region.masks is not None and region.annotation is not None:
        found, todo = "both drawn and predicted annotations", "remove region.annotation, or region.masks"
        faults.append((("region", "masks"), found, "one of them", todo))
    return faults


def _segmentation(study: Study) -> list[Fault]:
    """How the slides are read must not tell the model where the tumour is."""
    faults: list[Fault] = []
    if "tolerance_mm" in study.task.model_fields_set:
        todo = "set tolerance_um, in micrometres"
        faults.append((("task", "tolerance_mm"), "tolerance_mm of outlines on slides", "tolerance_um", todo))
    if not _outlines(study):
        found, todo = "a segmentation of slides whose tiles have no outlines", "set outlines: true"
        faults.append((("features",), found, "features: {encoder: pixels, outlines: true}", todo))
    if study.region.annotation is not None:
        found = f"tiles inside the drawn annotation '{study.region.annotation}'"
        todo = "remove region.annotation; the class to outline is task.target"
        faults.append((("region", "annotation"), found, "tiles of all tissue, since where the class is is asked", todo))
    if study.tiles.stain != "none":
        found, todo = (
            f"tiles.stain {study.tiles.stain} in a segmentation",
            "remove tiles.stain; tile_unet changes stains in training",
        )
        faults.append((("tiles", "stain"), found, "the colours of the slides, as its windows are read", todo))
    if study.region.masks is not None:
        found, todo = "predicted masks as the truth of a segmentation", "remove region.masks"
        faults.append((("region", "masks"), found, "drawn annotations", todo))
    return faults


def _outlines(study: Study) -> bool:
    encoder = study.encoder()
    return encoder is not None and bool(getattr(encoder.create(), "outlines", False))
