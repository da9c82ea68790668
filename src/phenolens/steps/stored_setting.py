"""How the features of a stored model were made, from its config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phenolens.core.registry import Choice
from phenolens.scans.intensity import IntensitySettings
from phenolens.scans.prepare import ScanSettings
from phenolens.scans.quality import ScanQualitySettings
from phenolens.slides.normalise import Method
from phenolens.slides.quality import QualitySettings
from phenolens.slides.region import RegionSettings
from phenolens.slides.tiles import TileSettings
from phenolens.study import FILE
from phenolens.studyfile import parse


@dataclass(frozen=True, kw_only=True)
class ScanSetting:
    """The encoder, how scans are prepared, the sequences in order, and the one whose mask serves the others."""

    encoder: Choice
    scan: ScanSettings
    sequences: tuple[str, ...]
    mask_from: str | None


@dataclass(frozen=True, kw_only=True)
class SlideSetting:
    """The encoder, and how slides are prepared where nothing was drawn on them and their colours normalised."""

    encoder: Choice
    region: RegionSettings
    tiles: TileSettings
    quality: QualitySettings
    stain: Method | None


def slide_setting(config: Mapping[str, Any], base: Path) -> SlideSetting:
    """The settings in a model's config, of a model that finds outlines."""
    context = config["context"]
    chosen = context["encoder_choice"]
    return SlideSetting(
        encoder=Choice("encoder", chosen["name"], chosen["params"], base),
        region=RegionSettings(**context["region"]),
        tiles=TileSettings(**context["tiles"]),
        quality=QualitySettings(**context["quality"]),
        stain=context.get("normalised"),
    )


def scan_setting(config: Mapping[str, Any], base: Path) -> ScanSetting:
    """The settings in a model's config."""
    context = config["context"]
    asked, chosen = context["scan"], context["encoder_choice"]
    return ScanSetting(
        encoder=Choice("encoder", chosen["name"], chosen["params"], base),
        scan=ScanSettings(
            intensity=IntensitySettings(**_tuples(asked["intensity"])),
            quality=ScanQualitySettings(**context["quality"]),
            component=asked["component"],
            align=asked["align"],
            intensity_of={name: IntensitySettings(**_tuples(given)) for name, given in asked["intensity_of"].items()},
        ),
        sequences=tuple(asked["sequences"]),
        mask_from=asked["mask_from"],
    )


def _tuples(given: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}


def study_folder(model: Path) -> Path:
    """The study that a model of results/models/NAME/final belongs to, where a lab's own plug-ins lie; else MODEL."""
    parents = model.resolve().parents
    if len(parents) <= 3 or not (parents[3] / FILE).exists():
        return model
    part_of = parse((parents[3] / FILE).read_text("utf-8"), parents[3] / FILE)[1].get("part_of")
    return parents[3] if part_of is None else (parents[3] / part_of).resolve()
