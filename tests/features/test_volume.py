"""The encoder that cuts windows out of scans."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from phenolens.core.errors import FeatureError, PluginError
from phenolens.core.registry import ENCODERS
from phenolens.core.types import Frame, Volume
from phenolens.features.scans import share_kept
from phenolens.scans.geometry import Crop, Roi, cropped, roi_of, to_index, to_mm

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def slope(mm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """An image whose value is known at every position in mm, and which linear interpolation gets exactly."""
    return mm @ np.array([0.5, -0.25, 0.125])


def scan(
    shape: tuple[int, int, int] = (40, 36, 24),
    spacing: tuple[float, float, float] = (1.0, 1.0, 2.0),
    direction: tuple[float, ...] = IDENTITY,
    at: tuple[int, int, int] = (20, 18, 12),
    half: tuple[int, int, int] = (3, 3, 2),
) -> Crop:
    """A whole image as crop: a slope in mm, with a box as region."""
    frame = Frame(shape=shape, spacing=spacing, origin=(-30.0, 12.0, 100.0), unit="mm", direction=direction)
    z, y, x = np.indices(shape[::-1])
    inside = np.zeros(shape[::-1], dtype=np.bool_)
    (ax, ay, az), (hx, hy, hz) = at, half
    inside[az - hz : az + hz + 1, ay - hy : ay + hy + 1, ax - hx : ax + hx + 1] = True
    mm = to_mm(frame, np.stack([x, y, z], -1))
    return Crop(x=slope(mm).astype(np.float32), inside=inside, frame=frame, sequence="T2")


def cut(crop: Crop, **params: object) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], Frame]:
    return ENCODERS.create("volume", params).load("cpu")(crop)


def expected(frame: Frame) -> npt.NDArray[np.float64]:
    """The slope on a frame (z, y, x)."""
    z, y, x = np.indices(frame.shape[::-1])
    return slope(to_mm(frame, np.stack([x, y, z], -1)))


def test_the_window_is_centred_on_the_region_and_holds_the_values_of_its_positions() -> None:
    crop = scan()
    x, inside, frame = cut(crop, size=(12, 10, 8), spacing_mm=(1.0, 1.5, 2.0))
    assert x.shape == (1, 8, 10, 12)
    assert x.dtype == np.float32
    assert frame.spacing == (1.0, 1.5, 2.0)
    np.testing.assert_allclose(to_mm(frame, (5.5, 4.5, 3.5)), to_mm(crop.frame, (20, 18, 12)))
    np.testing.assert_allclose(x[0], expected(frame), atol=1e-4)
    Volume(x=x, mask=inside, frame=frame, recipe="")


QUARTER_TURNS = {
    "feet first, face down": (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0),
    "sagittal": (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
    "coronal": (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0),
}


@pytest.mark.parametrize("direction", QUARTER_TURNS.values(), ids=QUARTER_TURNS.keys())
def test_whatever_way_an_image_was_acquired_the_window_lies_in_the_patient_axes(direction: tuple[float, ...]) -> None:
    x, inside, frame = cut(scan(direction=direction), size=(9, 11, 7), spacing_mm=1.0)
    assert frame.direction == IDENTITY
    assert frame.shape == (9, 11, 7)
    np.testing.assert_allclose(x[0], expected(frame), atol=1e-4)
    assert inside[3, 5, 4]


def test_an_oblique_image_keeps_its_tilt() -> None:
    a = np.deg2rad(12)
    tilt = (1.0, 0.0, 0.0, 0.0, np.cos(a), -np.sin(a), 0.0, np.sin(a), np.cos(a))
    x, _, frame = cut(scan(direction=tilt), size=9, spacing_mm=1.0)
    np.testing.assert_allclose(frame.direction, tilt)
    np.testing.assert_allclose(x[0], expected(frame), atol=1e-4)


def test_slices_of_two_and_a_half_dimensions_stay_slices_around_the_largest() -> None:
    crop = scan(direction=QUARTER_TURNS["sagittal"], half=(2, 2, 2))
    inside = crop.inside.copy()
    inside[13, 14:23, 16:25] = True
    crop = replace(crop, inside=inside)
    x, mask, frame = cut(crop, size=(15, 15, 3), spacing_mm=(1.0, 1.0, 2.0), mode="2.5d")
    assert x.shape == (3, 1, 15, 15)
    assert mask.shape == (1, 15, 15)
    assert mask.sum() == 81
    assert to_index(crop.frame, to_mm(frame, (7, 7, 0)))[2] == pytest.approx(13)
    assert [tuple(np.abs(np.reshape(frame.direction, (3, 3))[:, j]).round()) for j in range(3)] == [
        (0, 1, 0), (0, 0, 1), (1, 0, 0)]  # fmt: skip
    np.testing.assert_allclose(x[1], expected(frame), atol=1e-4)
    step = np.array([0.0, 0.0, 1.0])
    np.testing.assert_allclose(x[2, 0, 7, 7], slope(to_mm(frame, np.array([7, 7, 0]) + step)), atol=1e-4)
    Volume(x=x, mask=mask, frame=frame, recipe="")


def test_outside_the_image_stands_the_declared_value() -> None:
    x, inside, frame = cut(scan(at=(4, 18, 12)), size=24, spacing_mm=1.0, fill=-7.0)
    outside = to_index(scan().frame, to_mm(frame, np.stack(np.indices((24,) * 3)[::-1], -1)))[..., 0] < -0.5
    assert outside.any()
    assert (x[0][outside] == -7).all()
    assert not inside[outside].any()


def test_the_mask_channel_is_the_share_of_each_voxel_in_the_region() -> None:
    x, inside, _ = cut(scan(), size=16, spacing_mm=2.0, mask_channel=True)
    assert x.shape[0] == 2
    assert x[1].min() >= 0
    assert x[1].max() <= 1
    np.testing.assert_array_equal(x[1] >= 0.5, inside)


def test_a_region_smaller_than_a_voxel_is_not_lost() -> None:
    _, inside, _ = cut(scan(half=(0, 0, 0)), size=8, spacing_mm=6.0)
    assert inside.sum() == 1


def test_coarse_voxels_are_means_not_samples_so_that_fine_noise_does_not_alias() -> None:
    crop = scan(shape=(60, 60, 60), spacing=(1.0, 1.0, 1.0), at=(30, 30, 30))
    noise = np.random.default_rng(0).normal(size=crop.x.shape).astype(np.float32)
    x, _, _ = cut(replace(crop, x=noise), size=8, spacing_mm=5.0)
    assert x.std() < 0.2


def test_how_much_of_the_region_the_window_holds_is_told() -> None:
    crop = scan(half=(10, 3, 2))
    assert share_kept(crop, cut(crop, size=32, spacing_mm=1.0)[2]) == 1
    assert share_kept(crop, cut(crop, size=(10, 32, 32), spacing_mm=1.0)[2]) == pytest.approx(10 / 21, abs=0.05)
    assert share_kept(crop, cut(crop, size=(32, 32, 3), spacing_mm=1.0, mode="2.5d")[2]) == 1
    assert share_kept(crop, cut(crop, size=(10, 32, 3), spacing_mm=1.0, mode="2.5d")[2]) < 0.6


def test_the_whole_image_is_taken_where_no_size_is_given_even_without_a_region() -> None:
    crop = scan(direction=QUARTER_TURNS["coronal"])
    x, inside, frame = cut(replace(crop, inside=np.zeros_like(crop.inside)), size=None, spacing_mm=2.0)
    assert frame.shape == (20, 24, 18)
    assert x.shape == (1, 18, 24, 20)
    assert not inside.any()
    assert ENCODERS.create("volume", {"size": None}).margin_mm > 1000


def test_a_window_needs_a_region() -> None:
    crop = scan()
    with pytest.raises(FeatureError, match="without a region"):
        cut(replace(crop, inside=np.zeros_like(crop.inside)))


@settings(max_examples=15, deadline=None)
@given(
    spacing=st.tuples(*[st.floats(0.5, 4)] * 3),
    new=st.floats(0.7, 5),
    size=st.integers(3, 12),
    turn=st.sampled_from([IDENTITY, *QUARTER_TURNS.values()]),
    mode=st.sampled_from(["3d", "2.5d"]),
)
def test_the_window_of_a_crop_by_the_margin_is_that_of_the_whole_image(
    spacing: tuple[float, float, float], new: float, size: int, turn: tuple[float, ...], mode: str
) -> None:
    whole = scan(shape=(64, 60, 56), spacing=spacing, direction=turn, at=(30, 31, 27), half=(2, 4, 1))
    noise = np.random.default_rng(0).normal(size=whole.x.shape).astype(np.float32)
    whole = replace(whole, x=noise)
    params = {"size": size + 1 - size % 2, "spacing_mm": new, "mode": mode, "mask_channel": True, "fill": 3.0}
    roi = roi_of(whole.inside, whole.frame)
    assert isinstance(roi, Roi)
    lo, shape = roi.box(ENCODERS.create("volume", params).margin_mm)
    (x, y, z), (w, h, d) = lo, shape
    part = Crop(
        x=noise[z : z + d, y : y + h, x : x + w], inside=roi.within(lo, shape), frame=cropped(whole.frame, lo, shape)
    )
    a, b = cut(whole, **params), cut(part, **params)
    np.testing.assert_allclose(a[0], b[0], atol=1e-5)
    np.testing.assert_array_equal(a[1], b[1])
    np.testing.assert_allclose(a[2].origin, b[2].origin, atol=1e-9)


def test_three_modalities_of_a_real_sarcoma_on_three_grids_come_to_lie_over_each_other(real_data: Path) -> None:
    folder = real_data / "scans" / "sts" / "STS_001"
    windows = []
    for kind in ("CT", "PET", "MR_T1"):
        image, mask = (SimpleITK.ReadImage(str(folder / f"{kind}_{what}.nii.gz")) for what in ("image", "mask"))
        frame = Frame(
            shape=image.GetSize(),
            spacing=image.GetSpacing(),
            origin=image.GetOrigin(),
            direction=image.GetDirection(),
            unit="mm",
        )
        x = SimpleITK.GetArrayFromImage(image).astype(np.float32)
        crop = Crop(x=x, inside=SimpleITK.GetArrayFromImage(mask) > 0, frame=frame, sequence=kind)
        window = cut(crop, size=48, spacing_mm=3.0)
        assert share_kept(crop, window[2]) == 1
        windows.append(window)
    masks = [inside for _, inside, _ in windows]
    for other in masks[1:]:
        assert 2 * (masks[0] & other).sum() / (masks[0].sum() + other.sum()) > 0.9


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"size": [4, 4]}, "size"),
        ({"size": 0}, "size"),
        ({"spacing_mm": 0}, "spacing_mm"),
        ({"mode": "2d"}, "mode"),
        ({"mode": "2.5d", "size": [32, 32, 4]}, "odd"),
        ({"fill": float("nan")}, "fill"),
    ],
)
def test_impossible_parameters_are_refused(params: dict[str, object], words: str) -> None:
    with pytest.raises(PluginError, match=words):
        ENCODERS.create("volume", params)
