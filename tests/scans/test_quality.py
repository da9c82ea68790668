"""Tests of the quality figures of scans, their thresholds, and the picture of a region."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from phenolens.core.errors import ImageError
from phenolens.core.types import Frame
from phenolens.scans.geometry import Roi, axes, roi_of, to_mm
from phenolens.scans.quality import ScanQualitySettings, judge, measure, picture
from phenolens.scans.sampling import InMemory
from tests.scans.phantoms import frame_of, scanned

FRAME = frame_of((40, 36, 20), (1.5, 1.5, 4.0))
ORANGE = np.array((255, 140, 0))


def roi_at(frame: Frame, x: slice, y: slice, z: slice) -> Roi:
    mask = np.zeros(frame.shape[::-1], dtype=bool)
    mask[z, y, x] = True
    roi = roi_of(mask, frame)
    assert roi is not None
    return roi


def noisy(frame: Frame = FRAME, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(100, 10, frame.shape[::-1]).astype(np.float32)


def failing(scan: InMemory, roi: Roi, **settings: float) -> ImageError:
    with pytest.raises(ImageError) as caught:
        judge(measure(scan, roi), ScanQualitySettings(**settings), "scan.nii.gz")  # type: ignore[arg-type]
    return caught.value


def test_figures_of_a_box_by_hand() -> None:
    roi = roi_at(FRAME, slice(10, 16), slice(10, 15), slice(4, 8))
    found = measure(InMemory(x=noisy(), frame=FRAME), roi)
    assert found["voxels"] == 6 * 5 * 4
    assert found["mm3"] == 120 * 9.0
    assert found["slices"] == 4
    assert found["spacing_mm"] == 4
    assert found["anisotropy"] == pytest.approx(4 / 1.5, abs=1e-5)
    assert found["edge"] == found["nan"] == found["clipped"] == 0
    assert found["levels"] == 120
    judge(found, ScanQualitySettings(), "scan.nii.gz")


def test_planes_are_counted_along_the_coarsest_axis() -> None:
    frame = frame_of((20, 40, 36), (4.0, 1.5, 1.5))
    assert measure(InMemory(x=noisy(frame), frame=frame), roi_at(frame, slice(4, 7), slice(5, 15), slice(5, 15)))[
        "slices"
    ] == pytest.approx(3)


def test_a_region_cut_off_by_the_scan_is_seen_and_can_be_refused() -> None:
    roi = roi_at(FRAME, slice(10, 16), slice(10, 15), slice(17, 20))
    scan = InMemory(x=noisy(), frame=FRAME)
    assert measure(scan, roi)["edge"] == pytest.approx(1 / 3, abs=1e-5)
    judge(measure(scan, roi), ScanQualitySettings(), "scan.nii.gz")
    error = failing(scan, roi, max_edge=0.2)
    assert error.found == "0.3333 of the region at the edge of the scan"
    assert error.expected == "at most 0.2 (quality.max_edge)"


def test_a_scan_of_one_plane_is_not_all_edge() -> None:
    frame = frame_of((40, 36, 1), (1.5, 1.5, 4.0))
    found = measure(InMemory(x=noisy(frame), frame=frame), roi_at(frame, slice(5, 15), slice(5, 15), slice(0, 1)))
    assert found["edge"] == 0


def test_a_saturated_region_is_refused() -> None:
    x = noisy()
    roi = roi_at(FRAME, slice(10, 16), slice(10, 15), slice(4, 8))
    x[4:8, 10:15, 10:14] = 255
    error = failing(InMemory(x=x, frame=FRAME), roi)
    assert error.found == "0.6667 of the region at the limits of the scan's intensities"
    assert "quality.max_clipped" in error.todo


def test_a_flat_region_and_one_without_values_are_refused() -> None:
    roi = roi_at(FRAME, slice(10, 16), slice(10, 15), slice(4, 8))
    flat = noisy()
    flat[4:8, 10:15, 10:16] = 3
    assert "1 different intensities" in failing(InMemory(x=flat, frame=FRAME), roi, max_clipped=1).found
    holes = noisy()
    holes[5, 12, 12] = np.nan
    assert "without a finite value" in failing(InMemory(x=holes, frame=FRAME), roi).found
    judge(measure(InMemory(x=holes, frame=FRAME), roi), ScanQualitySettings(max_nan=0.1), "")


def test_a_small_region_is_refused_by_voxels_mm3_or_planes() -> None:
    scan = InMemory(x=noisy(), frame=FRAME)
    roi = roi_at(FRAME, slice(10, 15), slice(10, 15), slice(4, 5))
    assert "25 voxels" in failing(scan, roi).found
    assert "225 mm3" in failing(scan, roi, min_voxels=1, min_mm3=500).found
    assert "1 planes" in failing(scan, roi, min_voxels=1, min_slices=2).found
    assert "4 mm between voxels" in failing(scan, roi, min_voxels=1, max_spacing_mm=3).found


def test_signal_to_noise_is_one_for_noise_and_does_not_change_with_offset_and_gain() -> None:
    frame = frame_of((60, 60, 30))
    roi = roi_at(frame, slice(10, 50), slice(10, 50), slice(8, 24))
    assert measure(InMemory(x=noisy(frame), frame=frame), roi)["snr"] == pytest.approx(1, abs=0.03)
    quiet, roi, _ = scanned(frame, noise=10)
    loud, _, _ = scanned(frame, noise=60)
    found = measure(quiet, roi)["snr"]
    other = InMemory(x=(quiet.x * 0.01 - 7).astype(np.float32), frame=frame)
    assert found > 2 * measure(loud, roi)["snr"]
    assert measure(other, roi)["snr"] == pytest.approx(found, rel=1e-3)
    clean, _, _ = scanned(frame, noise=0, lesion=300, organ=300)
    assert "snr" not in measure(clean, roi_at(frame, slice(28, 31), slice(28, 31), slice(14, 17))), "no noise at all"


@pytest.mark.parametrize("wrong", [{"max_edge": 2}, {"min_mm3": -1}, {"min_voxels": "many"}, {"max_nan": True}])
def test_thresholds_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ScanQualitySettings(**wrong)  # type: ignore[arg-type]


def head() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], Frame]:
    """A scan along the patient's axes: brighter to the left, the front and the head; a region left, front and low."""
    frame = frame_of((30, 26, 12), (2.0, 2.0, 5.0), origin=(-30.0, -20.0, 100.0))
    z, y, x = np.indices(frame.shape[::-1])
    mask = np.zeros(frame.shape[::-1], dtype=bool)
    mask[2:5, 4:9, 20:27] = True
    mask[3, 4:10, 20:28] = True
    mask[2:5, 6, 19:28] = True
    mask[2:5, 4:9, 23] = True
    mask[1:5, 6, 23] = True
    return (x * 3 - y * 2 + z * 5).astype(np.float32), mask, frame


