"""Patients who reach a fit through another fitted model: one it begins with, or a teacher that softened its targets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from phenolens.core.errors import LeakError
from phenolens.core.types import Example, Split

SOFT = "soft"
"""The target that holds a teacher's soft targets: image -> (rows (m,), probabilities (m, k))."""
TAUGHT = "soft_seen"
"""The target that holds the patients whom the teacher of the soft targets has seen."""


def lent_patients(model: Any, train: Iterable[Example]) -> frozenset[str]:
    """All whom the model's start, or a teacher of its training units, has seen."""
    begun: frozenset[str] = model.lent() if hasattr(model, "lent") else frozenset()
    return begun.union(*(e.targets.get(TAUGHT, ()) for e in train))


def refuse_lent(lent: frozenset[str], split: Split, name: str) -> None:
    """Raises LeakError where one of them is a test patient of the split."""
    if both := sorted(lent & split.test):
        raise LeakError(
            f"test patient {both[0]!r} of {split.name} among the training patients of the model that '{name}' begins"
            f" with or is taught by ({len(both)} of {len(split.test)} test patients)",
            expected="a model that never saw a test patient of this split",
            todo="begin with the model of the same fold, or with one fitted on other patients",
        )


def taught(example: Example) -> list[str]:
    """The content of a unit's soft targets; nothing where it has none."""
    soft = example.targets.get(SOFT)
    if not soft:
        return []
    digest = hashlib.sha256()
    for image in sorted(soft):
        rows, p = (np.ascontiguousarray(v, dtype) for v, dtype in zip(soft[image], ("<i8", "<f8"), strict=True))
        digest.update(image.encode() + rows.tobytes() + p.tobytes())
    return [digest.hexdigest()[:24]]
