"""Which tables are read, and what in them is predicted from what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

BASELINE = "baseline"
"""The timepoint of scans whose row names none, and the one that is predicted from when none is asked for."""


@dataclass(frozen=True, kw_only=True)
class Tables:
    """What to read: the tables, the column that is predicted and where it stands, a subset, the classes.

    target is empty where nothing in a table is predicted, but masks: every image counts, and strata are sites.

    time and event are the columns of a follow-up; target then only names the end point, and the unit is the patient.

    images is None where features come from a table and there is nothing to open. lesions is needed where the unit is
    the lesion, and read only then. timepoint says which scans are predicted from, BASELINE when None. kind is that of
    images whose row names none: "slide" when None. every_class says that each of `classes` must be there; an external
    cohort may lack one.
    """

    patients: Path
    images: Path | None
    target: str
    unit: Literal["patient", "image", "lesion"] = "patient"
    where: str | None = None
    classes: tuple[str, ...] = ()
    lesions: Path | None = None
    timepoint: str | None = None
    kind: Literal["slide", "scan"] | None = None
    every_class: bool = True
    time: str | None = None
    event: str | None = None
