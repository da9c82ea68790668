"""Whether two patients are one person: by the unique identifiers of DICOM, or by equal files of features."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from phenolens.cohort.duplicates import RULE, Link, by_mark, one_person
from phenolens.cohort.faults import listed
from phenolens.cohort.files import equal_files
from phenolens.core.types import Finding
from phenolens.scans.uids import uids
from phenolens.steps.desk import Desk, Ready


def same_person(desk: Desk, ready: Ready, known: Iterable[Finding] = ()) -> list[Finding]:
    """An error for each group of patients with one DICOM series or image, or one feature file; no pixel is read.

    Groups that the findings in `known` name already, by equal files, are not named again.
    """
    if desk.study.reads == "table":  # its rows are compared with each other
        return []
    if desk.study.reads == "folder":
        return one_person(_same_features(desk, ready))
    marks: dict[str, set[str]] = {}
    images = ready.cohort.images
    series = images["series"] if "series" in images else [None] * len(images)
    for patient, path, one in zip(images["patient"], images["path"], series, strict=True):
        marks.setdefault(patient, set()).update(uids(Path(path), one))
    told = [set(f.who) for f in known if f.rule == RULE]
    found = one_person(by_mark(marks, "the DICOM UID"))
    return [f for f in found if not any(set(f.who) <= who for who in told)]


def _same_features(desk: Desk, ready: Ready) -> list[Link]:
    """Links by feature files of equal content; a file is of the image whose id or file name it has."""
    folder = desk.study.features.folder
    assert folder is not None, "the study names a folder of features"
    images = ready.cohort.images
    owner = {Path(path).stem: patient for path, patient in zip(images["path"], images["patient"], strict=True)}
    owner |= dict(zip(images["image"].astype(str), images["patient"], strict=True))
    files = {f.name: f for f in sorted(desk.study.path(folder).rglob("*.h5")) if f.stem in owner}
    links = []
    for names in equal_files(files):
        said = listed([f"{name} ({owner[files[name].stem]})" for name in names], 5)
        links.append(Link(who=frozenset(owner[files[n].stem] for n in names), said=f"{said} have equal content"))
    return [link for link in links if len(link.who) > 1]
