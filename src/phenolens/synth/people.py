"""People: the patients of a synthetic cohort, drawn so that nothing but the tumour's pattern depends on the label."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from phenolens.core.store import key_of
from phenolens.synth.design import Design
from phenolens.synth.patterns import Body
from phenolens.synth.scene import SlidePlan

TRUNCATED = "truncated"
NO_MPP = "no_mpp"
LITTLE_TUMOUR = "below_annotation_share"
FAULTS = (TRUNCATED, NO_MPP, LITTLE_TUMOUR)

_PENS = ((36, 58, 150), (40, 110, 60), (45, 45, 50))


@dataclass(frozen=True, kw_only=True)
class SynthSlide:
    """One slide to write: its id, what it shows, and its planted fault or None."""

    image: str
    plan: SlidePlan
    fault: str | None = None


@dataclass(frozen=True, kw_only=True)
class Person:
    """One patient: label and site, what the tumour is like (mixture of patterns, body), covariates, slides."""

    patient: str
    label: str
    site: int
    mixture: tuple[tuple[str, float], ...]
    body: Body
    columns: dict[str, str | int]
    slides: tuple[SynthSlide, ...]


def draw(design: Design) -> list[Person]:
    """The patients, in the order of their ids. Labels and sites are dealt to ids at random, each site alike in every
    class as far as numbers allow; the rest is drawn from the id alone, except the mixture's part set by the signal."""
    deal = _generator(design, "deal")
    slots = [(c, i % len(design.sites)) for c in range(len(design.classes)) for i in range(design.patients_per_class)]
    faults: list[str | None] = [None] * len(slots)
    if design.faults:
        for fault in (TRUNCATED, LITTLE_TUMOUR):
            slots.append((int(deal.integers(len(design.classes))), int(deal.integers(len(design.sites)))))
            faults.append(fault)
    order = deal.permutation(len(slots))
    usable = [rank for rank, i in enumerate(order) if faults[i] is None]
    second = set(deal.permutation(usable)[: len(usable) // 5].tolist())
    inked = set(deal.permutation(usable)[: max(1, len(usable) // 8)].tolist())
    unscaled = int(deal.choice([rank for rank in usable if rank not in second] or usable))
    people = []
    for rank, i in enumerate(order):
        label, site = slots[i]
        wanted: list[str | None] = [faults[i]]
        if rank in second:
            wanted.append(None)
        if design.faults and rank == unscaled:
            wanted.append(NO_MPP)
        people.append(_person(design, rank, label, site, wanted, rank in inked))
    return people


def _generator(design: Design, *what: str) -> np.random.Generator:
    return np.random.default_rng(int(key_of(["synthetic cohort", design.recipe, design.seed, *what]), 16))


def _person(design: Design, rank: int, label: int, site: int, faults: list[str | None], ink: bool) -> Person:
    patient = f"P{rank + 1:03d}"
    rng = _generator(design, patient)
    names = tuple(sorted({pattern for _, pattern in design.classes}))
    own = design.signal * rng.beta(7, 4)
    shares = (1 - own) * rng.dirichlet(np.ones(len(names)))
    shares[names.index(design.classes[label][1])] += own
    effects = np.clip(rng.normal(0, 1, 5), -2.2, 2.2)
    body = Body(
        density=float(np.exp(0.13 * effects[0])),
        size=float(np.exp(0.09 * effects[1])),
        eosin=float(np.exp(0.16 * effects[2])),
        chromatin=float(np.exp(0.11 * effects[3])),
        pleomorphism=float(0.06 + 0.025 * effects[4]),
    )
    columns = {**_covariates(rng), **_scores(design, dict(zip(names, shares, strict=True)), effects, rng)}
    mixture = tuple((name, float(share)) for name, share in zip(names, shares, strict=True))
    slides = tuple(
        _slide(design, f"{patient}-{chr(65 + i)}", site, mixture, body, fault, ink and i == 0)
        for i, fault in enumerate(faults)
    )
    return Person(
        patient=patient,
        label=design.classes[label][0],
        site=site,
        mixture=mixture,
        body=body,
        columns=columns,
        slides=slides,
    )


def _slide(
    design: Design,
    image: str,
    site: int,
    mixture: tuple[tuple[str, float], ...],
    body: Body,
    fault: str | None,
    ink: bool,
) -> SynthSlide:
    rng, scanner = _generator(design, image), design.scanner(site)
    side = design.slide_px * design.mpp / scanner.mpp
    width, height = (int(side * rng.uniform(0.88, 1.0)) for _ in range(2))
    plan = SlidePlan(
        seed=key_of([design.recipe, design.seed, image]),
        width=width,
        height=height,
        scanner=scanner,
        mixture=mixture,
        body=body,
        share=float(rng.uniform(0.72, 0.8)),
        island=bool(rng.random() < 0.4),
        septum=bool(rng.random() < 0.2),
        pen=_PENS[rng.integers(len(_PENS))] if ink else None,
    )
    if fault == LITTLE_TUMOUR:
        plan = replace(plan, share=0.3, island=False, septum=False)
    return SynthSlide(image=image, plan=plan, fault=fault)


def _covariates(rng: np.random.Generator) -> dict[str, str | int]:
    return {"age": int(np.clip(rng.normal(56, 15), 18, 90)), "sex": "F" if rng.random() < 0.5 else "M"}


def _scores(
    design: Design, mixture: dict[str, float], effects: np.ndarray, rng: np.random.Generator
) -> dict[str, str | int]:
    """The further columns such a study has, read off the tissue as a pathologist would, with an observer's error."""
    if design.recipe == "stt-phenotypes":
        return {"grade": int(1 + np.digitize(effects[0] + effects[4] + rng.normal(0, 0.8), (-0.9, 0.9)))}
    if design.recipe == "crlm-hgp":
        irregular = mixture.get("irregular_glands", 0.5)
        seen = irregular + rng.normal(0, 0.18, 4)
        return {
            "differentiation": ("well", "moderate", "poor")[int(np.digitize(seen[0], (0.3, 0.75)))],
            "tumour_budding": int(1 + np.digitize(seen[1], (0.35, 0.7))),
            "lymphocytes": int(3 - np.digitize(seen[2], (0.2, 0.5, 0.8))),
            "stroma_percent": int(np.clip(5 * round((25 + 40 * seen[3]) / 5), 5, 90)),
        }
    return {}
