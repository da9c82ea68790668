"""Discretisation, intensity statistics, histogram and intensity-volume histogram against cases worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phenolens.core.errors import FeatureError
from phenolens.features.radiomics.discretise import discretise
from phenolens.features.radiomics.histogram import histogram
from phenolens.features.radiomics.ivh import ivh
from phenolens.features.radiomics.statistics import statistics

ALL = np.ones((1, 1, 5), dtype=bool)


def brief(found: dict[str, float]) -> dict[str, float]:
    """Without family and code."""
    return {name.split("_", 1)[1].rsplit("_", 1)[0]: value for name, value in found.items()}


def line(*values: float) -> Any:
    return np.array([[values]])


def test_fixed_number_of_bins_puts_the_highest_value_into_the_last() -> None:
    levels = discretise(line(0, 2.4, 2.5, 7.5, 10), ALL, method="fbn", bins=4)
    assert levels.ravel().tolist() == [1, 1, 2, 4, 4]


def test_fixed_width_starts_at_the_lowest_bin_and_opens_a_bin_at_its_edge() -> None:
    levels = discretise(line(-5, 0, 24.9, 25, 26), ALL, method="fbs", width=25, lowest=-50)
    assert levels.ravel().tolist() == [2, 3, 3, 4, 4]
    assert discretise(line(3, 4, 5, 6, 13), ALL, method="fbs", width=5).ravel().tolist() == [1, 1, 1, 1, 3]


def test_levels_are_zero_outside_and_learnt_inside_alone() -> None:
    inside = np.array([[[False, True, True, True, False]]])
    assert discretise(line(-900, 1, 2, 3, np.nan), inside, method="fbn", bins=2).ravel().tolist() == [0, 1, 2, 2, 0]


def test_a_constant_region_is_one_level() -> None:
    assert set(discretise(line(4, 4, 4, 4, 4), ALL, method="fbn", bins=8).ravel()) == {1}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"method": "fbn"}, "bins None"),
        ({"method": "fbn", "bins": 4, "lowest": 0.0}, "lowest 0.0"),
        ({"method": "fbs", "width": 0.0}, "width 0.0"),
        ({"method": "equal", "bins": 4}, "'equal'"),
        ({"method": "fbs", "width": 5.0, "lowest": 2.0}, "an intensity of 1"),
        ({"method": "fbs", "width": 1e-12}, "widen the bins"),
    ],
)
def test_an_impossible_discretisation_is_refused(options: Any, named: str) -> None:
    with pytest.raises(FeatureError, match=named):
        discretise(line(1, 2, 3, 4, 5), ALL, **options)


def test_an_empty_region_and_missing_numbers_are_refused() -> None:
    with pytest.raises(FeatureError, match="empty region"):
        discretise(line(1, 2, 3, 4, 5), ~ALL, method="fbn", bins=4)
    with pytest.raises(FeatureError, match="1 of 5 intensities"):
        discretise(line(1, 2, np.nan, 4, 5), ALL, method="fbn", bins=4)
    with pytest.raises(FeatureError, match="no intensities"):
        statistics(np.array([]))
    with pytest.raises(FeatureError, match="not finite"):
        statistics(np.array([1.0, np.nan]))
    with pytest.raises(FeatureError, match="empty region"):
        histogram(np.zeros((2, 2, 2), dtype=int))


def test_statistics_of_four_numbers_are_as_worked_by_hand() -> None:
    found = brief(statistics(np.array([4, 1, 3, 2])))
    expected = {
        "mean": 2.5,
        "variance": 1.25,
        "skewness": 0,
        "kurtosis": 2.5625 / 1.5625 - 3,
        "median": 2.5,
        "minimum": 1,
        "p10": 1.3,
        "p90": 3.7,
        "maximum": 4,
        "interquartile_range": 1.5,
        "range": 3,
        "mean_absolute_deviation": 1,
        "robust_mean_absolute_deviation": 0.5,
        "median_absolute_deviation": 1,
        "coefficient_of_variation": 1.25**0.5 / 2.5,
        "quartile_coefficient_of_dispersion": 0.3,
        "energy": 30,
        "root_mean_square": 7.5**0.5,
    }
    assert found == pytest.approx(expected, abs=1e-12)


def test_statistics_of_a_constant_are_finite() -> None:
    found = brief(statistics(np.full(10, 0.1)))
    assert [found[k] for k in ("variance", "skewness", "kurtosis", "coefficient_of_variation")] == [0, 0, 0, 0]
    assert set(brief(statistics(np.zeros(3))).values()) == {0.0}


def test_a_coefficient_with_a_vanishing_denominator_is_large_not_infinite() -> None:
    found = brief(statistics(np.array([-1.0, 1.0])))
    assert found["coefficient_of_variation"] == found["quartile_coefficient_of_dispersion"] == 1e6
    assert brief(statistics(np.array([-1.0, 1.0 + 1e-12])))["coefficient_of_variation"] == 1e6


def test_statistics_do_not_depend_on_the_unit_of_the_image() -> None:
    values = np.random.default_rng(5).gamma(2, size=200)
    whole, tiny = brief(statistics(values)), brief(statistics(values * 1e-160))
    for name in ("skewness", "kurtosis", "coefficient_of_variation", "quartile_coefficient_of_dispersion"):
        assert tiny[name] == pytest.approx(whole[name])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=40))
def test_percentiles_equal_those_of_numpy(values: list[float]) -> None:
    found = brief(statistics(np.array(values)))
    assert np.isfinite(list(found.values())).all()
    assert [found["p10"], found["median"], found["p90"]] == pytest.approx(
        np.percentile(values, [10, 50, 90]).tolist(), abs=1e-9
    )


def test_histogram_of_four_levels_is_as_worked_by_hand() -> None:
    found = brief(histogram(line(1, 1, 2, 4).astype(int)))
    assert [found[k] for k in ("mean", "mode", "entropy", "uniformity")] == pytest.approx([2, 1, 1.5, 0.375])
    assert (found["maximum_gradient"], found["maximum_gradient_level"]) == (1, 4)
    assert (found["minimum_gradient"], found["minimum_gradient_level"]) == (-1, 1)


def test_of_several_modes_the_one_nearest_the_mean_counts_and_the_lower_of_two() -> None:
    assert brief(histogram(line(1, 1, 4, 5, 5).astype(int)))["mode"] == 5
    assert brief(histogram(line(1, 1, 5, 5).astype(int)))["mode"] == 1


def test_histogram_of_one_level_has_no_gradient() -> None:
    found = brief(histogram(np.ones((2, 2, 2), dtype=int)))
    assert [found[k] for k in ("maximum_gradient", "minimum_gradient_level", "entropy")] == [0, 1, 0]


def test_intensity_volume_histogram_is_taken_over_the_whole_range() -> None:
    found = brief(ivh(np.array([0, 0, 5, 9]), lowest=0, highest=10))
    assert found["volume_at_10_percent_intensity"] == pytest.approx(0.5)
    assert found["volume_at_90_percent_intensity"] == pytest.approx(0.25)
    assert found["intensity_at_90_percent_volume"] == 1
    assert found["intensity_at_10_percent_volume"] == 10
    assert found["area_under_curve"] == pytest.approx((0.5 + 0.5 * 5 + 0.25 * 4) / 10)


def test_intensity_volume_histogram_takes_centres_of_bins() -> None:
    width, lowest = 0.1, 0.3
    levels = np.array([1, 2, 2, 3, 10])
    values = (lowest + (levels - 0.5) * width).astype(np.float32)
    found = brief(ivh(values, lowest=lowest + width / 2, highest=lowest + 9.5 * width, step=width))
    by_level = brief(ivh(levels, lowest=1, highest=10))
    assert found["volume_at_10_percent_intensity"] == by_level["volume_at_10_percent_intensity"] == pytest.approx(0.8)
    assert found["intensity_at_90_percent_volume"] == pytest.approx(lowest + 1.5 * width)
    assert found["area_under_curve"] == pytest.approx(by_level["area_under_curve"])


def test_a_volume_that_is_never_small_enough_is_reached_one_step_above() -> None:
    found = brief(ivh(np.array([1, 5, 5, 5])))
    assert found["intensity_at_10_percent_volume"] == 6
    single = brief(ivh(np.array([5, 5])))
    assert single["area_under_curve"] == 0
    assert single["volume_at_90_percent_intensity"] == 1


def test_a_range_that_does_not_hold_the_intensities_is_refused() -> None:
    with pytest.raises(FeatureError, match="intensities from 1 to 9"):
        ivh(np.array([1, 9]), highest=8)
    with pytest.raises(FeatureError, match="steps"):
        ivh(np.array([0.0, 1.0]), step=1e-9)
    with pytest.raises(FeatureError, match="0 intensities"):
        ivh(np.array([]))
