"""Masks become regions on the scan's grid, wherever they were drawn and in whatever file; empty ones are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st

from phenolens.core.errors import ImageError
from phenolens.core.types import Frame
from phenolens.scans.geometry import Roi, axes, roi_of, to_index, to_mm
from phenolens.scans.mask import components, largest, read_roi
from tests.scans.dicom_files import frame, write_rtstruct, write_seg, write_series

ON = frame(shape=(20, 18, 10), spacing=(1.0, 1.5, 2.0))
TILTED = (1.0, 0.0, 0.0, 0.0, 0.8, -0.6, 0.0, 0.6, 0.8)


def save(file: Path, labels: np.ndarray, on: Frame) -> Path:
    image = sitk.GetImageFromArray(labels.astype(np.uint8))
    image.SetSpacing(on.spacing)
    image.SetOrigin(on.origin)
    image.SetDirection(axes(on).ravel().tolist())
    sitk.WriteImage(image, str(file))
    return file


def ball(on: Frame, centre: tuple[float, float, float], radius: float) -> np.ndarray:
    """Voxels (z, y, x) whose centres lie within radius mm of a point in mm."""
    z, y, x = np.indices(on.shape[::-1])
    return np.linalg.norm(to_mm(on, np.stack([x, y, z], -1)) - centre, axis=-1) <= radius


def whole(roi: Roi) -> np.ndarray:
    x, y, z = roi.frame.shape
    return roi.within((0, 0, 0), (x, y, z))


CENTRE = (0.0, 32.0, 39.0)


def test_a_mask_on_the_scans_grid_is_taken_as_it_is(tmp_path: Path) -> None:
    mask = ball(ON, CENTRE, 5)
    roi = read_roi(save(tmp_path / "m.nii.gz", mask, ON), ON)
    np.testing.assert_array_equal(whole(roi), mask)
    assert roi.frame is ON
    assert roi.notes == ()


def test_one_label_is_taken_and_an_absent_one_is_refused_naming_the_others(tmp_path: Path) -> None:
    labels = ball(ON, CENTRE, 6).astype(int) + ball(ON, CENTRE, 3)
    file = save(tmp_path / "m.nrrd", labels, ON)
    np.testing.assert_array_equal(whole(read_roi(file, ON, value=2)), labels == 2)
    np.testing.assert_array_equal(whole(read_roi(file, ON)), labels > 0)
    with pytest.raises(
        ImageError, match="no voxel of value 3 in a mask of 20 x 18 x 10 voxels; it holds the values 1, 2"
    ):
        read_roi(file, ON, value=3)


def test_an_empty_mask_is_refused_with_its_place(tmp_path: Path) -> None:
    file = save(tmp_path / "m.nii", np.zeros(ON.shape[::-1]), ON)
    with pytest.raises(ImageError, match=r"an empty mask: all 3600 voxels .*x -10 to 10, y 19 to 46, z 29 to 49 mm"):
        read_roi(file, ON)


def test_a_mask_elsewhere_is_refused_with_both_boxes(tmp_path: Path) -> None:
    far = replace(ON, origin=(200.0, 20.0, 30.0))
    file = save(tmp_path / "m.nii", np.ones(far.shape[::-1]), far)
    with pytest.raises(ImageError, match="lies outside the scan: region x 200 to 220, .*; scan x -10 to 10, "):
        read_roi(file, ON)


def test_a_region_between_the_voxels_of_a_coarse_scan_is_refused(tmp_path: Path) -> None:
    fine = frame(shape=(40, 40, 40), spacing=(0.1, 0.1, 0.1), origin=(-9.0, 21.0, 31.0))
    mask = np.zeros((40, 40, 40), bool)
    mask[5, 5, 5:8] = True
    with pytest.raises(ImageError, match=r"a region of 3 voxels \(0.003 mm3\) that covers the centre of no voxel"):
        read_roi(save(tmp_path / "m.nii", mask, fine), ON)


@pytest.mark.parametrize(
    "turn", [(1, 0, 0, 0, 1, 0, 0, 0, 1), (-1, 0, 0, 0, -1, 0, 0, 0, 1), (0, 0, 1, 1, 0, 0, 0, 1, 0), TILTED]
)
def test_a_mask_on_another_grid_keeps_its_place_and_size(tmp_path: Path, turn: tuple[float, ...]) -> None:
    """A ball drawn on a fine grid of any orientation is the ball of the scan's own grid but for voxels at its edge."""
    fine = frame(shape=(90, 90, 90), spacing=(0.5, 0.5, 0.5), direction=tuple(float(v) for v in turn))
    fine = replace(fine, origin=tuple(np.array(CENTRE) - axes(fine) @ np.full(3, 22.25)))
    roi = read_roi(save(tmp_path / "m.nii.gz", ball(fine, CENTRE, 6), fine), ON)
    inner, outer = ball(ON, CENTRE, 5.5), ball(ON, CENTRE, 6.5)
    found = whole(roi)
    assert (found | outer).sum() == outer.sum()
    assert (found & inner).sum() == inner.sum()
    assert roi.mm3 == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.06)
    assert "by position" in roi.notes[0]


