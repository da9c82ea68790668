from __future__ import annotations

import json
from pathlib import Path

import pytest

from phenolens.cohort.table import difference, load, snapshot

from .conftest import IMAGES, PATIENTS, Write


def change(write: Write, before: tuple[str, str] = (PATIENTS, IMAGES), **after: str) -> list[str]:
    """What is said when the first tables become the second; the snapshot goes through JSON as on disk."""
    first = json.loads(json.dumps(snapshot(load(write(*before))[0]), allow_nan=False))
    return difference(first, load(write(**after))[0])


def test_an_unchanged_cohort_has_no_difference(write: Write) -> None:
    assert change(write) == []


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ({"patients": PATIENTS.replace("P3,B,LMS", "P3,B,SS")}, ["patient P3: subtype changed from LMS to SS"]),
        ({"patients": PATIENTS.replace(",50", ",")}, ["patient P1: age changed from 50 to nothing"]),
        (
            {"patients": PATIENTS + "P7,A,SS,1\nP9,A,SS,1\n", "images": IMAGES + "P7,s7.svs\nP9,s8.svs\n"},
            ["2 patients added: P7, P9"],
        ),
        (
            {"patients": PATIENTS.replace("P4,B,SS,58\n", ""), "images": IMAGES.replace("P4,s4.svs\n", "")},
            ["1 patient removed: P4"],
        ),
        ({"images": IMAGES + "P3,s5.svs\nP1,s6.svs\n"}, ["2 images added: s5 of P3, s6 of P1"]),
        ({"images": IMAGES.replace("P3,s3", "P3,s5")}, ["1 image added: s5 of P3", "1 image removed: s3 of P3"]),
    ],
)
def test_a_change_is_said_in_a_sentence(write: Write, after: dict[str, str], said: list[str]) -> None:
    assert change(write, **after) == said


def test_columns_and_spacings_are_said(write: Write) -> None:
    assert change(write, patients=PATIENTS.replace("age", "years")) == [
        "column years added to the patients table",
        "column age removed from the patients table",
    ]
    images = IMAGES.replace("path\n", "path,mpp\n").replace("svs", "svs,")
    after = images.replace("s1.svs,", "s1.svs,0.5")
    assert change(write, (PATIENTS, images), images=after) == ["image s1 of P1: mpp changed from nothing to 0.5"]


def test_changed_missing_and_moved_files_are_said(write: Write, tmp_path: Path) -> None:
    images = "patient,image,path\nP1,a,s1.svs\nP2,b,s2.svs\nP3,c,s3.svs\nP4,d,s4.svs\n"
    before = snapshot(load(write(images=images))[0])
    tables = write(images=images.replace("d,s4", "d,s9").replace("P3,c", "P1,c").replace("P1,a", "P3,a"))
    (tmp_path / "s9.svs").write_bytes(b"slide" * 4)
    (tmp_path / "s2.svs").unlink()
    (tmp_path / "s1.svs").write_bytes(b"other")
    assert difference(before, load(tables)[0]) == [
        "image a of P3: file content changed",
        "image a of P3: moved from patient P1 to P3",
        "image a of P3: site changed from A to B",
        "image b of P2: the file is missing now",
        "image c of P1: moved from patient P3 to P1",
        "image c of P1: site changed from B to A",
        "image d of P4: path changed from s4.svs to s9.svs",
    ]


def test_the_snapshot_holds_no_folder_of_this_machine(write: Write, tmp_path: Path) -> None:
    assert str(tmp_path) not in json.dumps(snapshot(load(write())[0]))
