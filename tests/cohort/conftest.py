"""Small cohorts written as tables, for planting faults in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pytest

from phenolens.cohort.table import Tables
from phenolens.core.types import Cohort

Write = Callable[..., Tables]
PATIENTS = "patient,site,subtype,age\nP1,A,LMS,50\nP2,A,SS,61\nP3,B,LMS,47\nP4,B,SS,58\n"
IMAGES = "patient,path\nP1,s1.svs\nP2,s2.svs\nP3,s3.svs\nP4,s4.svs\n"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes both tables and the image files (each with its own content), and returns what to read."""

    def made(patients: str = PATIENTS, images: str = IMAGES, **asked: object) -> Tables:
        (tmp_path / "patients.csv").write_text(patients, encoding="utf-8")
        (tmp_path / "images.csv").write_text(images, encoding="utf-8")
        for n in range(1, 10):
            (tmp_path / f"s{n}.svs").write_bytes(b"slide" * n)
        asked = {"target": "subtype"} | asked
        return Tables(patients=tmp_path / "patients.csv", images=tmp_path / "images.csv", **asked)

    return made


def cohort_of(labels: Mapping[str, str], sites: Mapping[str, str] | Sequence[str] = ()) -> Cohort:
    """A cohort of one image a patient, without files."""
    ids = list(labels)
    where = dict(sites) if isinstance(sites, Mapping) else dict(zip(ids, sites, strict=bool(sites)))
    own = [where.get(p, "unknown") for p in ids]
    patients = pd.DataFrame({"subtype": list(labels.values()), "site": own}, index=pd.Index(ids, name="patient"))
    images = pd.DataFrame({"patient": ids, "image": [f"{p}-1" for p in ids], "path": "", "site": own})
    return Cohort(patients=patients, images=images, fingerprint="0")


def series(labels: Mapping[str, str]) -> pd.Series[str]:
    return pd.Series(labels, name="subtype").rename_axis("patient")
