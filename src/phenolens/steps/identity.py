"""Whether two patients are one person: the unique identifiers that DICOM gives every series and image."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from phenolens.cohort.duplicates import RULE, by_mark, one_person
from phenolens.core.types import Finding
from phenolens.scans.uids import uids
from phenolens.steps.desk import Desk, Ready


def same_uids(desk: Desk, ready: Ready, known: Iterable[Finding] = ()) -> list[Finding]:
    """An error for each group of patients with one DICOM series or image; one header an image is read.

    Groups that the findings in `known` name already, by equal files, are not named again.
    """
    if desk.study.reads in ("folder", "table"):  # no image is opened
        return []
    marks: dict[str, set[str]] = {}
    images = ready.cohort.images
    series = images["series"] if "series" in images else [None] * len(images)
    for patient, path, one in zip(images["patient"], images["path"], series, strict=True):
        marks.setdefault(patient, set()).update(uids(Path(path), one))
    told = [set(f.who) for f in known if f.rule == RULE]
    found = one_person(by_mark(marks, "the DICOM UID"))
    return [f for f in found if not any(set(f.who) <= who for who in told)]
