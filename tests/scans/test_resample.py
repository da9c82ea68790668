"""Resampling keeps values where grids meet, positions everywhere, and never reaches outside."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phenolens.core.errors import ImageError
from phenolens.core.types import Frame
from phenolens.scans.geometry import cropped, to_index, to_mm
from phenolens.scans.resample import at_positions, new_grid, onto, resample, resample_mask


def frame_of(shape: tuple[int, int, int], spacing: tuple[float, float, float], turned: bool = False) -> Frame:
    direction = (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0) if turned else None
    return Frame(shape=shape, spacing=spacing, origin=(-20.0, 5.0, 100.0), unit="mm", direction=direction)


def ramp(frame: Frame) -> np.ndarray:
    """An image whose value is 2x - y + 3z of the position in mm."""
    z, y, x = np.mgrid[: frame.shape[2], : frame.shape[1], : frame.shape[0]]
    return to_mm(frame, np.stack([x, y, z], -1)) @ np.array([2.0, -1.0, 3.0])


def test_centres_of_the_old_and_the_new_grid_coincide_and_the_new_one_covers_the_old() -> None:
    frame = frame_of((10, 7, 5), (0.977, 0.977, 3.0), turned=True)
    _, made = new_grid(frame, (2, 2, 2))
    assert made.shape == (5, 4, 8)
    middle = to_mm(frame, (np.array(frame.shape) - 1) / 2)
    np.testing.assert_allclose(to_mm(made, (np.array(made.shape) - 1) / 2), middle, atol=1e-6)
    assert (np.array(made.shape) * made.spacing >= np.array(frame.shape) * frame.spacing - 1e-6).all()


@pytest.mark.parametrize("method", ["linear", "cubic"])
def test_a_ramp_stays_a_ramp_inside(method: str) -> None:
    frame = frame_of((40, 38, 36), (1.0, 1.0, 2.5), turned=True)
    found, made = resample(ramp(frame), frame, (1.5, 1.5, 1.5), method=method)  # type: ignore[arg-type]
    inner = (slice(20, -20), slice(9, -9), slice(9, -9))
    np.testing.assert_allclose(found[inner], ramp(made)[inner], rtol=1e-3 if method == "cubic" else 1e-6)


def test_linear_values_are_as_worked_by_hand() -> None:
    x = np.array([0.0, 10.0, 20.0, 60.0]).reshape(1, 1, 4)
    frame = Frame(shape=(4, 1, 1), spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), unit="mm")
    found, made = resample(x, frame, (2, 1, 1), method="linear")
    assert found.ravel().tolist() == [5, 40]
    assert made.origin == (0.5, 0.0, 0.0)
    nearest, _ = resample(x, frame, (4 / 3, 1, 1), method="nearest")
    assert nearest.ravel().tolist() == [0, 20, 60]


def test_a_cubic_spline_goes_through_the_voxels() -> None:
    x = np.random.default_rng(0).normal(size=(6, 7, 8))
    at = [np.arange(n, dtype=float) for n in (8, 7, 6)]
    np.testing.assert_array_equal(at_positions(x, at, method="cubic"), x)
    half = at_positions(x, [np.arange(15) / 2, *at[1:]], method="cubic")
    np.testing.assert_allclose(half[..., ::2], x, atol=1e-12)


def test_half_a_voxel_belongs_to_a_resampled_mask() -> None:
    mask = np.zeros((1, 1, 4), bool)
    mask[..., 1] = True
    frame = Frame(shape=(4, 1, 1), spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), unit="mm")
    assert resample_mask(mask, frame, (2, 1, 1))[0].ravel().tolist() == [True, False]
    assert not resample_mask(mask, frame, (2, 1, 1), threshold=0.6)[0].any()


@given(seed=st.integers(0, 10**6), method=st.sampled_from(["nearest", "linear", "cubic"]))
@settings(max_examples=20, deadline=None)
def test_a_grid_on_itself_is_the_same_image(seed: int, method: str) -> None:
    rng = np.random.default_rng(seed)
    frame = frame_of((5, 4, 3), (0.7, 1.1, 2.0), turned=bool(seed % 2))
    x = rng.normal(size=(3, 4, 5)).astype(np.float32)
    np.testing.assert_allclose(onto(x, frame, frame, method=method), x, atol=1e-5)  # type: ignore[arg-type]


def test_another_grid_is_filled_by_position_and_outside_with_the_declared_value() -> None:
    frame = frame_of((30, 28, 26), (1.0, 1.2, 2.0), turned=True)
    inside = cropped(frame, (5, 6, 7), (10, 9, 8))
    target = Frame(shape=(8, 8, 8), spacing=(1.5, 1.5, 1.5), origin=inside.origin, unit="mm", direction=None)
    found = onto(ramp(frame), frame, target, fill=-99)
    z, y, x = np.mgrid[:8, :8, :8]
    at = to_index(frame, to_mm(target, np.stack([x, y, z], -1)))
    within = ((at >= 0) & (at <= np.array(frame.shape) - 1)).all(-1)
    beyond = ((at < -0.5) | (at > np.array(frame.shape) - 0.5)).any(-1)
    np.testing.assert_allclose(found[within], ramp(target)[within], atol=1e-6)
    assert (found[beyond] == -99).all()
    assert within.any()
    assert beyond.any()


def test_a_matrix_moves_the_target_before_it_is_looked_up() -> None:
    frame = frame_of((12, 12, 12), (1.0, 1.0, 1.0))
    x = np.random.default_rng(1).normal(size=(12, 12, 12))
    shift = np.eye(4)
    shift[:3, 3] = 2, 0, -1
    found = onto(x, frame, frame, method="nearest", fill=np.nan, matrix=shift)
    np.testing.assert_array_equal(found[1:, :, :-2], x[:-1, :, 2:])
    assert np.isnan(found[0]).all()


@pytest.mark.parametrize("kind", [np.bool_, np.uint8, np.int16])
def test_labels_stay_labels_by_the_nearest_voxel(kind: type) -> None:
    frame = frame_of((6, 6, 6), (2.0, 2.0, 2.0))
    x = (np.random.default_rng(0).random((6, 6, 6)) * 5).astype(kind)
    fine = frame_of((12, 12, 12), (1.0, 1.0, 1.0))
    target = Frame(shape=fine.shape, spacing=fine.spacing, origin=(-20.5, 4.5, 99.5), unit="mm")
    found = onto(x, frame, target, method="nearest")
    assert found.dtype == kind
    np.testing.assert_array_equal(found, x.repeat(2, 0).repeat(2, 1).repeat(2, 2))


def test_a_target_far_away_is_all_fill() -> None:
    frame = frame_of((6, 6, 6), (2.0, 2.0, 2.0))
    far = Frame(shape=(3, 3, 3), spacing=(1.0, 1.0, 1.0), origin=(500.0, 0.0, 0.0), unit="mm")
    assert (onto(np.ones((6, 6, 6)), frame, far, fill=7) == 7).all()


def test_impossible_spacings_methods_and_shapes_are_refused() -> None:
    frame = frame_of((6, 6, 6), (2.0, 2.0, 2.0))
    x = np.zeros((6, 6, 6))
    with pytest.raises(ImageError, match="three positive numbers"):
        resample(x, frame, (1, 0, 1))
    with pytest.raises(ImageError, match="one of nearest, linear, cubic"):
        resample(x, frame, (1, 1, 1), method="sinc")  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="frame's shape"):
        resample(x[:3], frame, (1, 1, 1))
    with pytest.raises(ImageError, match="4 x 4"):
        onto(x, frame, frame, matrix=np.eye(3))
