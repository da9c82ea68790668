"""NIfTI, NRRD and MetaImage: the same voxels at the same places as SimpleITK finds, and refusals with numbers."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from phenolens.core.errors import ImageError
from phenolens.core.types import Frame
from phenolens.scans.geometry import same_grid
from phenolens.scans.image import open_scan

TURN = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, -1.0)


def frame_as_itk(file: Path) -> Frame:
    image = sitk.ReadImage(str(file))
    return Frame(
        shape=image.GetSize(),
        spacing=image.GetSpacing(),
        origin=image.GetOrigin(),
        unit="mm",
        direction=image.GetDirection(),
    )


def nifti(
    file: Path,
    voxels: np.ndarray,
    *,
    dims: Sequence[int] | None = None,
    order: str = "<",
    slope: tuple[float, float] = (0, 0),
    rows: np.ndarray | None = None,
    quaternion: tuple[float, ...] | None = None,
    pixdim: tuple[float, ...] = (1, 2, 3, 4),
    units: int = 2,
    kind: int | None = None,
) -> None:
    """A NIfTI-1 file by hand, as the standard lays it out."""
    codes = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768}
    sizes = list(dims or voxels.shape[::-1])
    raw = bytearray(352)
    struct.pack_into(f"{order}i", raw, 0, 348)
    struct.pack_into(f"{order}8h", raw, 40, len(sizes), *sizes, *[1] * (7 - len(sizes)))
    struct.pack_into(f"{order}h", raw, 70, kind or codes[voxels.dtype.str[1:]])
    struct.pack_into(f"{order}8f", raw, 76, *pixdim, *[0] * (8 - len(pixdim)))
    struct.pack_into(f"{order}3f", raw, 108, 352, *slope)
    raw[123] = units
    if quaternion is not None:
        struct.pack_into(f"{order}h", raw, 252, 1)
        struct.pack_into(f"{order}6f", raw, 256, *quaternion)
    if rows is not None:
        struct.pack_into(f"{order}h", raw, 254, 1)
        struct.pack_into(f"{order}12f", raw, 280, *np.asarray(rows).ravel())
    raw[344:348] = b"n+1\0"
    body = bytes(raw) + voxels.astype(voxels.dtype.newbyteorder(order)).tobytes()
    file.write_bytes(gzip.compress(body) if file.suffix == ".gz" else body)


VOXELS = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha"])
def test_place_and_values_are_those_of_simpleitk(tmp_path: Path, name: str, kind: str) -> None:
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 200, (5, 6, 7)).astype(kind))
    image.SetSpacing((0.7, 0.8, 3))
    image.SetOrigin((-100, 50.5, 7))
    image.SetDirection(TURN)
    sitk.WriteImage(image, str(tmp_path / name))
    with open_scan(tmp_path / name) as scan:
        assert same_grid(scan.frame, frame_as_itk(tmp_path / name), tolerance=1e-4)
        np.testing.assert_array_equal(scan.whole(), sitk.GetArrayFromImage(image))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_either_byte_order_and_scaling_are_read(tmp_path: Path, order: str, name: str) -> None:
    nifti(tmp_path / name, VOXELS, order=order, slope=(0.5, -10), quaternion=(0, 0, 0, 5, 6, 7))
    with open_scan(tmp_path / name) as scan:
        np.testing.assert_array_equal(scan.whole(), VOXELS * 0.5 - 10)
        assert same_grid(scan.frame, frame_as_itk(tmp_path / name), tolerance=1e-4)
        assert scan.frame.spacing == pytest.approx((2, 3, 4))
        assert scan.frame.origin == pytest.approx((-5, -6, 7))  # RAS to LPS


def test_a_quaternion_with_a_flip_lies_where_simpleitk_has_it(tmp_path: Path) -> None:
    nifti(tmp_path / "a.nii", VOXELS, quaternion=(0.1, 0.2, 0.3, 5, 6, 7), pixdim=(-1, 2, 3, 4))
    with open_scan(tmp_path / "a.nii") as scan:
        assert same_grid(scan.frame, frame_as_itk(tmp_path / "a.nii"), tolerance=1e-4)


def test_a_file_without_orientation_is_read_with_a_note(tmp_path: Path) -> None:
    nifti(tmp_path / "a.nii", VOXELS, units=0)
    with open_scan(tmp_path / "a.nii") as scan:
        assert scan.frame.spacing == (2, 3, 4)
        assert same_grid(scan.frame, frame_as_itk(tmp_path / "a.nii"))
        assert any("states no orientation" in n for n in scan.header.notes)
        assert any("no unit of length" in n for n in scan.header.notes)


def test_metres_and_micrometres_become_mm(tmp_path: Path) -> None:
    nifti(tmp_path / "a.nii", VOXELS, units=3, pixdim=(1, 700, 800, 900), quaternion=(0, 0, 0, 1000, 0, 0))
    with open_scan(tmp_path / "a.nii") as scan:
        assert scan.frame.spacing == pytest.approx((0.7, 0.8, 0.9))
        assert scan.frame.origin == pytest.approx((-1, 0, 0))


def test_shear_is_refused_with_its_angle_and_rounding_is_not(tmp_path: Path) -> None:
    rows = np.array([[2, 0.3, 0, 1], [0, 3, 0, 2], [0, 0, 4, 3.0]])
    nifti(tmp_path / "a.nii", VOXELS, rows=rows)
    with pytest.raises(ImageError, match=r"a sheared grid: its axes are 5\.71 degrees away"):
        open_scan(tmp_path / "a.nii")
    rows[0, 1] = 0.001
    nifti(tmp_path / "b.nii", VOXELS, rows=rows)
    with open_scan(tmp_path / "b.nii") as scan:
        assert "made perpendicular" in scan.header.notes[0]
        turn = np.array(scan.frame.direction).reshape(3, 3)
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)


def test_a_sheared_sform_beside_a_sound_qform_is_passed_over_with_a_note(tmp_path: Path) -> None:
    rows = np.array([[2, 1, 0, 1], [0, 3, 0, 2], [0, 0, 4, 3.0]])
    nifti(tmp_path / "a.nii", VOXELS, rows=rows, quaternion=(0, 0, 0, 5, 6, 7))
    with open_scan(tmp_path / "a.nii") as scan:
        assert scan.frame.origin == pytest.approx((-5, -6, 7))
        assert "sform not used" in scan.header.notes[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dims": (4, 3, 2, 5)}, "4 x 3 x 2 x 5: 5 volumes in one file"),
        ({"dims": (4, 6)}, "an image of 4 x 6"),
        ({"dims": (4, 3, 2, 1, 3)}, "3 volumes in one file"),
        ({"kind": 128}, "RGB colour voxels"),
        ({"kind": 32}, "complex voxels"),
        ({"pixdim": (1, 0, 3, 4)}, "a spacing of 0, 3, 4 mm"),
        ({"pixdim": (1, float("nan"), 3, 4)}, "a spacing of nan, 3, 4 mm"),
    ],
)
def test_what_is_no_3d_scan_is_refused_with_numbers(tmp_path: Path, change: dict, said: str) -> None:
    nifti(tmp_path / "a.nii", VOXELS, **change)
    with pytest.raises(ImageError, match=said):
        open_scan(tmp_path / "a.nii")


def test_a_trailing_dimension_of_one_is_no_matter(tmp_path: Path) -> None:
    nifti(tmp_path / "a.nii", VOXELS, dims=(4, 3, 2, 1), quaternion=(0, 0, 0, 0, 0, 0))
    with open_scan(tmp_path / "a.nii") as scan:
        np.testing.assert_array_equal(scan.whole(), VOXELS)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_cut_off_file_says_where_it_ends(tmp_path: Path, name: str) -> None:
    nifti(tmp_path / "a.nii", VOXELS)
    short = (tmp_path / "a.nii").read_bytes()[:-30]
    (tmp_path / name).write_bytes(gzip.compress(short) if name.endswith("gz") else short)
    with open_scan(tmp_path / name) as scan, pytest.raises(ImageError, match="ends in slice 1 of the 2 its header"):
        scan.whole()


def test_a_compressed_file_that_breaks_off_is_one_error(tmp_path: Path) -> None:
    nifti(tmp_path / "a.nii.gz", VOXELS)
    (tmp_path / "a.nii.gz").write_bytes((tmp_path / "a.nii.gz").read_bytes()[:-20])
    with pytest.raises(ImageError, match="decoder fails"):
        open_scan(tmp_path / "a.nii.gz")


def test_nan_stays_nan(tmp_path: Path) -> None:
    voxels = VOXELS.astype(np.float32)
    voxels[0, 0, 0] = np.nan
    nifti(tmp_path / "a.nii", voxels)
    with open_scan(tmp_path / "a.nii") as scan:
        assert np.isnan(scan.whole()).sum() == 1


def test_colour_and_4d_nrrd_are_refused(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4, 3), np.uint8), isVector=True), str(tmp_path / "c.nrrd"))
    with pytest.raises(ImageError, match="4 x 3 x 2 with 3 numbers a voxel"):
        open_scan(tmp_path / "c.nrrd")
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((5, 2, 3, 4), np.uint8), isVector=False), str(tmp_path / "d.mha"))
    with pytest.raises(ImageError, match="4 x 3 x 2 x 5"):
        open_scan(tmp_path / "d.mha")


def test_an_nrrd_without_orientation_says_so(tmp_path: Path) -> None:
    head = b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 4 3 2\nspacings: 1 1 2\nencoding: raw\n\n"
    (tmp_path / "a.nrrd").write_bytes(head + bytes(24))
    with open_scan(tmp_path / "a.nrrd") as scan:
        assert "states no orientation" in scan.header.notes[0]


def test_real_scans_are_read_as_simpleitk_reads_them(real_data: Path) -> None:
    folder = real_data / "scans"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    files = [
        *sorted((folder / "sts" / "STS_002").glob("*.nii.gz")),
        *sorted((folder / "pyradiomics-cases" / "data").glob("brain1_*.nrrd")),
        *sorted((folder / "ibsi").rglob("phantom.nii.gz"))[:1],
    ]
    assert len(files) > 7
    for file in files:
        with open_scan(file) as scan:
            assert same_grid(scan.frame, frame_as_itk(file), tolerance=1e-3)
            np.testing.assert_allclose(scan.whole(), sitk.GetArrayFromImage(sitk.ReadImage(str(file))), rtol=1e-6)