def stored_otherwise(
    x: npt.NDArray[np.generic], frame: Frame, order: tuple[int, ...], flips: tuple[int, ...]
) -> tuple[npt.NDArray[np.generic], Frame]:
    """The same scan with its axes stored in another order and direction."""
    first = [0 if f > 0 else frame.shape[a] - 1 for a, f in zip(order, flips, strict=True)]
    start = np.zeros(3)
    for a, at in zip(order, first, strict=True):
        start[a] = at
    direction = np.stack([axes(frame)[:, a] * f for a, f in zip(order, flips, strict=True)], axis=1)
    made = replace(
        frame,
        shape=tuple(frame.shape[a] for a in order),
        spacing=tuple(frame.spacing[a] for a in order),
        origin=tuple(float(v) for v in to_mm(frame, start)),
        direction=tuple(float(v) for v in direction.ravel()),
    )
    turned = x.transpose(*(2 - a for a in order[::-1]))
    return np.ascontiguousarray(turned[tuple(slice(None, None, f) for f in flips[::-1])]), made


def drawn(x: npt.NDArray[np.generic], mask: npt.NDArray[np.generic], frame: Frame) -> npt.NDArray[np.uint8]:
    roi = roi_of(mask, frame)
    assert roi is not None
    return picture(InMemory(x=x.astype(np.float32), frame=frame), roi)


