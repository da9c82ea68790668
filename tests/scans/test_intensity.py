"""Tests of windows, bias fields, scales and the standard scale."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phenolens.core.errors import ImageError, ModelError
from phenolens.core.types import Frame
from phenolens.models.intensity import StandardScale
from phenolens.scans._body import body
from phenolens.scans.geometry import cropped, roi_of, to_mm
from phenolens.scans.intensity import IntensitySettings, Measured, apply, landmarks, measure
from phenolens.scans.sampling import InMemory, sample
from tests.scans.phantoms import frame_of, scanned

MR = frame_of((48, 40, 20), (2.0, 2.0, 4.0))


def dice(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def shading(frame: Frame) -> npt.NDArray[np.float64]:
    """A smooth multiplicative field over the frame, 0.6 to 1.6."""
    z, y, x = np.indices(frame.shape[::-1])
    u, v, w = (i / (n - 1) * 2 - 1 for i, n in zip((x, y, z), frame.shape, strict=True))
    return np.exp(0.35 * u - 0.1 * v * v + 0.1 * w)


def test_the_body_of_an_mr_is_found_with_its_dark_organs_and_without_the_noise_around_it() -> None:
    scan, _, true = scanned(MR, muscle=150, organ=80, noise=8)
    assert dice(body(scan.x), true) > 0.98


def test_the_body_of_a_ct_holds_its_lungs_and_not_the_table() -> None:
    scan, _, true = scanned(frame_of((60, 60, 12)), air=-1000, fat=-90, muscle=50, organ=-800, lesion=40)
    x = scan.x.copy()
    x[:, -3:, 10:50] = 100
    assert dice(body(x, "HU"), true) > 0.99
    assert dice(body(x), true) > 0.99, "a CT without a unit is known by its values"


def test_a_crop_that_the_body_fills_is_all_body() -> None:
    rng = np.random.default_rng(1)
    x = np.where(rng.random((8, 20, 20)) < 0.4, 300, 850) + rng.normal(0, 20, (8, 20, 20))
    assert body(x.astype(np.float32)).mean() > 0.999


def test_padding_does_not_count_as_background() -> None:
    scan, _, true = scanned(MR, air=40, noise=12)
    x = scan.x.copy()
    x[:, :, :12] = 0
    true[:, :, :12] = False
    assert dice(body(x), true) > 0.97


def test_a_sample_of_a_large_scan_is_bounded_and_brings_voxels_near_to_cubes() -> None:
    frame = frame_of((64, 60, 31), (1.0, 1.0, 3.0))
    x = np.arange(np.prod(frame.shape), dtype=np.float32).reshape(frame.shape[::-1])
    seen = sample(InMemory(x=x, frame=frame), most=8000)
    assert seen.x.size <= 8000
    assert seen.step == (4, 4, 1)
    np.testing.assert_array_equal(seen.x, x[::1, ::4, ::4])
    np.testing.assert_allclose(to_mm(seen.frame, (3, 2, 5)), to_mm(frame, (12, 8, 5)))


def test_a_scan_read_in_slabs_gives_the_sample_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    scan, _, _ = scanned(MR)
    whole = sample(scan, most=3000)
    monkeypatch.setattr("phenolens.scans.sampling._SLAB_VOXELS", 48 * 40 * 3)
    np.testing.assert_array_equal(sample(scan, most=3000).x, whole.x)


def test_zscore_over_the_body_has_mean_zero_and_sd_one_there() -> None:
    scan, roi, _ = scanned(MR)
    wanted = IntensitySettings(scale="zscore")
    made = apply(scan.x, scan.frame, measure(scan, roi, wanted), wanted)
    inside = body(scan.x)
    assert made.dtype == np.float32
    assert made[inside].mean() == pytest.approx(0, abs=1e-3)
    assert made[inside].std() == pytest.approx(1, abs=1e-3)


def test_percentiles_over_the_lesion_bring_its_first_and_99th_to_zero_and_one() -> None:
    scan, roi, _ = scanned(MR)
    wanted = IntensitySettings(scale="percentile", over="lesion")
    made = apply(scan.x, scan.frame, measure(scan, roi, wanted), wanted)
    inside = made[roi.within((0, 0, 0), MR.shape)]  # type: ignore[arg-type]
    np.testing.assert_allclose(np.percentile(inside, (1, 99)), (0, 1), atol=1e-4)
    assert inside.max() > 1, "a bright spot is not flattened"


def test_a_window_is_cut_before_the_scale_is_measured() -> None:
    scan, roi, _ = scanned(frame_of((40, 40, 10)), air=-1000, fat=-90, muscle=50, organ=120, lesion=700)
    wanted = IntensitySettings(window=(-100, 250), scale="percentile")
    found = measure(scan, roi, wanted, unit="HU")
    assert found.numbers["high"] <= 250
    assert found.numbers["low"] >= -100
    only = IntensitySettings(window=(-100, 250))
    assert measure(scan, roi, only) == Measured()
    made = apply(scan.x, scan.frame, Measured(), only)
    assert (made.min(), made.max()) == (-100, 250)


def test_n4_takes_out_a_known_shading_and_keeps_the_scale() -> None:
    frame = frame_of((64, 56, 20), (3.0, 3.0, 6.0))
    clean, roi, true = scanned(frame, noise=4)
    scan = InMemory(x=(clean.x * shading(frame)).astype(np.float32), frame=frame)
    wanted = IntensitySettings(n4=True)
    made = apply(scan.x, frame, measure(scan, roi, wanted), wanted)

    def spread(x: npt.NDArray[np.float32]) -> float:
        return float(np.log(np.maximum(x[true], 1) / np.maximum(clean.x[true], 1)).std())

    assert spread(scan.x) > 0.15
    assert spread(made) < 0.4 * spread(scan.x)
    assert np.log(made[true]).mean() == pytest.approx(np.log(scan.x[true]).mean(), abs=0.02)


def test_n4_gives_the_same_bytes_twice() -> None:
    scan, roi, _ = scanned(MR)
    first, second = (measure(scan, roi, IntensitySettings(n4=True)) for _ in range(2))
    assert json.dumps(first.to_json()) == json.dumps(second.to_json())


def test_values_of_a_crop_are_those_of_the_whole_scan() -> None:
    turned = replace(MR, direction=(0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0), origin=(-30.0, 12.0, 400.0))
    scan, roi, _ = scanned(turned)
    wanted = IntensitySettings(n4=True, scale="zscore")
    found = Measured.from_json(json.loads(json.dumps(measure(scan, roi, wanted).to_json())))
    whole = apply(scan.x, turned, found, wanted)
    lo, shape = roi.box(9)
    crop = apply(scan.read(lo, shape), cropped(turned, lo, shape), found, wanted)
    x, y, z = lo
    w, h, d = shape
    np.testing.assert_allclose(crop, whole[z : z + d, y : y + h, x : x + w], rtol=1e-5, atol=1e-5)


def test_scan_that_nothing_is_asked_of_stays_as_it_is() -> None:
    scan, roi, _ = scanned(MR)
    found = measure(scan, roi, IntensitySettings())
    assert found == Measured()
    np.testing.assert_array_equal(apply(scan.x, scan.frame, found, IntensitySettings()), scan.x)


@pytest.mark.parametrize(
    "given_settings",
    [
        {"window": (0, 100), "n4": True},
        {"window": (0, 100), "scale": "nyul_landmarks"},
        {"scale": "nyul_landmarks", "over": "lesion"},
        {"scale": "zcore"},
        {"window": (100, 0)},
        {"window": 5},
        {"over": "liver"},
    ],
)
def test_settings_that_do_not_go_together_are_refused(given_settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="; "):
        IntensitySettings(**given_settings)  # type: ignore[arg-type]


def test_a_window_from_yaml_is_a_list_of_two() -> None:
    assert IntensitySettings(window=[-100, 250]).window == (-100.0, 250.0)  # type: ignore[arg-type]


def test_n4_on_ct_is_refused_with_and_without_a_unit() -> None:
    scan, roi, _ = scanned(frame_of((40, 40, 10)), air=-1000, fat=-90, muscle=-20, organ=50, lesion=40)
    with pytest.raises(ImageError, match="HU"):
        measure(scan, roi, IntensitySettings(n4=True), unit="HU")
    with pytest.raises(ImageError, match="at or below zero"):
        measure(scan, roi, IntensitySettings(n4=True))


def test_a_scale_over_equal_voxels_is_refused_with_the_numbers() -> None:
    frame = frame_of((20, 20, 8))
    mask = np.zeros((8, 20, 20), dtype=bool)
    mask[3:5, 8:12, 8:12] = True
    x = np.random.default_rng(0).normal(100, 9, mask.shape).astype(np.float32)
    x[mask] = 77
    roi = roi_of(mask, frame)
    assert roi is not None
    with pytest.raises(ImageError, match=r"32 voxels of the lesion .* SD 0"):
        measure(InMemory(x=x, frame=frame), roi, IntensitySettings(scale="zscore", over="lesion"))
    with pytest.raises(ImageError, match="77"):
        measure(InMemory(x=np.full_like(x, 77), frame=frame), roi, IntensitySettings(scale="zscore"))


def test_landmarks_are_the_eleven_percentiles_of_the_body() -> None:
    assert list(landmarks(np.arange(101))) == [1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99]
    scan, roi, _ = scanned(MR)
    found = measure(scan, roi, IntensitySettings(scale="nyul_landmarks"))
    assert found.landmarks is not None
    np.testing.assert_allclose(found.landmarks, landmarks(scan.x[body(scan.x)]))


def test_a_standard_scale_by_hand() -> None:
    scale = StandardScale.fit([[0, 50, 100], [10, 40, 110]])
    np.testing.assert_allclose(scale.landmarks, [0, (50 + 30) / 2, 100])
    np.testing.assert_allclose(scale.map(np.array([0, 25, 50, 75, 100]), [0, 50, 100]), [0, 20, 40, 70, 100])
    np.testing.assert_allclose(scale.map(np.array([-50, 150.0]), [0, 50, 100]), [-40, 160])


@given(gain=st.floats(0.01, 50), shift=st.floats(-500, 500))
@settings(max_examples=25, deadline=None)
def test_scanners_that_differ_by_gain_and_offset_agree_on_the_standard_scale(gain: float, shift: float) -> None:
    rng = np.random.default_rng(3)
    x = np.sort(rng.gamma(3, 100, 400))
    scale = StandardScale.fit([landmarks(x), landmarks(rng.gamma(2, 80, 400))])
    other = x * gain + shift
    np.testing.assert_allclose(scale.map(other, landmarks(other)), scale.map(x, landmarks(x)), atol=1e-2)


def test_a_standard_scale_does_not_depend_on_the_order_of_images() -> None:
    images = [landmarks(np.random.default_rng(i).gamma(2 + i, 80, 300)) for i in range(7)]
    first, second = StandardScale.fit(images), StandardScale.fit(images[::-1])
    assert first.landmarks.tobytes() == second.landmarks.tobytes()
    again = StandardScale.from_arrays(first.arrays())
    assert again.landmarks.tobytes() == first.landmarks.tobytes()


def test_landmarks_that_coincide_still_map() -> None:
    scale = StandardScale(landmarks=np.array([0.0, 30, 60, 100]))
    made = scale.map(np.array([5.0, 5.0, 10.0, 0.0]), [5, 5, 5, 10])
    np.testing.assert_allclose(made, [30, 30, 100, 30 - 5 * 14])


def test_landmarks_that_cannot_be_are_refused() -> None:
    for wrong in ([], [[1, 1, 1]], [[3, 2, 5]], [[0, np.nan, 5]], [[0, 1, 2], [0, 1]]):
        with pytest.raises(ModelError):
            StandardScale.fit(wrong)
    with pytest.raises(ModelError, match="4 finite"):
        StandardScale(landmarks=np.array([0.0, 30, 60, 100])).map(np.zeros(3), [0, 1, 2])


def test_every_real_lesion_lies_in_the_body_that_is_found(real_data: Path) -> None:
    import SimpleITK

    folder = real_data / "scans" / "sts"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    for name in ("CT", "PET", "MR_T1"):
        files = [str(folder / "STS_008" / f"{name}_{what}.nii.gz") for what in ("image", "mask")]
        image, mask = (SimpleITK.ReadImage(f) for f in files)
        frame = frame_of(image.GetSize(), image.GetSpacing(), origin=image.GetOrigin())
        scan = InMemory(x=SimpleITK.GetArrayFromImage(image).astype(np.float32), frame=frame)
        roi = roi_of(SimpleITK.GetArrayFromImage(mask), frame)
        assert roi is not None
        assert measure(scan, roi, IntensitySettings(scale="zscore")).numbers["lesion_in_body"] > 0.99
