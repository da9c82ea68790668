"""Splits that another experiment of the same study has frozen: patients keep their folds from one to the next."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from phenolens.cohort import split
from phenolens.core.store import canonical
from phenolens.core.types import Split
from phenolens.steps.desk import Desk


def frozen_elsewhere(desk: Desk, asked: Mapping[str, Any], labels: str, patients: frozenset[str]) -> list[Split] | None:
    """The splits of another experiment with the same validation and labels, kept to `patients`; None without one.

    It must hold all of `patients` (usable here); who is usable there alone falls out of the folds.
    """
    if desk.study.part_of is None:
        return None
    for folder in sorted(p for p in desk.study.folder.parent.iterdir() if p != desk.study.folder):
        record, path = folder / "results" / "cohort.json", folder / "results" / "splits.csv"
        if not (record.exists() and path.exists()):
            continue
        known = json.loads(record.read_text("utf-8"))
        same = canonical(known["validation"]) == canonical(asked) and known.get("labels") == labels
        if same and patients <= set(known["usable"]):
            kept = [_kept(s, patients) for s in split.read(path)]
            if all(s.train and s.test for s in kept):
                return kept
    return None


def _kept(one: Split, patients: frozenset[str]) -> Split:
    parts = {part: getattr(one, part) & patients for part in ("train", "tune", "test")}
    return Split(scheme=one.scheme, repeat=one.repeat, fold=one.fold, seed=one.seed, **parts)