def test_the_patients_left_is_on_the_right_and_front_and_head_are_above() -> None:
    x, mask, frame = head()
    shown = drawn(x, mask, frame)
    orange = np.argwhere((shown == ORANGE).all(-1))
    axial_px = round(60 * shown.shape[1] / (60 + 60 + 52))
    axial = orange[orange[:, 1] < axial_px * 0.98]
    assert axial[:, 1].mean() > axial_px * 0.6, "a lesion on the left of the patient is on the right of the picture"
    assert axial[:, 0].mean() < (shown.shape[0] - 26) * 0.45, "a lesion in front is above"
    coronal = orange[(orange[:, 1] > axial_px * 1.05) & (orange[:, 1] < axial_px * 1.98)]
    assert coronal[:, 0].mean() > (shown.shape[0] - 26) * 0.5, "a low lesion is below"
    sagittal = orange[orange[:, 1] > axial_px * 2.05]
    assert sagittal[:, 1].mean() < axial_px * 2.05 + 0.4 * (shown.shape[1] - axial_px * 2.05), (
        "the front is on the left"
    )


def test_the_picture_does_not_depend_on_how_the_scan_is_stored() -> None:
    x, mask, frame = head()
    wanted = drawn(x, mask, frame)
    for order in permutations(range(3)):
        for flips in product((1, -1), repeat=3):
            other, grid = stored_otherwise(x, frame, order, flips)
            marked, _ = stored_otherwise(mask, frame, order, flips)
            np.testing.assert_array_equal(drawn(other, marked, grid), wanted, err_msg=f"{order} {flips}")


def test_proportions_are_those_of_mm() -> None:
    frame = frame_of((40, 40, 10), (1.0, 1.0, 4.0))
    roi = roi_at(frame, slice(10, 30), slice(10, 30), slice(2, 7))
    shown = picture(InMemory(x=noisy(frame), frame=frame), roi)
    rows = np.argwhere((shown[:, : shown.shape[1] // 3] == ORANGE).all(-1))
    high, wide = np.ptp(rows, axis=0)
    assert high == pytest.approx(wide, abs=2)
    assert shown.shape[1] <= 900
    coronal = np.argwhere((shown[:, shown.shape[1] // 3 + 4 : 2 * shown.shape[1] // 3] == ORANGE).all(-1))
    high, wide = np.ptp(coronal, axis=0)
    assert high == pytest.approx(wide, abs=3), "five planes of 4 mm are as tall as twenty voxels of 1 mm are wide"


def test_a_region_without_values_and_a_region_of_one_voxel_are_drawn_too() -> None:
    roi = roi_at(FRAME, slice(5, 6), slice(5, 6), slice(5, 6))
    for x in (noisy(), np.full_like(noisy(), np.nan), np.full_like(noisy(), 3)):
        shown = picture(InMemory(x=x, frame=FRAME), roi)
        assert (shown == ORANGE).all(-1).any()


def test_real_regions_pass_and_are_drawn(real_data: Path) -> None:
    import SimpleITK

    folder = real_data / "scans" / "pyradiomics-cases" / "data"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    for name in ("brain1", "breast1"):
        image, label = (SimpleITK.ReadImage(str(folder / f"{name}_{what}.nrrd")) for what in ("image", "label"))
        place = {"origin": image.GetOrigin(), "direction": image.GetDirection()}
        frame = frame_of(image.GetSize(), image.GetSpacing(), **place)
        roi = roi_of(SimpleITK.GetArrayFromImage(label) == 1, frame)
        assert roi is not None
        scan = InMemory(x=SimpleITK.GetArrayFromImage(image).astype(np.float32), frame=frame)
        judge(measure(scan, roi), ScanQualitySettings(min_mm3=100), name)
        assert (picture(scan, roi) == ORANGE).all(-1).sum() > 100
