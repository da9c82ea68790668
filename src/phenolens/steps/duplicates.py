"""Images of different patients that are copies of each other by their looks: one person under two ids."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from phenolens.core.look import close_pairs, vectors_of
from phenolens.core.store import write_json
from phenolens.core.types import Finding, Severity
from phenolens.models.predict import CONFIG, Stored
from phenolens.steps.desk import Desk
from phenolens.steps.models import Fit, folder_of
from phenolens.steps.states import States

RULE = "near-duplicate-patients"
STOP = 0.93
"""Similarity of looks at which a run stops: most copies by JPEG, a crop or resampling lie above it; other images lie
below 0.84, and where all patients share one synthetic anatomy below 0.91 (figures in docs/honesty.md)."""
FILE = "looks.json"
"""Beside a final model: the looks of the images it was trained on."""
INFLATES = "AUC 0.62 to 0.69 on noise in which 20% of the patients are copies (docs/honesty.md)"
_SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One image that was looked at; images are compared within their `kind` (the sequence of a scan)."""

    patient: str
    image: str
    kind: str
    look: str


@dataclass(frozen=True, kw_only=True)
class Copy:
    """Two images of different patients that are near copies; a similarity (1: equal) is None where it is not known."""

    patients: tuple[str, str]
    images: tuple[str, str]
    look: float | None = None
    features: float | None = None

    def __str__(self) -> str:
        told = [f"{name} {value:.2f}" for name, value in (("look", self.look), ("features", self.features)) if value]
        return f"{self.images[0]} and {self.images[1]} ({', '.join(told)})"


def near_copies(states: States) -> list[Finding]:
    """An error where used images of different patients look the same; made before splits are, so that none is drawn."""
    copies = alike(seen_in(states), STOP)
    return [finding(copies, "error")] if copies else []


def seen_in(states: States) -> list[Seen]:
    """The looks of the images that are used; those without one (blank, or never opened) are left out."""
    return [
        Seen(
            patient=state.job.patient,
            image=image,
            kind=str(state.facts.get("sequence", "")),
            look=state.facts["look"],
        )
        for image, state in sorted(states.items())
        if state.status == "used" and state.facts.get("look")
    ]


def alike(seen: Iterable[Seen], least: float) -> list[Copy]:
    """Pairs of images of different patients whose looks are at least so similar."""
    by_kind: dict[tuple[str, int], list[Seen]] = {}
    for one in seen:
        by_kind.setdefault((one.kind, len(one.look)), []).append(one)
    found = []
    for _, held in sorted(by_kind.items()):
        for i, j, value in close_pairs(vectors_of([s.look for s in held]), [s.patient for s in held], least):
            a, b = held[i], held[j]
            found.append(Copy(patients=(a.patient, b.patient), images=(a.image, b.image), look=value))
    return found


def groups_of(copies: Sequence[Copy]) -> list[tuple[str, ...]]:
    """The patients that pairs connect: each group is one person as far as images tell."""
    names = sorted({p for c in copies for p in c.patients})
    at = {name: i for i, name in enumerate(names)}
    rows, columns = ([at[c.patients[k]] for c in copies] for k in (0, 1))
    linked = coo_matrix((np.ones(len(copies)), (rows, columns)), shape=(len(names), len(names)))
    label = connected_components(linked, directed=False)[1] if names else np.zeros(0, dtype=int)
    groups: dict[int, list[str]] = {}
    for name, group in zip(names, label.tolist(), strict=True):
        groups.setdefault(group, []).append(name)
    return [tuple(group) for group in groups.values()]


def finding(copies: Sequence[Copy], severity: Severity, told: str = "") -> Finding:
    """One finding for all groups, naming every patient and the pairs of images; `told` says where they lie."""
    groups = groups_of(copies)
    shown = []
    for group in groups[:_SHOWN]:
        pairs = [c for c in copies if c.patients[0] in group]
        more = f" and {len(pairs) - 2} more pairs" if len(pairs) > 2 else ""
        shown.append(f"{' = '.join(group)}: {'; '.join(map(str, pairs[:2]))}{more}")
    rest = f"; and {len(groups) - _SHOWN} more groups" if len(groups) > _SHOWN else ""
    people = f"{len(groups)} group{'s' * (len(groups) != 1)} of patients whose images are near copies of each other"
    return Finding(
        rule=RULE,
        severity=severity,
        what=f"{people}{told}: {'. '.join(shown)}{rest}",
        todo="give the images of one person one patient id, so that every split keeps them together, or leave the copy "
        "out with where:",
        who=tuple(p for group in groups for p in group),
        where="images table",
        inflates=INFLATES,
    )


def publish_looks(desk: Desk, fits: Sequence[Fit], states: States) -> None:
    """Beside every final model the looks of its training images, so that `predict` knows them under any name."""
    seen = seen_in(states)
    for one in (f for f in fits if f.split is None):
        folder = folder_of(desk, one)
        trained = set(json.loads((folder / CONFIG).read_text("utf-8"))["training_patients"])
        write_json(folder / FILE, [asdict(s) for s in seen if s.patient in trained])


def told_of(model: Path, stored: Stored, new: Seen) -> list[str]:
    """What is to be said where a model was trained on the patient of a new image, by id or by the look of the image."""
    said = []
    if stored.seen([new.patient]):
        said.append(f"the model was trained on a patient {new.patient!r}: if this is that one, this is no prediction")
    for copy in trained_on(model, new)[:1]:
        said.append(
            f"looks like image {copy.images[0]!r} of patient {copy.patients[0]!r} (similarity {copy.look:.2f}), "
            "whom the model was trained on: this is no prediction"
        )
    return said


def told_of_cohort(states: States, model: Path) -> list[Finding]:
    """An error where images of an external cohort look like images the model was trained on, or like one another."""
    pairs = [copy for new in seen_in(states) for copy in trained_on(model, new)[:1]]
    end = ", and the first of each pair trained the model: this is no external evidence"
    own = [finding(pairs, "error", end)] if pairs else []
    return [*own, *near_copies(states)]


def trained_on(model: Path, new: Seen) -> list[Copy]:
    """The training images of a published model that a new image is a near copy of, the most similar first.

    The training image comes first in each pair. Nothing is known of a model without the file that `publish_looks`
    writes, nor of an image without a look.
    """
    path = model / FILE
    if not new.look or not path.exists():
        return []
    told = [Seen(**one) for one in json.loads(path.read_text("utf-8"))]
    held = [s for s in told if (s.kind, len(s.look)) == (new.kind, len(new.look))]
    if not held:
        return []
    alike_to = vectors_of([s.look for s in held]) @ vectors_of([new.look])[0]
    return [
        Copy(patients=(held[i].patient, new.patient), images=(held[i].image, new.image), look=float(alike_to[i]))
        for i in np.argsort(-alike_to, kind="stable")
        if alike_to[i] >= STOP
    ]
