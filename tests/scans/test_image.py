"""A scan is read by box, whatever file holds it; what cannot be read is one clear error."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from phenolens.core.errors import ImageError
from phenolens.core.registry import SCAN_FORMATS
from phenolens.scans.image import open_scan
from phenolens.scans.opening import formats_for


def written(file: Path, shape: tuple[int, ...] = (5, 6, 8)) -> np.ndarray:
    made = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(made), str(file))
    return made


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.mhd"])
def test_a_box_equals_that_part_of_the_whole(tmp_path: Path, name: str) -> None:
    made = written(tmp_path / name)
    with open_scan(tmp_path / name, patient="P", image="I") as scan:
        whole = scan.whole()
        assert (whole.dtype, scan.patient, scan.image) == (np.float32, "P", "I")
        np.testing.assert_array_equal(whole, made)
        for lo, shape in (
            ((1, 2, 3), (4, 3, 2)),
            ((0, 0, 0), (8, 6, 1)),
            ((7, 5, 4), (1, 1, 1)),
            ((2, 0, 1), (1, 6, 3)),
        ):
            (x, y, z), (w, h, d) = lo, shape
            np.testing.assert_array_equal(scan.read(lo, shape), made[z : z + d, y : y + h, x : x + w])


def test_a_box_outside_the_scan_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "a.nii")
    with open_scan(tmp_path / "a.nii") as scan:
        for lo, shape in (((-1, 0, 0), (2, 2, 2)), ((7, 0, 0), (2, 1, 1)), ((0, 0, 0), (0, 1, 1))):
            with pytest.raises(ImageError, match="asked of a scan of"):
                scan.read(lo, shape)


def test_the_image_is_named_by_its_file_where_no_name_is_given(tmp_path: Path) -> None:
    written(tmp_path / "liver.nii.gz")
    with open_scan(tmp_path / "liver.nii.gz") as scan:
        assert scan.image == "liver"


def test_what_is_no_scan_is_refused_saying_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "empty.nii").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "bytes.nii").write_bytes(b"\x00\x01" * 400)
    for name, said in (
        ("text.txt", "a text file, which is no scan"),
        ("empty.nii", "an empty file"),
        ("folder", "a folder without DICOM files"),
        ("bytes.nii", "without a NIfTI header"),
        ("absent.nii", "no readable file"),
    ):
        with pytest.raises(ImageError, match=said) as fault:
            open_scan(tmp_path / name)
        assert str(tmp_path / name) in str(fault.value)
        assert str(pickle.loads(pickle.dumps(fault.value))) == str(fault.value)  # noqa: S301


def test_a_series_asked_of_one_volume_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "a.nii")
    with pytest.raises(ImageError, match="series '1.2' asked of a file that holds one volume"):
        open_scan(tmp_path / "a.nii", series="1.2")


def test_the_formats_that_read_a_file_are_named_with_their_versions(tmp_path: Path) -> None:
    written(tmp_path / "a.nii")
    assert formats_for(tmp_path / "a.nii") == {"nifti": 1}
    assert SCAN_FORMATS.names() == ["dicom", "nifti"]