def test_a_flipped_grid_gives_exactly_the_same_region(tmp_path: Path) -> None:
    mask = ball(ON, CENTRE, 5)
    flipped = replace(
        ON,
        origin=tuple(to_mm(ON, (19, 17, 0))),
        direction=(-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0),
    )
    roi = read_roi(save(tmp_path / "m.mha", mask[:, ::-1, ::-1], flipped), ON)
    np.testing.assert_array_equal(whole(roi), mask)


def test_a_region_cut_by_the_edge_of_the_scan_says_how_much_is_lost(tmp_path: Path) -> None:
    wide = frame(shape=(40, 18, 10), spacing=ON.spacing)
    mask = np.zeros(wide.shape[::-1], bool)
    mask[4, 5, 10:30] = True
    roi = read_roi(save(tmp_path / "m.nii", mask, wide), ON)
    assert roi.voxels == 10
    assert "50.0% of the region lies outside the scan" in roi.notes[-1]


def test_an_alignment_moves_the_mask(tmp_path: Path) -> None:
    mask = np.zeros(ON.shape[::-1], bool)
    mask[4:6, 5:8, 6:9] = True
    matrix = np.eye(4)
    matrix[:3, 3] = (2.0, 3.0, -2.0)  # scan mm → mask mm
    roi = read_roi(save(tmp_path / "m.nii", mask, ON), ON, to_mask=matrix)
    np.testing.assert_array_equal(whole(roi), np.roll(mask, (1, -2, -2), (0, 1, 2)))
    with pytest.raises(ImageError, match="no rotation and shift"):
        read_roi(tmp_path / "m.nii", ON, to_mask=np.diag([2.0, 1, 1, 1]))


