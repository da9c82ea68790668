"""DICOM series become one regular grid of values in their unit, or are refused with what is wrong and how much."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from phenolens.core.errors import ImageError
from phenolens.scans.geometry import same_grid
from phenolens.scans.image import open_scan
from tests.scans.dicom_files import frame, values, write_enhanced, write_pet, write_series

TILTED = (1.0, 0.0, 0.0, 0.0, 0.8, -0.6, 0.0, 0.6, 0.8)


def test_a_series_is_ordered_along_its_normal_and_rescaled(tmp_path: Path) -> None:
    on = frame(direction=TILTED)
    stored = values(on)
    uid = write_series(tmp_path, stored, on, rescale=(0.5, -1000), description="abdomen")
    with open_scan(tmp_path, patient="P1") as scan:
        assert same_grid(scan.frame, on, tolerance=1e-3)
        assert scan.frame.spacing == pytest.approx(on.spacing, abs=1e-5)
        np.testing.assert_array_equal(scan.whole(), stored.astype(np.float32) * 0.5 - 1000)
        np.testing.assert_array_equal(scan.read((1, 2, 3), (4, 3, 2)), scan.whole()[3:5, 2:5, 1:5])
        assert scan.header.modality == "CT"
        assert scan.header.facts["unit"] == "HU"
        assert scan.header.facts["series_uid"] == uid
        assert "Secret" not in str(scan.header)
        assert "P1" not in str(scan.header)


def test_slices_stored_from_head_to_feet_give_the_same_scan(tmp_path: Path) -> None:
    on = frame()
    stored = values(on)
    down = frame(origin=(-10.0, 20.0, 40.0), direction=(1.0, 0, 0, 0, 1, 0, 0, 0, -1))
    write_series(tmp_path, stored[::-1], down)
    with open_scan(tmp_path) as scan:
        assert same_grid(scan.frame, on)
        np.testing.assert_array_equal(scan.whole(), stored.astype(np.float32) - 1000)


def test_several_series_are_listed_and_the_declared_one_is_read(tmp_path: Path) -> None:
    on = frame()
    first = write_series(tmp_path / "a", values(on), on, description="portal")
    second = write_series(tmp_path / "b" / "c", values(on, 1), on, number=2, kind="MR", description="T2 tse")
    with pytest.raises(ImageError, match="2 series under one path") as fault:
        open_scan(tmp_path)
    for said in (first, second, "portal", "T2 tse", "MR", "5 slices"):
        assert said in fault.value.found
    assert "column series" in fault.value.todo
    with open_scan(tmp_path, series=second) as scan:
        assert scan.header.modality == "MR"
    with pytest.raises(ImageError, match="no series '1.2.3' among 2"):
        open_scan(tmp_path, series="1.2.3")


def test_missing_slices_are_counted_and_placed(tmp_path: Path) -> None:
    on = frame(shape=(4, 4, 12))
    write_series(tmp_path, values(on), on)
    for i in (4, 5, 8):
        next(tmp_path.glob(f"*-{i}.dcm")).unlink()
    with pytest.raises(
        ImageError, match=r"3 missing slices of 12: spacing 2.5 mm, gaps between 37.5 and 45.0, 47.5 and"
    ):
        open_scan(tmp_path)


def _moved(i: int, axis: int, by: float) -> Any:
    def edit(at: int, made: Any) -> None:
        if at == i:
            position = [float(v) for v in made.ImagePositionPatient]
            position[axis] += by
            made.ImagePositionPatient = position

    return edit


def test_uneven_slices_are_refused_with_their_gaps(tmp_path: Path) -> None:
    on = frame()
    write_series(tmp_path, values(on), on, edit=_moved(2, 2, 0.9))
    with pytest.raises(ImageError, match=r"5 slices with gaps of 1.6 to 3.4 mm"):
        open_scan(tmp_path)


def test_rounded_positions_are_taken_as_even_with_a_note(tmp_path: Path) -> None:
    on = frame()
    write_series(tmp_path, values(on), on, edit=_moved(2, 2, 0.1))
    with open_scan(tmp_path) as scan:
        assert "off an even grid of 2.5 mm" in " ".join(scan.header.notes)


def test_a_gantry_tilt_is_refused_with_its_angle(tmp_path: Path) -> None:
    def tilt(i: int, made: Any) -> None:
        x, y, z = (float(v) for v in made.ImagePositionPatient)
        made.ImagePositionPatient = [x, y + 2.5 * i * np.tan(np.radians(12)), z]

    on = frame()
    write_series(tmp_path, values(on), on, edit=tilt)
    with pytest.raises(ImageError, match=r"gantry tilt or shear of 12\.0 degrees"):
        open_scan(tmp_path)


def test_mixed_orientations_and_sizes_are_refused_with_counts(tmp_path: Path) -> None:
    def turned(i: int, made: Any) -> None:
        if i > 2:
            made.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]

    def wider(i: int, made: Any) -> None:
        if i == 1:
            made.PixelSpacing = [2, 2]

    on = frame()
    write_series(tmp_path / "a", values(on), on, edit=turned)
    with pytest.raises(ImageError, match="2 orientations in one series: 3 with axes 1, 0, 0, 0, 1, 0; 2 with"):
        open_scan(tmp_path / "a")
    write_series(tmp_path / "b", values(on), on, edit=wider)
    with pytest.raises(ImageError, match="4 of 8 x 6 pixels of 0.8 x 0.9 mm; 1 of 8 x 6 pixels of 2 x 2 mm"):
        open_scan(tmp_path / "b")


def test_a_localizer_in_the_series_is_left_out_with_a_note(tmp_path: Path) -> None:
    def scout(i: int, made: Any) -> None:
        if i == 0:
            made.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    on = frame()
    write_series(tmp_path, values(on), on, edit=scout)
    with open_scan(tmp_path) as scan:
        assert scan.frame.shape == (8, 6, 4)
        assert "1 localizer images" in scan.header.notes[0]


def test_two_patients_in_one_series_are_refused_without_naming_them(tmp_path: Path) -> None:
    def other(i: int, made: Any) -> None:
        if i == 3:
            made.PatientID = "P-secret"

    on = frame()
    write_series(tmp_path, values(on), on, edit=other)
    with pytest.raises(ImageError, match="2 different PatientIDs in one series of 5 files") as fault:
        open_scan(tmp_path)
    assert "secret" not in str(fault.value).lower()


def test_files_copied_twice_count_once_and_other_duplicates_are_refused(tmp_path: Path) -> None:
    on = frame()
    stored = values(on)
    write_series(tmp_path, stored, on)
    shutil.copy(next(tmp_path.glob("*-2.dcm")), tmp_path / "copy.dcm")
    with open_scan(tmp_path) as scan:
        np.testing.assert_array_equal(scan.whole(), stored.astype(np.float32) - 1000)
        assert "1 files that are copies" in scan.header.notes[0]

    def again(i: int, made: Any) -> None:
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{i}"

    write_series(tmp_path, stored[:1], on, edit=again, name="x")
    with pytest.raises(ImageError, match="6 planes at 5 positions, up to 2 at one; nothing in their headers"):
        open_scan(tmp_path)


def test_b_values_in_one_series_are_named_and_the_declared_stack_is_read(tmp_path: Path) -> None:
    on = frame()
    stored = {b: values(on, seed) for seed, b in enumerate((50, 400, 800))}
    for b, volume in stored.items():

        def diffusion(i: int, made: Any, b: int = b) -> None:
            made.DiffusionBValue = b
            made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{b}.{i}"

        uid = write_series(tmp_path, volume, on, kind="MR", rescale=None, edit=diffusion, name=f"b{b}-")
    with pytest.raises(ImageError, match=r"up to 3 at one; they differ in b_value \(50, 400, 800\)") as fault:
        open_scan(tmp_path)
    assert "[b_value=800]" in fault.value.todo
    with open_scan(tmp_path, series=f"{uid}[b_value=400]") as scan:
        np.testing.assert_array_equal(scan.whole(), stored[400])
        assert scan.header.facts["b_value"] == 400
    with pytest.raises(ImageError, match="no plane with b_value=1000 among 15"):
        open_scan(tmp_path, series="[b_value=1000]")
    with pytest.raises(ImageError, match="expected a SeriesInstanceUID, and after it in brackets"):
        open_scan(tmp_path, series="[bvalue=800]")


def test_dynamic_phases_without_an_index_are_told_apart_by_time(tmp_path: Path) -> None:
    on = frame()
    stored = [values(on, seed) for seed in range(3)]
    for p, volume in enumerate(stored):

        def dynamic(i: int, made: Any, p: int = p) -> None:
            made.AcquisitionTime = f"1000{p * 20 + i:02d}"
            made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{p}.{i}"

        write_series(tmp_path, volume, on, kind="MR", rescale=None, edit=dynamic, name=f"p{p}-")
    with pytest.raises(ImageError, match=r"15 planes at 5 positions, up to 3 at one") as fault:
        open_scan(tmp_path)
    assert "[phase=3]" in fault.value.todo
    with open_scan(tmp_path, series="[phase=2]") as scan:
        np.testing.assert_array_equal(scan.whole(), stored[1])


def test_an_enhanced_object_gives_each_of_its_stacks(tmp_path: Path) -> None:
    on = frame(direction=TILTED)
    stored = [values(on), values(on, 1)]
    write_enhanced(tmp_path / "e.dcm", [(0.0, stored[0]), (800.0, stored[1])], on, slope=2)
    with pytest.raises(ImageError, match=r"b_value \(0, 800\)"):
        open_scan(tmp_path / "e.dcm")
    with open_scan(tmp_path / "e.dcm", series="[b_value=800]") as scan:
        assert same_grid(scan.frame, on, tolerance=1e-3)
        np.testing.assert_array_equal(scan.whole(), stored[1] * 2.0)
        np.testing.assert_array_equal(scan.read((2, 1, 3), (3, 2, 2)), stored[1][3:5, 1:3, 2:5] * 2.0)


def test_pet_becomes_suv_by_weight_and_decayed_dose(tmp_path: Path) -> None:
    on = frame()
    stored = values(on)
    write_pet(tmp_path, stored, on)
    factor = 80_000 / (4e8 * 2 ** (-3600 / 6600))
    slopes = 0.5 + np.arange(5)[:, None, None]
    with open_scan(tmp_path) as scan:
        np.testing.assert_allclose(scan.whole(), stored * slopes * factor, rtol=1e-6)
        assert scan.header.facts["unit"] == "SUVbw"


def test_pet_that_was_written_again_counts_from_its_first_acquisition(tmp_path: Path) -> None:
    def later(i: int, made: Any) -> None:
        made.SeriesTime = "170000"

    on = frame()
    stored = values(on)
    write_pet(tmp_path, stored, on, edit=later)
    with open_scan(tmp_path) as scan:
        wanted = stored[0, 0, 0] * 0.5 * 80_000 / (4e8 * 2 ** (-3600.5 / 6600))
        assert scan.read((0, 0, 0), (1, 1, 1))[0, 0, 0] == pytest.approx(wanted, rel=1e-6)
        assert "earliest acquisition" in " ".join(scan.header.notes)


def test_pet_without_what_suv_needs_is_refused_naming_it(tmp_path: Path) -> None:
    def poor(i: int, made: Any) -> None:
        del made.PatientWeight
        del made.RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose

    def counts(i: int, made: Any) -> None:
        made.Units = "CNTS"

    def early(i: int, made: Any) -> None:
        made.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartDateTime = "19990101120000"

    on = frame()
    for edit, said in (
        (poor, "without RadionuclideTotalDose, PatientWeight"),
        (counts, "SUV factor"),
        (early, r"h after the injection"),
    ):
        write_pet(tmp_path / edit.__name__, values(on), on, edit=edit)
        with pytest.raises(ImageError, match=said):
            open_scan(tmp_path / edit.__name__)


def test_ct_without_rescale_and_images_without_position_are_refused(tmp_path: Path) -> None:
    def bare(i: int, made: Any) -> None:
        del made.ImagePositionPatient

    on = frame()
    write_series(tmp_path / "a", values(on), on, rescale=None)
    with pytest.raises(ImageError, match="CT without rescale"):
        open_scan(tmp_path / "a")
    write_series(tmp_path / "b", values(on), on, edit=bare)
    with pytest.raises(ImageError, match="images without ImagePositionPatient"):
        open_scan(tmp_path / "b")


def test_a_cut_off_file_ends_in_one_error(tmp_path: Path) -> None:
    on = frame()
    write_series(tmp_path, values(on), on)
    file = next(tmp_path.glob("*-2.dcm"))
    file.write_bytes(file.read_bytes()[:-40])
    with open_scan(tmp_path) as scan, pytest.raises(ImageError, match="decoder fails") as fault:
        scan.whole()
    assert fault.value.where == str(file)
    file.write_bytes(file.read_bytes()[:150])
    with pytest.raises(ImageError):
        open_scan(tmp_path)


def test_colour_pictures_of_a_scan_are_refused(tmp_path: Path) -> None:
    def colour(i: int, made: Any) -> None:
        made.PhotometricInterpretation = "PALETTE COLOR"

    on = frame()
    write_series(tmp_path, values(on), on, edit=colour)
    with pytest.raises(ImageError, match="colour images"):
        open_scan(tmp_path)


def test_lossless_jpeg_is_decoded(tmp_path: Path) -> None:
    import imagecodecs
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGLosslessSV1

    def packed(i: int, made: Any) -> None:
        code = imagecodecs.ljpeg_encode(np.frombuffer(made.PixelData, np.uint16).reshape(6, 8))
        made.PixelData = encapsulate([code])
        made["PixelData"].is_undefined_length = True
        made.file_meta.TransferSyntaxUID = JPEGLosslessSV1

    on = frame()
    stored = values(on).astype(np.int16) - 1000
    write_series(tmp_path, stored, on, edit=packed, rescale=(1, 0))
    with open_scan(tmp_path) as scan:
        np.testing.assert_array_equal(scan.whole(), stored)


def _packaged(name: str) -> Path:
    """A file that comes with pydicom."""
    found = get_testdata_file(name, download=False)
    if found is None:
        pytest.skip(f"this pydicom comes without {name}")
    return Path(str(found))


@pytest.mark.parametrize("name", ["MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_RLE.dcm"])
def test_every_compression_gives_the_same_voxels(name: str) -> None:
    """The files of pydicom hold one slice in several encodings."""
    plain, packed = _packaged("MR_small.dcm"), _packaged(name)
    with open_scan(plain) as one, open_scan(packed) as other:
        np.testing.assert_array_equal(one.whole(), other.whole())
        assert "one slice" in one.header.notes[0]


def test_real_series_are_refused_for_what_is_wrong_with_them() -> None:
    """98892003/MR700 is a rotating projection; 77654033/CT2 holds 4 of the slices of a head."""
    folder = _packaged("CT_small.dcm").parent / "dicomdirtests"
    if not folder.is_dir():
        pytest.skip("this pydicom comes without its DICOMDIR test files")
    with pytest.raises(ImageError, match="7 orientations in one series"):
        open_scan(folder / "98892003" / "MR700")
    with pytest.raises(ImageError, match="series under one path"):
        open_scan(folder)


def test_a_structure_set_is_no_scan() -> None:
    with pytest.raises(ImageError, match="DICOM without a scan .1 of modality RTSTRUCT") as fault:
        open_scan(_packaged("rtstruct.dcm"))
    assert "column mask" in fault.value.todo
