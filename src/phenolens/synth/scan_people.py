"""Patients of a synthetic cohort of scans: who they are, which sequences are there, what is planted as faulty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from phenolens.core.store import key_of
from phenolens.synth.scan_design import ScanDesign
from phenolens.synth.space import Rng

BROKEN = "broken"
EMPTY_MASK = "empty_mask"
OTHER_GRID = "mask_on_another_grid"
_LACKS = ("DWI", "CE-T1", "T1")
"""What each site mostly lacks when sequences are missing by site."""


@dataclass(frozen=True, kw_only=True)
class SynthScan:
    """One image to write: its id, its sequence, and its planted fault or None."""

    image: str
    sequence: str
    fault: str | None = None


@dataclass(frozen=True, kw_only=True)
class ScanPatient:
    """One patient: class (its place in the design), site, covariates, the images that are there."""

    patient: str
    label: int
    site: int
    columns: dict[str, str | int]
    scans: tuple[SynthScan, ...]
    usable: bool = True


def generator(design: ScanDesign, *what: str) -> Rng:
    """Random numbers for one purpose, apart from the design's signal, classes and missing sequences."""
    return np.random.default_rng(int(key_of(["synthetic scans", design.recipe, design.seed, *what]), 16))


def draw(design: ScanDesign) -> list[ScanPatient]:
    """The patients, in the order of their ids. Labels and sites are dealt to ids at random, each site alike in every
    class as far as numbers allow. Faults never take the only image of a patient who counts."""
    deal = generator(design, "deal")
    slots = [(c, i % len(design.sites)) for c in range(len(design.classes)) for i in range(design.patients_per_class)]
    extra = 2 if design.faults and design.modality == "ct" else 0
    spare = [(int(deal.integers(len(design.classes))), int(deal.integers(len(design.sites)))) for _ in range(2)]
    slots += spare[:extra]
    order = deal.permutation(len(slots))
    sites = [slots[i][1] for i in order]
    there = present(design, sites)
    people = []
    for rank, i in enumerate(order):
        patient = f"P{rank + 1:03d}"
        rng = generator(design, patient, "person")
        scans = tuple(SynthScan(image=f"{patient}-{s}", sequence=s) for s in there[rank])
        columns: dict[str, str | int] = {
            "age": int(np.clip(rng.normal(58, 14), 18, 90)),
            "sex": "F" if rng.random() < 0.5 else "M",
        }
        people.append(ScanPatient(patient=patient, label=slots[i][0], site=sites[rank], columns=columns, scans=scans))
    unfit = [rank for rank, i in enumerate(order) if i >= len(slots) - extra]
    return _planted(design, people, unfit) if design.faults else people


def present(design: ScanDesign, sites: Sequence[int]) -> list[tuple[str, ...]]:
    """The sequences that each patient has; of all cells, the share `missing` is taken out, one a patient stays."""
    rng = generator(design, "missing")
    cells = [(p, s) for p in range(len(sites)) for s in range(len(design.sequences))]
    weight = np.ones(len(cells))
    if design.missing_by == "site" and design.modality == "mri":
        lacks = [design.sequences[s] == _LACKS[sites[p]] for p, s in cells]
        weight[np.array(lacks)] = 8.0
    order = np.argsort(rng.exponential(1, len(cells)) / weight, kind="stable")
    left = [set(range(len(design.sequences))) for _ in sites]
    wanted = round(design.missing * len(cells))
    for cell in order:
        p, s = cells[cell]
        if wanted and len(left[p]) > 1:
            left[p].remove(s)
            wanted -= 1
    return [tuple(design.sequences[s] for s in sorted(kept)) for kept in left]


def _planted(design: ScanDesign, people: list[ScanPatient], unfit: Sequence[int]) -> list[ScanPatient]:
    """Plant a broken file, an empty mask and a mask on another grid: the first two in images of patients who have
    others or (one image a patient) in patients who come on top."""
    rng = generator(design, "faults")
    several = [i for i, p in enumerate(people) if len(p.scans) > 1]
    hosts = list(unfit) or [int(i) for i in rng.permutation(several)[:2]]
    rest = [i for i in range(len(people)) if i not in hosts]
    made = list(people)
    for i, fault in zip(
        [*hosts, int(rng.choice(rest))] if rest else hosts, (BROKEN, EMPTY_MASK, OTHER_GRID), strict=False
    ):
        scans = list(made[i].scans)
        at = int(rng.integers(len(scans)))
        scans[at] = replace(scans[at], fault=fault)
        made[i] = replace(made[i], scans=tuple(scans), usable=i not in unfit)
    return made