def test_parts_are_separated_by_26_neighbours_largest_first() -> None:
    mask = np.zeros((5, 6, 7), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[2, 2, 2] = True  # by corners
    mask[4, 4:6, 5:7] = True
    mask[0, 5, 6] = True
    roi = roi_of(mask, frame(shape=(7, 6, 5)))
    assert roi is not None
    parts = components(roi)
    assert [p.voxels for p in parts] == [4, 3, 1]
    assert [p.lo for p in parts] == [(5, 4, 4), (0, 0, 0), (6, 5, 0)]
    np.testing.assert_array_equal(sum(whole(p).astype(int) for p in parts), mask)
    assert largest(roi).voxels == 4


def square(x: float, y: float, z: float, half: float) -> np.ndarray:
    return np.array(
        [[x - half, y - half, z], [x + half, y - half, z], [x + half, y + half, z], [x - half, y + half, z]]
    )


def test_contours_are_filled_by_the_even_odd_rule_with_holes_and_islands(tmp_path: Path) -> None:
    z = 36.0  # slice 3 of ON
    contours = [square(0, 30, z, 7.2), square(0, 30, z, 4.2), square(0, 30, z, 1.2)]
    write_rtstruct(tmp_path / "rs.dcm", {"GTV": contours})
    roi = read_roi(tmp_path / "rs.dcm", ON)
    at = to_mm(ON, np.stack(np.meshgrid(range(20), range(18), [3], indexing="xy"), -1)[:, :, 0])
    away = np.abs(at[..., :2] - (0, 30)).max(-1)
    wanted = np.zeros(ON.shape[::-1], bool)
    wanted[3] = ((away < 7.2) & (away > 4.2)) | (away < 1.2)
    np.testing.assert_array_equal(whole(roi), wanted)


def test_a_real_shape_in_contours_has_its_volume(tmp_path: Path) -> None:
    """A ball of radius 6 drawn as circles every 2 mm; the planes lie between the slices."""
    turns = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    contours = []
    for z in np.arange(-5.3, 6, 1.0):
        r = np.sqrt(36 - z * z)
        contours.append(np.stack([r * np.cos(turns), 32 + r * np.sin(turns), np.full(60, 39 + z)], -1))
    write_rtstruct(tmp_path / "rs.dcm", {"GTV": contours})
    fine = frame(shape=(40, 40, 10), spacing=(0.5, 0.5, 2.0), origin=(-10.0, 22.0, 30.0))
    roi = read_roi(tmp_path / "rs.dcm", fine)
    assert roi.mm3 == pytest.approx(4 / 3 * np.pi * 216, rel=0.04)
    assert "each slice takes the nearest plane" in roi.notes[0]


def test_contours_drawn_on_thick_slices_fill_the_thin_slices_between(tmp_path: Path) -> None:
    write_rtstruct(tmp_path / "rs.dcm", {"GTV": [square(0, 32, z, 4.2) for z in (34.0, 38.0, 42.0)]})
    roi = read_roi(tmp_path / "rs.dcm", ON)  # slices every 2 mm from 30
    assert [int(n) for n in np.flatnonzero(whole(roi).any((1, 2)))] == [1, 2, 3, 4, 5, 6]
    assert roi.mm3 == pytest.approx(3 * 4 * 8.4 * 8.4, rel=0.15)


def test_contours_across_the_slices_are_drawn_on_their_own_grid(tmp_path: Path) -> None:
    """The same ball in circles that stand upright."""
    turns = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    contours = []
    for x in np.arange(-5.3, 6, 1.0):
        r = np.sqrt(36 - x * x)
        contours.append(np.stack([np.full(60, x), 32 + r * np.cos(turns), 39 + r * np.sin(turns)], -1))
    write_rtstruct(tmp_path / "rs.dcm", {"GTV": contours})
    fine = frame(shape=(20, 20, 20), spacing=(1.0, 1.0, 1.0), origin=(-10.0, 22.0, 29.0))
    roi = read_roi(tmp_path / "rs.dcm", fine)
    assert roi.mm3 == pytest.approx(4 / 3 * np.pi * 216, rel=0.04)
    middle = to_mm(fine, np.array(np.nonzero(whole(roi)))[::-1].T).mean(0)
    np.testing.assert_allclose(middle, (0, 32, 39), atol=0.3)


def test_an_roi_is_chosen_by_name_or_number_and_never_guessed(tmp_path: Path) -> None:
    write_rtstruct(
        tmp_path / "rs.dcm", {"BODY": [square(0, 32, 36, 8)], "GTV_Mass": [square(0, 32, 36, 3)], "bare": []}
    )
    small = read_roi(tmp_path / "rs.dcm", ON, name="gtv_mass ")
    np.testing.assert_array_equal(whole(small), whole(read_roi(tmp_path / "rs.dcm", ON, value=2)))
    assert read_roi(tmp_path / "rs.dcm", ON, name="*").voxels > small.voxels
    with pytest.raises(ImageError, match="no choice where the file holds 3 ROIs: 1 'BODY', 2 'GTV_Mass', 3 'bare'"):
        read_roi(tmp_path / "rs.dcm", ON)
    with pytest.raises(ImageError, match=r"did you mean 'GTV_Mass'"):
        read_roi(tmp_path / "rs.dcm", ON, name="GTV_mas")
    with pytest.raises(ImageError, match="an empty ROI 3 'bare'"):
        read_roi(tmp_path / "rs.dcm", ON, value=3)


def test_points_and_contours_elsewhere_are_refused(tmp_path: Path) -> None:
    write_rtstruct(tmp_path / "a.dcm", {"GTV": [square(0, 32, 36, 3)]}, kind="POINT")
    with pytest.raises(ImageError, match=r"no closed contour \(1 of other kinds\)"):
        read_roi(tmp_path / "a.dcm", ON)
    write_rtstruct(tmp_path / "b.dcm", {"GTV": [square(500, 32, 36, 3)]})
    with pytest.raises(ImageError, match="1 contours in 1 planes, x 497 to 503, .*; scan x -10 to 10"):
        read_roi(tmp_path / "b.dcm", ON)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(3, 25), st.integers(0, 10_000))
def test_any_polygon_is_filled_by_the_even_odd_rule(corners: int, seed: int) -> None:
    """Against an independent even-odd test of every voxel centre."""
    from phenolens.scans._contours import region_of_contours

    points = np.column_stack(
        [np.random.default_rng(seed).uniform((-9, 21), (9, 44), (corners, 2)), np.full(corners, 36)]
    )
    index = to_index(ON, points)
    wanted = np.zeros(ON.shape[1::-1], bool)
    for y in range(ON.shape[1]):
        for x in range(ON.shape[0]):
            crossings = 0
            for (x0, y0, _), (x1, y1, _) in zip(index, np.roll(index, -1, axis=0), strict=True):
                if (y0 <= y) != (y1 <= y):
                    crossings += x0 + (y - y0) / (y1 - y0) * (x1 - x0) > x
            wanted[y, x] = crossings % 2
    if not wanted.any():
        return
    found = whole(region_of_contours([points], ON, matrix=None, where=""))
    np.testing.assert_array_equal(found[3], wanted)
    assert not np.delete(found, 3, axis=0).any()


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
@pytest.mark.parametrize("turn", [None, TILTED])
def test_segments_are_read_by_number_and_name_even_where_they_overlap(
    tmp_path: Path, kind: str, turn: tuple[float, ...] | None
) -> None:
    on = replace(ON, direction=turn)
    middle = tuple(to_mm(on, (10, 9, 5)))
    liver, tumour = ball(on, middle, 7), ball(on, middle, 3)
    write_seg(tmp_path / "seg.dcm", {"Liver": liver, "Tumour": tumour}, on, kind=kind)
    np.testing.assert_array_equal(whole(read_roi(tmp_path / "seg.dcm", on, value=1)), liver)
    np.testing.assert_array_equal(whole(read_roi(tmp_path / "seg.dcm", on, name="tumour")), tumour)
    np.testing.assert_array_equal(whole(read_roi(tmp_path / "seg.dcm", on, name="*")), liver)
    with pytest.raises(ImageError, match="no choice where the file holds 2 segments: 1 'Liver', 2 'Tumour'"):
        read_roi(tmp_path / "seg.dcm", on)


