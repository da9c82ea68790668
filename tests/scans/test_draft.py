"""A folder of scans becomes a draft of images.csv."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from phenolens.core.errors import CohortError
from phenolens.scans.draft import COLUMNS, draft_images
from phenolens.scans.image import open_scan
from tests.scans.dicom_files import frame, values, write_enhanced, write_seg, write_series


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(sitk.GetImageFromArray(np.ones((2, 3, 4), np.uint8)), str(root / name))


def test_a_dicom_tree_gives_a_row_a_series_with_its_guess(tmp_path: Path) -> None:
    def owner(name: str) -> Any:
        def edit(i: int, made: Any) -> None:
            made.PatientID = name

        return edit

    on = frame()
    first = write_series(
        tmp_path / "x" / "1", values(on), on, kind="MR", number=1, description="t2_haste_tra", edit=owner("LIV-02")
    )
    write_series(
        tmp_path / "x" / "2", values(on), on, kind="MR", number=2, description="t1 vibe art", edit=owner("LIV-02")
    )
    write_series(tmp_path / "y", values(on), on, number=3, description="Abdomen portal", edit=owner("LIV-01"))
    rows = draft_images(tmp_path)
    assert [(r["patient"], r["image"], r["sequence"]) for r in rows] == [
        ("LIV-01", "LIV-01-CT-portal", "CT-portal"),
        ("LIV-02", "LIV-02-T2", "T2"),
        ("LIV-02", "LIV-02-CE-T1-arterial", "CE-T1-arterial"),
    ]
    assert tuple(rows[0]) == COLUMNS
    assert rows[1]["series"] == first
    assert rows[1]["kind"] == "scan"
    for row in rows:
        with open_scan(row["path"], series=row["series"]) as scan:
            assert scan.frame.shape == on.shape


def test_each_b_value_of_one_series_is_a_row_that_opens(tmp_path: Path) -> None:
    on = frame()
    stored = [values(on), values(on, 1)]
    write_enhanced(tmp_path / "dwi.dcm", [(50.0, stored[0]), (800.0, stored[1])], on)
    rows = draft_images(tmp_path)
    assert [(r["sequence"], r["b_value"], r["series"].partition("[")[2]) for r in rows] == [
        ("DWI", 50.0, "b_value=50]"),
        ("DWI", 800.0, "b_value=800]"),
    ]
    assert [r["image"] for r in rows] == ["P1-DWI", "P1-DWI-2"]
    for row, volume in zip(rows, stored, strict=True):
        with open_scan(row["path"], series=row["series"]) as scan:
            np.testing.assert_array_equal(scan.whole(), volume)


def test_a_segmentation_is_offered_for_the_series_it_refers_to(tmp_path: Path) -> None:
    import pydicom
    from pydicom.dataset import Dataset

    on = frame()
    uid = write_series(tmp_path / "ct", values(on), on)
    file = tmp_path / "seg" / "s.dcm"
    file.parent.mkdir()
    write_seg(file, {"T": values(on) > 1000}, on)
    data = pydicom.dcmread(file)
    data.ReferencedSeriesSequence = [Dataset()]
    data.ReferencedSeriesSequence[0].SeriesInstanceUID = uid
    data.save_as(file)
    (row,) = draft_images(tmp_path)
    assert row["mask"] == str(file)


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (
            ("A/CT_image.nii.gz", "A/CT_mask.nii.gz", "A/MR_T1_image.nii.gz", "A/MR_T1_mask.nii.gz"),
            [("A", "CT", "CT_mask.nii.gz"), ("A", "T1", "MR_T1_mask.nii.gz")],
        ),
        (("sub-01/anat/sub-01_T2w.nii.gz",), [("sub-01", "T2", "")]),
        (("P001_T1.nii", "P001_T2.nii", "P001_seg.nii"), [("P001", "T1", ""), ("P001", "T2", "")]),
        (("P1/scan.nrrd", "P1/lesion.nrrd"), [("P1", "unknown", "lesion.nrrd")]),
        (("images/P1_ct.mha", "masks/P1_ct.mha"), [("P1", "CT", "P1_ct.mha")]),
        (("P1/a_portal_ct.mha",), [("P1", "CT-portal", "")]),
    ],
)
def test_files_are_told_by_folder_and_name(
    tmp_path: Path, names: tuple[str, ...], wanted: list[tuple[str, ...]]
) -> None:
    touch(tmp_path, *names)
    rows = draft_images(tmp_path)
    assert [(r["patient"], r["sequence"], Path(r["mask"]).name) for r in rows] == wanted


def test_a_folder_without_scans_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(CohortError, match="no scan under"):
        draft_images(tmp_path)


def test_a_real_tree_is_drafted(real_data: Path) -> None:
    folder = real_data / "scans" / "sts"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    rows = draft_images(folder)
    assert len({r["patient"] for r in rows}) == 18
    assert {r["sequence"] for r in rows} == {"CT", "PET", "T1"}
    assert all(Path(r["mask"]).is_file() for r in rows)
    assert len({r["image"] for r in rows}) == len(rows)
