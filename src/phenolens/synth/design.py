"""Design of a synthetic cohort: how many patients of which class, how strong the signal, how large the slides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from phenolens.core.errors import StudyError, nearest
from phenolens.synth.patterns import PATTERNS
from phenolens.synth.stain import Scanner


@dataclass(frozen=True, kw_only=True)
class Design:
    """What a cohort is made of.

    classes pairs each label with its tumour pattern. signal, 0 to 1, is how much of the label the tissue shows: at 1
    about two thirds of a tumour have the pattern of its class and the rest any, at 0 every tumour is drawn alike and
    nothing in the cohort depends on the label. slide_px is the largest side at mpp; sites differ in stain, scanner
    and mpp. With `faults`, an unreadable file, a slide without mpp and one with too little tumour come on top of the
    usable patients.
    """

    recipe: str
    target: str
    classes: tuple[tuple[str, str], ...]
    patients_per_class: int = 10
    sites: tuple[str, ...] = ("north", "south")
    signal: float = 1.0
    seed: int = 0
    slide_px: int = 2800
    mpp: float = 0.5
    tile: int = 256
    faults: bool = True

    def __post_init__(self) -> None:
        unknown = [p for _, p in self.classes if p not in PATTERNS]
        if unknown:
            raise ValueError(f"no pattern {unknown[0]!r}{nearest(unknown[0], PATTERNS)}")
        if len({label for label, _ in self.classes}) != len(self.classes) or len(self.classes) < 2:
            raise ValueError("two or more classes with different labels are wanted")
        if not 0 <= self.signal <= 1:
            raise ValueError(f"signal must lie in 0 to 1, found {self.signal}")
        if not 1 <= len(self.sites) <= 3:
            raise ValueError(f"one to three sites are wanted, found {len(self.sites)}")
        if self.patients_per_class < 1 or self.slide_px < 300:
            raise ValueError("at least one patient a class and slides of at least 300 px are wanted")

    def scanner(self, site: int) -> Scanner:
        """Stain and scanner of a site, by its place in `sites`."""
        if site == 0:
            return Scanner(mpp=self.mpp)
        if site == 1:
            return Scanner(
                mpp=round(self.mpp * 0.92, 4),
                haematoxylin=(0.60, 0.73, 0.33),
                eosin=(0.11, 0.93, 0.35),
                strength=(1.1, 0.88),
                white=(237, 235, 231),
                blur=0.7,
                noise=0.028,
            )
        return Scanner(mpp=self.mpp, strength=(0.9, 1.15), white=(248, 248, 246), blur=0.55, noise=0.015)


_SARCOMAS = ("storiform", "fascicles", "biphasic", "herringbone")


def recipes() -> dict[str, Design]:
    """The cohort that shows each recipe for slides."""
    diagnoses = ("liposarcoma", "leiomyosarcoma", "synovial sarcoma", "MPNST")
    return {
        "sts-subtypes": Design(
            recipe="sts-subtypes",
            target="subtype",
            classes=tuple(zip(("DDLPS", "LMS", "SS", "MPNST"), _SARCOMAS, strict=True)),
        ),
        "stt-phenotypes": Design(
            recipe="stt-phenotypes",
            target="diagnosis",
            classes=tuple(zip(diagnoses, _SARCOMAS, strict=True)),
            seed=1,
        ),
        "crlm-hgp": Design(
            recipe="crlm-hgp",
            target="hgp",
            classes=(("desmoplastic", "regular_glands"), ("non-desmoplastic", "irregular_glands")),
            patients_per_class=20,
            seed=2,
        ),
    }


def design_for(recipe: str, **overrides: Any) -> Design:
    """The cohort that shows a recipe: forty usable patients; any field can be overridden.

    Raises StudyError for a recipe that has no synthetic cohort, ValueError for an impossible design.
    """
    known = recipes()
    if recipe not in known:
        raise StudyError(
            f"no synthetic cohort for recipe {recipe!r}{nearest(recipe, known)}",
            expected=f"one of {', '.join(known)}",
            todo="choose one of these",
        )
    return replace(known[recipe], **overrides)


_DEMO: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "quality": {"min_tissue_mm2": 0.02},
        "region": {"annotation": "Tumor", "min_annotation_share": 0.6},
        "tiles": {"size_px": 224, "mpp": 0.5, "max_per_patient": 60},
        "features": {"encoder": "pathomics"},
        "validation": {"folds": 5, "repeats": 1},
    }
)


def demo_overrides(recipe: str) -> dict[str, dict[str, Any]]:
    """What to change in the recipe's study.yaml for its synthetic cohort: section -> key -> value.

    The cohort is small and scanned at about 0.5 mpp, so tiles are, too; one round of folds keeps the demo short.
    """
    design_for(recipe)
    return {section: dict(values) for section, values in _DEMO.items()}
