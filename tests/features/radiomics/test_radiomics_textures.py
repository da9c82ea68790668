"""Texture families against cases worked by hand, slow references, and what must not change them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import slow_textures as slow
from hypothesis import given, settings
from hypothesis import strategies as st

from phenolens.core.errors import FeatureError
from phenolens.features.radiomics import _compiled
from phenolens.features.radiomics._zones import zones
from phenolens.features.radiomics.glcm import glcm
from phenolens.features.radiomics.gldzm import gldzm
from phenolens.features.radiomics.glrlm import glrlm
from phenolens.features.radiomics.glszm import glszm
from phenolens.features.radiomics.ngldm import ngldm
from phenolens.features.radiomics.ngtdm import ngtdm

AGGREGATIONS = ("2d_average", "2d_slice_merged", "2.5d_direction_merged", "2.5d_merged", "3d_average", "3d_merged")
STEP = np.array([[[1, 1, 2], [1, 2, 2]]])
"""One slice: x runs 1 1 2 and 1 2 2."""


def brief(found: dict[str, float]) -> dict[str, float]:
    """Without family and code."""
    return {name.split("_", 1)[1].rsplit("_", 1)[0]: value for name, value in found.items()}


def line(*levels: int) -> Any:
    return np.array([[levels]])


def everything(levels: Any) -> dict[str, float]:
    found = {}
    for aggregation in AGGREGATIONS:
        for family in (glcm, glrlm):
            found |= {f"{k}_{aggregation}": v for k, v in family(levels, aggregation=aggregation).items()}
    for dims in ("2d", "2.5d", "3d"):
        for kind in (glszm, gldzm, ngtdm, ngldm):
            found |= {f"{k}_{dims}": v for k, v in kind(levels, dims).items()}
    return found


@st.composite
def volumes(draw: st.DrawFn, smallest: int = 1) -> Any:
    shape = draw(st.tuples(*[st.integers(smallest, 4)] * 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = rng.integers(0, draw(st.integers(2, 5)), shape)
    levels[tuple(n // 2 for n in shape)] = 1
    return levels


def test_co_occurrence_of_two_rows_is_as_counted_by_hand() -> None:
    found = brief(glcm(STEP, aggregation="2d_slice_merged"))
    assert found["joint_maximum"] == pytest.approx(6 / 22)
    assert found["contrast"] == pytest.approx(10 / 22)
    assert found["joint_average"] == pytest.approx(1.5)
    assert found["correlation"] == pytest.approx(1 / 11)
    assert found["inverse_variance"] == pytest.approx(10 / 22)
    assert found["normalised_inverse_difference"] == pytest.approx(12 / 22 + 10 / 22 / 1.5)


def test_average_over_directions_gives_every_direction_the_same_weight() -> None:
    found = brief(glcm(STEP, aggregation="2d_average"))
    assert found["contrast"] == pytest.approx(np.mean([2 / 4, 1 / 3, 2 / 2, 0 / 2]))


def test_pairs_two_voxels_apart_are_counted_at_distance_two() -> None:
    assert brief(glcm(line(1, 3, 1, 3), distance=1))["contrast"] == pytest.approx(4)
    assert brief(glcm(line(1, 3, 1, 3), distance=2))["contrast"] == 0


def test_runs_of_a_line_are_as_counted_by_hand() -> None:
    found = brief(glrlm(line(1, 1, 2)))
    assert found["long_runs_emphasis"] == pytest.approx((36 + 4 + 1) / 38)
    assert found["run_percentage"] == pytest.approx(38 / 39)
    assert found["run_length_non_uniformity"] == pytest.approx((37**2 + 1) / 38)


def test_zones_of_two_rows_are_as_counted_by_hand() -> None:
    found = brief(glszm(STEP, "2d"))
    assert found["small_zone_emphasis"] == pytest.approx(1 / 9)
    assert found["low_grey_level_zone_emphasis"] == pytest.approx((1 + 1 / 4) / 2)
    assert found["zone_percentage"] == pytest.approx(2 / 6)
    assert found["zone_size_variance"] == 0
    assert found["zone_size_entropy"] == pytest.approx(1)


def test_distance_is_counted_in_the_slice_in_2d_and_in_the_volume_in_3d() -> None:
    levels = np.ones((1, 3, 3), dtype=int)
    levels[0, 1, 1] = 2
    assert brief(gldzm(levels, "2d"))["large_distance_emphasis"] == pytest.approx((1 + 4) / 2)
    assert brief(gldzm(levels, "3d"))["large_distance_emphasis"] == 1


def test_distance_is_measured_to_the_edge_of_the_morphological_mask() -> None:
    levels = np.zeros((1, 5, 5), dtype=int)
    levels[0, 1:4, 1:4] = 1
    levels[0, 2, 2] = 2
    shape = np.ones((1, 5, 5), dtype=bool)
    assert brief(gldzm(levels, "2d", shape=shape))["large_distance_emphasis"] == pytest.approx((4 + 9) / 2)
    with pytest.raises(FeatureError, match="morphological mask"):
        gldzm(levels, "2d", shape=levels == 2)


def test_tone_differences_of_a_line_are_as_counted_by_hand() -> None:
    found = brief(ngtdm(line(1, 3, 1)))
    expected = {"coarseness": 0.3, "contrast": 16 / 9, "busyness": 5, "complexity": 40 / 9, "strength": 4 / 3}
    assert found == pytest.approx(expected)


def test_dependence_of_a_line_is_as_counted_by_hand() -> None:
    found = brief(ngldm(line(1, 1, 2)))
    assert found["low_dependence_emphasis"] == pytest.approx(0.5)
    assert found["high_dependence_emphasis"] == pytest.approx(3)
    assert found["dependence_count_energy"] == pytest.approx(5 / 9)
    assert found["dependence_count_percentage"] == 1


@settings(max_examples=40, deadline=None)
@given(volumes(smallest=2))
def test_co_occurrence_and_runs_equal_a_slow_count(levels: Any) -> None:
    in_slice = [o for o in slow.AHEAD if o[0] == 0]
    voxels, top = int((levels > 0).sum()), int(levels.max())
    for aggregation, offsets in (("3d_merged", slow.AHEAD), ("2.5d_merged", in_slice)):
        found = list(glrlm(levels, aggregation=aggregation).values())
        expected = slow.emphasis_measures(slow.runs(levels, offsets), voxels * len(offsets))[:16]
        assert found == pytest.approx(expected, abs=1e-9)
        pairs = slow.co_occurrence(levels, offsets)
        if pairs:
            found = list(glcm(levels, aggregation=aggregation).values())
            assert found == pytest.approx(slow.co_occurrence_measures(pairs, top), abs=1e-7)


@settings(max_examples=40, deadline=None)
@given(volumes())
def test_zones_and_neighbourhoods_equal_a_slow_count(levels: Any) -> None:
    voxels = int((levels > 0).sum())
    for dims, planar in (("3d", False), ("2.5d", True)):
        found = slow.zones(levels, planar)
        sizes, distances = Counter((i, n) for i, n, _ in found), Counter((i, d) for i, _, d in found)
        looks = slow.around(levels, planar)
        alike = Counter((i, j) for i, j, _ in looks)
        assert list(glszm(levels, dims).values()) == pytest.approx(slow.emphasis_measures(sizes, voxels)[:16], abs=1e-9)
        assert list(gldzm(levels, dims).values()) == pytest.approx(
            slow.emphasis_measures(distances, voxels)[:16], abs=1e-9
        )
        assert list(ngldm(levels, dims).values()) == pytest.approx(slow.emphasis_measures(alike, voxels), abs=1e-9)
        if any(mean is not None for _, _, mean in looks):
            assert list(ngtdm(levels, dims).values()) == pytest.approx(slow.tone_measures(looks), rel=1e-6, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(volumes(smallest=2))
def test_2d_is_the_average_of_the_slices_that_hold_the_region(levels: Any) -> None:
    slices = [levels[z : z + 1] for z in range(len(levels)) if levels[z].any()]
    for family in (glszm, gldzm, ngldm):
        each = np.mean([list(family(one, "2d").values()) for one in slices], axis=0)
        assert list(family(levels, "2d").values()) == pytest.approx(each)
    each = np.mean([list(glrlm(one, aggregation="2d_average").values()) for one in slices], axis=0)
    assert list(glrlm(levels, aggregation="2d_average").values()) == pytest.approx(each)


@settings(max_examples=10, deadline=None)
@given(volumes(smallest=3))
def test_empty_space_around_the_region_changes_nothing(levels: Any) -> None:
    levels[1, 1, :2] = 1
    wide = np.pad(levels, ((2, 0), (1, 3), (0, 4)))
    assert everything(wide) == everything(levels)


@settings(max_examples=10, deadline=None)
@given(volumes(smallest=3))
def test_turning_the_volume_changes_nothing_where_directions_are_merged(levels: Any) -> None:
    levels[1, 1, :2] = 1
    turned = np.rot90(levels, axes=(0, 2))
    for aggregation in ("3d_merged", "3d_average"):
        assert glcm(turned, aggregation=aggregation) == pytest.approx(glcm(levels, aggregation=aggregation), abs=1e-9)
        assert glrlm(turned, aggregation=aggregation) == pytest.approx(glrlm(levels, aggregation=aggregation))
    for family in (glszm, gldzm, ngtdm, ngldm):
        assert family(turned) == pytest.approx(family(levels))


def test_zones_found_once_serve_both_families() -> None:
    levels = np.random.default_rng(3).integers(1, 4, (5, 6, 7))
    for dims in ("2d", "2.5d", "3d"):
        found = zones(levels, dims)
        assert glszm(levels, dims, found=found) == glszm(levels, dims)
        assert gldzm(levels, dims, found=found) == gldzm(levels, dims)


def test_a_winding_zone_is_one_zone() -> None:
    levels = np.ones((1, 9, 9), dtype=int)
    levels[0, 1::4, :-1] = 2
    levels[0, 3::4, 1:] = 2
    found = zones(levels, "2d")
    assert sorted(zip(found.level.tolist(), found.size.tolist(), strict=True)) == [
        (1, 49),
        (2, 8),
        (2, 8),
        (2, 8),
        (2, 8),
    ]


def test_a_constant_region_has_finite_values_everywhere() -> None:
    found = everything(np.full((3, 4, 5), 7))
    assert np.isfinite(list(found.values())).all()
    assert found["glcm_correlation_NI2N_3d_merged"] == 1
    assert found["ngtdm_coarseness_QCDE_3d"] == 1e6


def test_a_single_voxel_has_values_except_where_pairs_are_asked_for() -> None:
    assert brief(glrlm(line(3)))["run_percentage"] == 1
    assert brief(glszm(line(3)))["zone_percentage"] == 1
    assert brief(gldzm(line(3)))["large_distance_emphasis"] == 1
    assert brief(ngldm(line(3)))["low_dependence_emphasis"] == 1
    assert list(ngtdm(line(3)).values()) == [1e6, 0, 0, 0, 0]
    with pytest.raises(FeatureError, match="1 voxels without two neighbours"):
        glcm(line(3))


def test_a_busyness_without_denominator_is_large_not_infinite() -> None:
    assert brief(ngtdm(line(1, 2, 1)))["busyness"] == 1e6


def test_levels_beyond_reach_are_refused_with_their_number() -> None:
    with pytest.raises(FeatureError, match="1025 grey levels"):
        glcm(line(1, 1025))
    with pytest.raises(FeatureError, match="level -1"):
        glrlm(line(-1, 2))
    with pytest.raises(FeatureError, match="float64"):
        ngtdm(np.ones((2, 2, 2)))
    with pytest.raises(FeatureError, match="empty region in a crop of 2 x 3 x 4"):
        glszm(np.zeros((2, 3, 4), dtype=int))


def test_an_unknown_aggregation_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(FeatureError, match="did you mean '3d_merged'"):
        glcm(STEP, aggregation="3d_merge")
    with pytest.raises(FeatureError, match="dims '4d'"):
        glszm(STEP, "4d")


def test_kernels_work_where_no_folder_can_keep_them(monkeypatch: pytest.MonkeyPatch) -> None:
    real = _compiled.njit

    def njit(**options: Any) -> Any:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(_compiled, "njit", njit)
    assert _compiled.compiled(lambda x: x + 1)(2) == 3
