"""Settings that mean nothing in a study of its kind of image, and those that no reader of these images has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from phenolens.core.errors import PhenolensError, nearest
from phenolens.studyfile import Fault, Place

if TYPE_CHECKING:
    from phenolens.study import Study

_OF_KIND = {"slide": ("region", "tiles", "quality"), "scan": ("scan", "quality"), "folder": (), "table": ()}
"""The sections that settle how each kind of image is read; beside the others they would silently do nothing."""


def setting_faults(study: Study) -> list[Fault]:
    """Faults of the sections that settle how images are read, of quality, and of intensities."""
    return _made_elsewhere(study) + _other_kind(study) + (_wrong_quality(study) or _without_scale(study))


def _other_kind(study: Study) -> list[Fault]:
    """Sections that this study's kind of image does not use."""
    faults: list[Fault] = []
    kind = study.reads
    told = {"slide": "in a study of slides", "scan": "in a study of scans"}.get(kind, f"beside features.{kind}")
    for name in ("region", "tiles", "scan", "quality"):
        if name in study.model_fields_set and name not in _OF_KIND[kind]:
            allowed = ", ".join(_OF_KIND[kind]) or "what the files hold"
            todo = f"remove {name}: nothing of it is used"
            faults.append(((name,), f"{name} {told}", allowed, todo))
    return faults


def _made_elsewhere(study: Study) -> list[Fault]:
    """Parameters beside a folder of features or a table of them."""
    known = {"folder": ("tile_um", "tile_px_level0"), "table": ("drop_incomplete_columns", "ignore")}.get(study.reads)
    faults: list[Fault] = []
    for key, value in study.features.params.items() if known else ():
        place, found = ("features", key), f"features.{key}: {value!r}"
        if known and key not in known:
            todo = f"correct or remove it{nearest(key, known)}"
            faults.append((place, found, f"{study.reads}, {' or '.join(known)}", todo))
        elif study.reads == "folder" and (
            isinstance(value, bool) or not isinstance(value, int | float) or not value > 0
        ):
            faults.append((place, found, "the side of a tile, above 0", "correct the value"))
    return faults


def _wrong_quality(study: Study) -> list[Fault]:
    """Thresholds and intensity settings that do not exist for this kind of image."""
    if study.reads == "slide":
        from phenolens.slides.quality import QualitySettings

        return _unknown("quality", study.quality, QualitySettings)
    if study.reads == "scan":
        from phenolens.scans.intensity import IntensitySettings
        from phenolens.scans.quality import ScanQualitySettings

        faults = _unknown("quality", study.quality, ScanQualitySettings)
        asked = {"intensity": study.scan.intensity}
        asked |= {f"intensity_of.{name}": given for name, given in study.scan.intensity_of.items()}
        for place, given in asked.items():
            unknown = _unknown(f"scan.{place}", given, IntensitySettings)
            faults += unknown
            if not unknown:
                try:
                    IntensitySettings(**given)
                except (PhenolensError, ValueError) as fault:
                    where = ("scan", *place.split("."))
                    faults.append((where, f"{place} {given}", "settings that go together", str(fault)))
        return faults
    return []


def _without_scale(study: Study) -> list[Fault]:
    """Landmarks that nobody would use: the standard scale of Nyúl is fitted inside a fold, by models of volumes."""
    if study.reads != "scan":
        return []
    given: dict[Place, Mapping[str, Any]] = {("scan", "intensity"): study.scan.intensity}
    given |= {("scan", "intensity_of", name): own for name, own in study.scan.intensity_of.items()}
    places = [(*place, "scale") for place, own in given.items() if own.get("scale") == "nyul_landmarks"]
    encoder = study.encoder()
    if not places or encoder is None:
        return []
    if encoder.create().makes != "volume":
        found = f"scale: nyul_landmarks with the encoder '{encoder.name}', whose features would be of raw intensities"
        todo = "choose scale: zscore, or the encoder volume with a model that fits the scale in a fold, such as cnn3d"
        return [(place, found, "scale: zscore, percentile or none", todo) for place in places]
    models = enumerate(study.model_choices())
    unfit = [(i, c.name) for i, c in models if not getattr(c.create(), "reads_landmarks", False)]
    expected, todo = "a model that fits the scale in a fold, such as cnn3d", "choose one, or scale: zscore"
    return [
        (("models", i), f"scale: nyul_landmarks with model '{name}', which does not use it", expected, todo)
        for i, name in unfit
    ]


def _unknown(section: str, given: Mapping[str, Any], settings: type[Any]) -> list[Fault]:
    known = [f.name for f in fields(settings)]
    place = tuple(section.split("."))
    return [
        (
            (*place, key),
            f"unknown key '{section}.{key}'",
            f"one of {', '.join(known)}",
            f"correct or remove it{nearest(key, known)}",
        )
        for key in given
        if key not in known
    ]
