from __future__ import annotations

from pathlib import Path

from phenolens.scans.uids import uids

from .dicom_files import ROOT, frame, values, write_series


def test_a_series_is_told_by_its_own_uid_and_that_of_its_first_image(tmp_path: Path) -> None:
    series = write_series(tmp_path / "a", values(frame()), frame(), number=4)
    found = uids(tmp_path / "a")
    assert series in found
    assert len(found) == 2
    assert all(uid.startswith(f"{ROOT}.3.4") for uid in found)


def test_a_series_that_the_table_names_is_its_own_uid_and_no_file_is_opened(tmp_path: Path) -> None:
    assert uids(tmp_path / "nowhere", "1.2.3[b_value=800]") == {"1.2.3"}


def test_what_is_no_dicom_or_cannot_be_read_has_no_uid(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"\x1f\x8b nothing")
    (tmp_path / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    assert uids(tmp_path / "a.nii.gz") == frozenset()
    assert uids(tmp_path / "broken.dcm") == frozenset()
    assert uids(tmp_path / "not there") == frozenset()
