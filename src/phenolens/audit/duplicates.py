"""Patients who are in the cohort twice: near copies by looks and by stored features, and whether a split parts them.

A run stops at copies whose looks are nearly equal (`steps.duplicates`). Here the bar is lower and the features count
too, so that what was made elsewhere (folders, tables), where no picture was seen, is searched as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm, rankdata

from phenolens.core.look import Vectors, close_pairs, vectors_of
from phenolens.core.types import Bag, Example, Finding, Split
from phenolens.steps.duplicates import Copy, Seen, alike, finding, groups_of

LOOKS = 0.905
"""Similarity of looks above which two images are near copies; figures in docs/honesty.md."""
FEATURES = 0.98
"""Cosine of pooled, ranked features above which two images are near copies; figures in docs/honesty.md."""
LEAST = 20
"""Features and images under which ranks tell too little to compare."""


def near_duplicates(
    images: Sequence[Seen], examples: Sequence[Example], splits: Sequence[Split], *, recurring: bool
) -> list[Finding]:
    """An error for copies that a split has parted into training and test, a warning for the others.

    `images` are those with looks (`looks_of`); `examples` give the features of every image. With `recurring`, parts
    named alike (sequences) are compared among themselves only; without, every image with every other.
    """
    copies = near_copies(images, embedded(examples, recurring=recurring))
    parted = {p: s.name for s in reversed(splits) for group in groups_of(copies) if _parts(s, group) for p in group}
    leaks = [c for c in copies if c.patients[0] in parted]
    rest = [c for c in copies if c.patients[0] not in parted]
    found = []
    if leaks:
        first = parted[leaks[0].patients[0]]
        found.append(finding(leaks, "error", f", and in training and test of a split (such as {first}): a leak"))
    return [*found, *([finding(rest, "warning")] if rest else [])]


def looks_of(images: Path) -> list[Seen]:
    """The looks in a results/images.csv; none where the study opened no image."""
    table = pd.read_csv(images, dtype=str, keep_default_na=False)
    if "look" not in table:
        return []
    held = table[(table["status"] == "used") & (table["look"] != "")]
    return [
        Seen(patient=row["patient"], image=row["image"], kind=row.get("sequence", ""), look=row["look"])
        for row in held.to_dict("records")
    ]


def near_copies(images: Sequence[Seen], features: Mapping[str, tuple[list[Seen], Vectors]]) -> list[Copy]:
    """Pairs of images of different patients that are near copies by looks or by features, with both similarities."""
    found: dict[tuple[str, str], Copy] = {c.images: c for c in alike(images, LOOKS)}
    for held, vectors in features.values():
        for i, j, _ in close_pairs(vectors, [s.patient for s in held], FEATURES):
            a, b = sorted((held[i], held[j]), key=lambda s: s.image)
            found.setdefault((a.image, b.image), Copy(patients=(a.patient, b.patient), images=(a.image, b.image)))
    looks = {s.image: s.look for s in images}
    rows = {s.image: v for held, vectors in features.values() for s, v in zip(held, vectors, strict=True)}
    made = []
    for pair, one in sorted(found.items()):
        look = _product(*vectors_of([looks[p] for p in pair])) if all(p in looks for p in pair) else None
        cosine = _product(*(rows[p] for p in pair)) if all(p in rows for p in pair) else None
        made.append(Copy(patients=one.patients, images=pair, look=look, features=cosine))
    return made


def embedded(examples: Sequence[Example], *, recurring: bool) -> dict[str, tuple[list[Seen], Vectors]]:
    """Kind -> its images and their features, (n, d) of unit length: pooled over instances, ranked within the cohort.

    The ranks of each feature are brought to normal scores, so that neither scale nor outliers decide. They look at all
    patients, and nothing that is learnt here is used again. Kinds with under LEAST images or features are left out, as
    are volumes, which have looks.
    """
    held: dict[str, dict[str, tuple[Seen, npt.NDArray[np.float64]]]] = {}
    for example in examples:
        for part in example.parts:
            source = None if part.source is None else part.source.load()
            kind = part.name if recurring else ""
            if isinstance(source, Bag) and len(source.x) and part.image not in held.get(kind, {}):
                seen = Seen(patient=example.patient, image=part.image, kind=kind, look="")
                held.setdefault(kind, {})[part.image] = (seen, source.x.mean(0, dtype=np.float64))
    made = {}
    for kind, of in sorted(held.items()):
        x = np.stack([vector for _, vector in of.values()])
        x = x[:, np.isfinite(x).all(0) & (np.ptp(x, axis=0) > 0)]
        if min(x.shape) >= LEAST:
            made[kind] = ([seen for seen, _ in of.values()], _scores(x))
    return made


def _scores(x: npt.NDArray[np.float64]) -> Vectors:
    scores = norm.ppf((rankdata(x, axis=0) - 0.5) / len(x))
    unit: Vectors = (scores / np.linalg.norm(scores, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _product(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    return float(a @ b)


def _parts(split: Split, group: Sequence[str]) -> bool:
    """Whether a split has some of the group in training (or tune) and others in test."""
    members = set(group)
    return bool(members & (split.train | split.tune)) and bool(members & split.test)
