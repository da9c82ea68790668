"""Design of a synthetic cohort of scans: classes, sites, how strong the signal is and which sequences are missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from phenolens.core.errors import nearest
from phenolens.synth.masses import GIST_TYPES
from phenolens.synth.mri import SCANNERS, SEQUENCES
from phenolens.synth.tumours import LIVER_TYPES

CT = ("CT",)


@dataclass(frozen=True, kw_only=True)
class ScanDesign:
    """What a cohort of scans is made of.

    classes pairs each label with the kind of its lesions. signal, 0 to 1, is how far a lesion is of its own kind: at 0
    nothing in the cohort but the label column depends on the label. missing is the share of all sequences that are not
    there (every patient keeps one); by "random" nothing tells which, by "site" each site lacks mostly a sequence of its
    own, at the same share over all. more is the chance of each of two further lesions; with `mixed` these are of any
    class, and lesions.csv holds the label of each. voxel times the voxel size makes smaller files. With `faults`, a
    broken file, an empty mask and a mask on another grid are planted.
    """

    recipe: str
    target: str
    modality: Literal["mri", "ct"]
    classes: tuple[tuple[str, str], ...]
    patients_per_class: int = 20
    sites: tuple[str, ...] = ("north", "south", "east")
    signal: float = 1.0
    seed: int = 0
    missing: float = 0.0
    missing_by: Literal["random", "site"] = "random"
    more: float = 0.0
    mixed: bool = False
    voxel: float = 1.0
    faults: bool = True

    def __post_init__(self) -> None:
        known = LIVER_TYPES if self.modality == "mri" else GIST_TYPES
        unknown = [kind for _, kind in self.classes if kind not in known]
        if unknown:
            raise ValueError(f"no kind of lesion {unknown[0]!r}{nearest(unknown[0], known)}")
        if self.modality == "ct" and self.more:
            raise ValueError(f"more is for MR; a CT has one mass, found more {self.more}")
        if len({label for label, _ in self.classes}) != len(self.classes) or len(self.classes) < 2:
            raise ValueError("two or more classes with different labels are wanted")
        for name, value in (("signal", self.signal), ("more", self.more)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must lie in 0 to 1, found {value}")
        most = 1 - 1 / len(self.sequences)
        if not 0 <= self.missing <= most:
            raise ValueError(
                f"missing must lie in 0 to {most:g}, found {self.missing}: every patient keeps one sequence"
            )
        if not 1 <= len(self.sites) <= len(SCANNERS):
            raise ValueError(f"one to {len(SCANNERS)} sites are wanted, found {len(self.sites)}")
        if self.patients_per_class < 1 or not 0.8 <= self.voxel <= 2.5:
            raise ValueError("at least one patient a class and voxels of 0.8 to 2.5 times the size are wanted")

    @property
    def sequences(self) -> tuple[str, ...]:
        """The sequences of a patient who has all of them."""
        return SEQUENCES if self.modality == "mri" else CT


def scan_designs() -> dict[str, ScanDesign]:
    """The cohort that shows each recipe for scans."""
    return {
        "liver-mri": ScanDesign(
            recipe="liver-mri",
            target="diagnosis",
            modality="mri",
            classes=(
                ("HCC", "hcc"),
                ("FNH", "fnh"),
                ("haemangioma", "haemangioma"),
                ("metastasis", "metastasis"),
            ),
            missing=0.25,
            seed=3,
        ),
        "gist-ct": ScanDesign(
            recipe="gist-ct",
            target="mutation",
            modality="ct",
            classes=(("KIT exon 11", "lobed"), ("other", "smooth")),
            patients_per_class=30,
            seed=4,
        ),
    }


def scan_design_for(recipe: str, **overrides: Any) -> ScanDesign:
    """The cohort of a recipe for scans; any field can be overridden. Raises ValueError for an impossible design."""
    return replace(scan_designs()[recipe], **overrides)


_DEMO: Mapping[str, Mapping[str, Any]] = MappingProxyType({"validation": {"folds": 5, "repeats": 1}})


def scan_demo_overrides() -> dict[str, dict[str, Any]]:
    """What to change in the recipe's study.yaml for its synthetic cohort: one round of folds keeps the demo short."""
    return {section: dict(values) for section, values in _DEMO.items()}