def test_a_sparse_segmentation_without_stated_distance_keeps_its_slices(tmp_path: Path) -> None:
    mask = np.zeros(ON.shape[::-1], bool)
    mask[[2, 5, 8], 4:9, 4:9] = True
    write_seg(tmp_path / "seg.dcm", {"T": mask}, ON, between=False)
    np.testing.assert_array_equal(whole(read_roi(tmp_path / "seg.dcm", ON)), mask)


def test_a_segmentation_beside_its_series_is_found_and_two_are_refused(tmp_path: Path) -> None:
    mask = ball(ON, CENTRE, 5)
    write_series(tmp_path, mask.astype(np.int16), ON)
    write_seg(tmp_path / "a.dcm", {"T": mask}, ON)
    np.testing.assert_array_equal(whole(read_roi(tmp_path, ON)), mask)
    write_rtstruct(tmp_path / "b.dcm", {"T": [square(0, 32, 36, 3)]})
    with pytest.raises(ImageError, match=r"2 segmentations and structure sets under one path: a.dcm \(SEG\), b.dcm"):
        read_roi(tmp_path, ON)


def test_a_series_of_label_images_is_a_mask(tmp_path: Path) -> None:
    mask = ball(ON, CENTRE, 5)
    write_series(tmp_path, mask.astype(np.int16) * 3, ON, kind="MR", rescale=None)
    np.testing.assert_array_equal(whole(read_roi(tmp_path, ON, value=3)), mask)


def test_real_segmentation_objects_lie_on_the_slices_they_were_made_for(real_data: Path) -> None:
    """Written by highdicom; 16 x 16 masks whose drawn content is read back frame by frame."""
    import highdicom

    folder = real_data / "slides" / "highdicom"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    for name in ("seg_image_ct_binary", "seg_image_ct_binary_fractional", "seg_image_ct_binary_overlap"):
        file = folder / f"{name}.dcm"
        made = highdicom.seg.segread(str(file))
        on, planes = _grid(made)
        for number in made.segment_numbers:
            share = made.get_volume(segment_numbers=[number], combine_segments=False, rescale_fractional=True)
            roi = read_roi(file, on, value=int(number))
            np.testing.assert_array_equal(whole(roi), share.array[..., 0] >= 0.5, err_msg=name)
        assert planes == on.shape[2]


def _grid(made: object) -> tuple[Frame, int]:
    """The grid of a highdicom segmentation, from its own geometry (slices, rows, columns)."""
    geometry = made.get_volume_geometry()  # type: ignore[attr-defined]
    affine = np.asarray(geometry.affine)  # index (slice, row, column) → mm
    steps = affine[:3, [2, 1, 0]]
    spacing = np.linalg.norm(steps, axis=0)
    depth, rows, columns = geometry.spatial_shape
    on = Frame(
        shape=(columns, rows, depth),
        spacing=tuple(spacing),
        origin=tuple(affine[:3, 3]),
        unit="mm",
        direction=tuple((steps / spacing).ravel()),
    )
    return on, depth


def test_a_segmentation_of_a_slide_is_refused(real_data: Path) -> None:
    file = real_data / "slides" / "highdicom" / "seg_image_sm_dots.dcm"
    if not file.is_file():
        pytest.skip(f"no {file}")
    with pytest.raises(ImageError, match="segment"):
        read_roi(file, ON, value=1)


def test_the_three_masks_of_a_real_patient_agree(real_data: Path) -> None:
    """One tumour, drawn once and stored on the grids of CT, PET and MR."""
    folder = real_data / "scans" / "sts" / "STS_001"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    from phenolens.scans.image import open_scan

    for name in ("PET", "MR_T1"):
        with open_scan(folder / f"{name}_image.nii.gz") as scan:
            own = read_roi(folder / f"{name}_mask.nii.gz", scan.frame)
            carried = read_roi(folder / "CT_mask.nii.gz", scan.frame)
        both = whole(own) & whole(carried)
        assert 2 * both.sum() / (own.voxels + carried.voxels) > 0.97
