"""From a crop to named features: names, choices, and values that do not depend on the crop."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from cropdata import crop_of, scan
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st

from phenolens.core.errors import FeatureError, PluginError
from phenolens.core.registry import ENCODERS
from phenolens.core.types import Frame
from phenolens.features.encoders.radiomics import Radiomics
from phenolens.features.radiomics.compute import levels_of, measure, names
from phenolens.features.radiomics.prepare import margin_mm, prepare
from phenolens.features.radiomics.settings import FAMILIES, RadiomicsSettings
from phenolens.scans.geometry import Crop, Roi

FILTERS = (
    "mean_3",
    "log_sigma_1.5_mm",
    "laws_l5e5s3_rot_max_energy_1",
    "gabor_sigma_1_mm_lambda_2_mm_gamma_1_steps_2_3d",
    "wavelet_coif1",
)
SHORT = ("morphology", "local_intensity", "statistics", "glcm", "gldzm")


@given(
    seed=st.integers(0, 10**6),
    spacing_mm=st.sampled_from([None, 1.0, 1.7]),
    interpolation=st.sampled_from(["nearest", "linear"]),
    in_plane=st.booleans(),
    near_edge=st.booleans(),
)
@tries(max_examples=12, deadline=None)
def test_values_from_a_crop_equal_the_values_from_the_whole_volume(
    seed: int, spacing_mm: float | None, interpolation: str, in_plane: bool, near_edge: bool
) -> None:
    settings = RadiomicsSettings(
        spacing_mm=spacing_mm, interpolation=interpolation, in_plane=in_plane, families=SHORT, filters=FILTERS
    )
    x, roi = scan(seed, (90, 84, 60), (0.9, 1.1, 2.5), near_edge=near_edge)
    # as much as voxels of this size need: a tenth of what margin_mm allows for voxels of 10 mm
    own = margin_mm(settings) if spacing_mm is not None else max(margin_mm(replace(settings, spacing_mm=2.5)), 1)
    assert measure(crop_of(x, roi, own), settings) == measure(crop_of(x, roi, None), settings)


def test_a_margin_in_mm_is_enough_for_voxels_of_the_scan_and_for_splines() -> None:
    x, roi = scan(0, (70, 70, 70), (4.0, 4.0, 5.0))
    native = RadiomicsSettings(spacing_mm=None, families=SHORT, filters=("wavelet_db2", "log_sigma_6_mm"))
    assert measure(crop_of(x, roi, margin_mm(native)), native) == measure(crop_of(x, roi, None), native)
    cubic = RadiomicsSettings(spacing_mm=2.0, interpolation="cubic", families=SHORT)
    here, there = (measure(crop_of(x, roi, m), cubic) for m in (margin_mm(cubic), None))
    assert here == pytest.approx(there, rel=1e-5)


def test_too_small_a_crop_changes_values() -> None:
    settings = RadiomicsSettings(spacing_mm=1.0, families=("statistics",), filters=("log_sigma_3_mm",))
    x, roi = scan(3, (60, 60, 40), (1.0, 1.0, 1.0))
    assert measure(crop_of(x, roi, 2.0), settings) != measure(crop_of(x, roi, None), settings)
    assert measure(crop_of(x, roi, 12.0), settings) == measure(crop_of(x, roi, None), settings)


def test_names_are_unique_carry_filter_code_and_aggregation_and_are_those_of_the_values() -> None:
    settings = RadiomicsSettings(filters=("log_sigma_2_mm", "wavelet_haar"), aggregation="2.5d_merged")
    made = names(settings)
    x, roi = scan(1, (40, 40, 24), (1.0, 1.0, 1.5))
    assert tuple(measure(crop_of(x, roi, None), settings)) == made
    assert len(set(made)) == len(made) == 29 + 2 + 10 * 143
    assert "morph_sphericity_QCFX" in made
    assert "log_sigma_2_mm_glcm_contrast_ACUI_2.5d_merged" in made
    assert "wavelet_haar_LLH_ngtdm_busyness_NQ30_2.5d" in made
    assert "wavelet_haar_HHH_stat_mean_Q4LE" in made
    assert not any("morph" in n or "loc_" in n for n in made if n.startswith(("log", "wavelet")))


def test_families_are_left_out_as_asked() -> None:
    x, roi = scan(1, (40, 40, 24), (1.0, 1.0, 1.5))
    whole = measure(crop_of(x, roi, None), RadiomicsSettings())
    for family in FAMILIES:
        one = measure(crop_of(x, roi, None), RadiomicsSettings(families=(family,)))
        assert one == pytest.approx({name: value for name, value in whole.items() if name in one}, rel=1e-12)
        assert one


def test_regions_are_resegmented_by_range_then_by_outliers() -> None:
    x = np.array([0, 10, 10, 10, 11, 12, 13, 500, 1000], np.float32).reshape(1, 1, 9)
    frame = Frame(shape=(9, 1, 1), spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), unit="mm")
    crop = Crop(x=x, inside=np.ones(x.shape, bool), frame=frame)
    settings = RadiomicsSettings(spacing_mm=None, families=("statistics",), resegment=(1, 600), outliers=2)
    made = prepare(crop, settings)
    assert x[made.inside].tolist() == [10, 10, 10, 11, 12, 13]
    assert made.shape.sum() == 9
    with pytest.raises(FeatureError, match=r"intensities from 0 to 1000.*widen resegment"):
        prepare(crop, replace(settings, resegment=(2000, None)))


def test_grey_levels_start_where_the_settings_say() -> None:
    x = np.array([12.0, 24.9, 25.0, 61.0]).reshape(1, 1, 4)
    frame = Frame(shape=(4, 1, 1), spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), unit="mm")
    crop = Crop(x=x.astype(np.float32), inside=np.ones(x.shape, bool), frame=frame)

    def levels(**more: object) -> list[int]:
        settings = RadiomicsSettings(spacing_mm=None, families=("statistics",), **more)  # type: ignore[arg-type]
        made = prepare(crop, settings)
        return levels_of(made.x, made, settings)[made.inside].tolist()

    assert levels(bin_width=25) == [1, 1, 1, 2]
    assert levels(bin_width=25, bin_origin=0) == [1, 1, 2, 3]
    assert levels(bin_width=25, bin_origin=100) == [1, 1, 2, 3]
    assert levels(bin_width=25, resegment=(-25, None)) == [2, 2, 3, 4]
    assert levels(bins=7) == [1, 2, 2, 7]
    assert levels() == [1, 9, 9, 32]


def test_a_region_that_vanishes_on_larger_voxels_is_refused_with_its_size() -> None:
    x, _ = scan(0, (40, 40, 20), (1.0, 1.0, 1.0))
    frame = Frame(shape=(40, 40, 20), spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), unit="mm")
    inside = np.zeros((20, 40, 40), bool)
    inside[[8, 10], 20, 20] = True
    with pytest.raises(FeatureError, match="region of 2 voxels, none of which fills half a voxel of 5 x 5 x 5 mm"):
        measure(Crop(x=x, inside=inside, frame=frame), RadiomicsSettings(spacing_mm=5))
    with pytest.raises(FeatureError, match="region of 0 voxels"):
        measure(Crop(x=x, inside=inside & False, frame=frame), RadiomicsSettings())


def test_intensities_that_are_not_finite_or_even_are_refused() -> None:
    x, roi = scan(0, (40, 40, 24), (1.0, 1.0, 1.0))
    bad = x.copy()
    bad[12, 20, 20] = np.nan
    with pytest.raises(FeatureError, match="not finite"):
        measure(crop_of(bad, roi, None), RadiomicsSettings())
    with pytest.raises(FeatureError, match=r"no finite value for 2 features of a region of \d+ voxels.*moran"):
        measure(crop_of(np.full_like(x, 7), roi, None), RadiomicsSettings())


def test_the_encoder_gives_one_row_of_finite_named_values() -> None:
    encoder = ENCODERS.create("radiomics", {"spacing_mm": 2, "filters": ["log_sigma_2_mm"], "families": ["glcm"]})
    assert (encoder.reads, encoder.makes, encoder.place) == ("scan", "bag", "cpu")
    x, roi = scan(5, (50, 50, 30), (1.0, 1.0, 2.0))
    crop = crop_of(x, roi, encoder.margin_mm)
    found = encoder.load("cpu")(crop)
    assert found.shape == (1, len(encoder.names)) == (1, 50)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[0], list(measure(crop, encoder).values()), rtol=1e-6)
    json.dumps(asdict(encoder))


def test_the_margin_grows_with_what_is_asked() -> None:
    plain = Radiomics(families=("statistics",)).margin_mm
    assert Radiomics().margin_mm >= plain + 6
    assert Radiomics(filters=("log_sigma_5_mm",)).margin_mm >= plain + 20
    assert Radiomics(spacing_mm=None, families=("statistics",)).margin_mm == 0
    assert Radiomics(spacing_mm=None, families=("statistics",), filters=("wavelet_coif1",)).margin_mm == 30


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"spacing_mm": -1}, "spacing_mm must be a number above 0"),
        ({"bins": 32, "bin_width": 5}, "one of bins and bin_width must be null"),
        ({"bins": 0}, "whole number from 1 to 1024"),
        ({"resegment": [400, -500]}, "from low to high"),
        ({"resegment": [1, 2, 3]}, "two numbers"),
        ({"aggregation": "4d"}, "aggregation must be one of 2d_average"),
        ({"families": ["glmc"]}, "a family must be one of morphology"),
        ({"families": "glcm"}, "must be a list"),
        ({"families": []}, "each once"),
        ({"filters": ["log_2"]}, "there is no filter 'log_2'"),
        ({"filters": ["mean_3", "mean_3"]}, "each once"),
        ({"bin_origin": 0}, "bin_origin goes with bin_width"),
        ({"ivh_width": 1}, "ivh_bins and ivh_width"),
        ({"spacing": 1}, "did you mean 'spacing_mm'"),
    ],
)
def test_impossible_parameters_are_refused(params: dict[str, object], why: str) -> None:
    with pytest.raises(PluginError, match=why):
        ENCODERS.create("radiomics", params)


def test_zero_and_null_mean_the_voxels_of_the_scan() -> None:
    assert Radiomics(spacing_mm=0) == Radiomics(spacing_mm=None)
    assert Radiomics().bins == 32
    assert Radiomics(bin_width=25).bins is None


def test_moving_the_scan_in_space_changes_nothing() -> None:
    x, roi = scan(2, (40, 44, 30), (1.0, 1.0, 2.0))
    moved = replace(roi.frame, origin=(500.0, 0.25, -99.9), direction=(0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    other = Roi(lo=roi.lo, inside=roi.inside, frame=moved)
    settings = RadiomicsSettings(spacing_mm=1.5)
    assert measure(crop_of(x, roi, None), settings) == measure(crop_of(x, other, None), settings)
