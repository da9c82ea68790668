"""Shape and local intensity against bodies and sums worked out another way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phenolens.core.errors import FeatureError
from phenolens.features.radiomics import _autocorrelation
from phenolens.features.radiomics._enclosing import ellipsoid_area, smallest_box, smallest_ellipsoid
from phenolens.features.radiomics.local_intensity import RADIUS_MM, local_intensity
from phenolens.features.radiomics.morphology import NAMES, mesh, morphology


def ball(radius: float, spacing: tuple[float, float, float]) -> np.ndarray:
    """A ball of `radius` mm in a box that just holds it, (z, y, x)."""
    axes = [np.arange(-np.ceil(radius / s), np.ceil(radius / s) + 1) * s for s in reversed(spacing)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return x**2 + y**2 + z**2 <= radius**2


def test_a_box_has_the_volume_area_and_diameter_of_its_surface() -> None:
    mask = np.ones((4, 3, 2), bool)
    found = mesh(mask, (1.0, 2.0, 3.0))
    # marching cubes cut each edge of a voxel box at half a voxel: the corners of the surface lie on the box's faces
    assert np.ptp(found.corners, axis=0).tolist() == [2, 6, 12]
    assert 0.75 * 144 < found.volume < 144
    values = morphology(np.random.default_rng(0).normal(size=mask.shape), mask, mask, (1.0, 2.0, 3.0))
    assert list(values) == list(NAMES)
    assert values["morph_approximate_volume_YEKZ"] == 144
    assert values["morph_volume_density_aabb_PBX1"] == pytest.approx(found.volume / 144)
    centres = (np.stack(np.nonzero(mask)[::-1], 1) * (1.0, 2.0, 3.0)).astype(float)
    assert values["morph_major_axis_length_TDIC"] == pytest.approx(
        4 * np.sqrt(np.linalg.eigvalsh(np.cov(centres.T))[2])
    )


def test_the_surface_is_closed_so_that_its_volume_does_not_depend_on_its_place() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.random((5, 6, 7)) < 0.4  # full of diagonal neighbours
        far = np.zeros((60, 60, 60), bool)
        far[50:55, 50:56, 50:57] = mask
        here, there = mesh(mask, (1.0, 1.5, 2.0)), mesh(far, (1.0, 1.5, 2.0))
        assert here.volume == pytest.approx(there.volume, rel=1e-9)
        assert here.area == pytest.approx(there.area, rel=1e-9)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 0.8, 2.0)])
def test_a_ball_is_a_ball(spacing: tuple[float, float, float]) -> None:
    mask = ball(16, spacing)
    x = np.random.default_rng(0).normal(10, 1, mask.shape)
    found = morphology(x, mask, mask, spacing)
    assert found["morph_volume_RNU0"] == pytest.approx(4 / 3 * np.pi * 16**3, rel=0.02)
    assert found["morph_maximum_diameter_L0JK"] == pytest.approx(32 + spacing[2], abs=0.7)
    assert found["morph_sphericity_QCFX"] > 0.87
    assert found["morph_elongation_Q3CK"] == pytest.approx(1, abs=0.01)
    assert found["morph_flatness_N17B"] == pytest.approx(1, abs=0.02)
    assert found["morph_volume_density_mvee_SWZ1"] == pytest.approx(0.93, abs=0.05)
    assert found["morph_volume_density_ombb_ZH1A"] == pytest.approx(np.pi / 6, abs=0.03)
    assert found["morph_integrated_intensity_99N0"] == pytest.approx(found["morph_volume_RNU0"] * x[mask].mean())


def pairs(x: np.ndarray, inside: np.ndarray, spacing: tuple[float, ...]) -> tuple[float, float]:
    """Moran's I and Geary's C over all pairs, as they are written in the standard."""
    at = np.stack(np.nonzero(inside)[::-1], 1) * np.array(spacing)
    v = x[inside]
    distance = np.sqrt(((at[:, None] - at[None]) ** 2).sum(-1))
    w = np.where(distance > 0, 1 / np.where(distance > 0, distance, 1), 0)
    d = v - v.mean()
    n = len(v)
    moran = n / w.sum() * (w * d[:, None] * d[None]).sum() / (d**2).sum()
    geary = (n - 1) / (2 * w.sum()) * (w * (v[:, None] - v[None]) ** 2).sum() / (d**2).sum()
    return float(moran), float(geary)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_moran_and_geary_equal_the_sums_over_all_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 8, 3))
    inside = rng.random(shape) < 0.7
    inside.ravel()[:2] = True
    if inside.sum() < 2:
        return
    spacing = tuple(rng.uniform(0.5, 4, 3))
    x = rng.normal(100, 20, shape)
    np.testing.assert_allclose(
        _autocorrelation.moran_and_geary(x, inside, spacing), pairs(x, inside, spacing), rtol=1e-9, atol=1e-11
    )


def test_a_region_too_large_for_the_transform_is_thinned_along_its_finest_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(size=(12, 12, 12)).cumsum(0)
    inside = np.ones(x.shape, bool)
    monkeypatch.setattr(_autocorrelation, "MOST_POINTS", 8 * 12 * 12 * 6)
    found = _autocorrelation.moran_and_geary(x, inside, (1.0, 1.5, 2.0))
    np.testing.assert_allclose(found, pairs(x[..., ::2], inside[..., ::2], (2.0, 1.5, 2.0)), rtol=1e-9)


def turn(angles: tuple[float, float, float]) -> np.ndarray:
    made = np.eye(3)
    for k, angle in enumerate(angles):
        one = np.eye(3)
        i, j = [a for a in range(3) if a != k]
        one[i, i] = one[j, j] = np.cos(angle)
        one[i, j], one[j, i] = -np.sin(angle), np.sin(angle)
        made = made @ one
    return made


@given(angles=st.tuples(*[st.floats(-1.5, 1.5)] * 3), sides=st.tuples(*[st.floats(1, 9)] * 3))
@settings(max_examples=15, deadline=None)
def test_the_smallest_box_around_a_turned_box_is_that_box(
    angles: tuple[float, float, float], sides: tuple[float, float, float]
) -> None:
    from scipy.spatial import ConvexHull

    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * sides @ turn(angles).T
    hull = ConvexHull(corners)
    areas = np.array([np.linalg.norm(np.cross(*(corners[s[1:]] - corners[s[0]]))) / 2 for s in hull.simplices])
    found = smallest_box(corners, hull.equations[:, :3], areas)
    np.testing.assert_allclose(sorted(found), sorted(sides), rtol=1e-5)


@given(angles=st.tuples(*[st.floats(-1.5, 1.5)] * 3), seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_the_smallest_ellipsoid_around_points_of_an_ellipsoid_is_that_ellipsoid(
    angles: tuple[float, float, float], seed: int
) -> None:
    points = np.random.default_rng(seed).normal(size=(400, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    points = np.vstack([points, np.eye(3), -np.eye(3)])
    found = smallest_ellipsoid(points * (9, 5, 2) @ turn(angles).T + (100, -50, 7))
    np.testing.assert_allclose(np.prod(found), 90, rtol=3e-3)
    np.testing.assert_allclose(found, (9, 5, 2), rtol=0.02)


def test_the_area_of_an_ellipsoid_is_the_series_of_the_standard() -> None:
    from scipy.special import eval_legendre

    assert ellipsoid_area(3, 3, 3) == pytest.approx(4 * np.pi * 9)
    a, b, c = 5.7, 4.65, 4.27
    alpha, beta = np.sqrt(1 - b**2 / a**2), np.sqrt(1 - c**2 / a**2)
    at = (alpha**2 + beta**2) / (2 * alpha * beta)
    terms = [(alpha * beta) ** v / (1 - 4 * v**2) * eval_legendre(v, at) for v in range(21)]
    assert ellipsoid_area(a, b, c) == pytest.approx(4 * np.pi * a * b * sum(terms))
    assert ellipsoid_area(3, 3, 2) == pytest.approx(ellipsoid_area(3, 3 - 1e-9, 2))


def test_the_peaks_are_means_over_a_sphere_of_what_the_image_holds() -> None:
    spacing = (2.0, 3.0, 2.5)
    x = np.random.default_rng(0).normal(size=(9, 8, 12))
    inside = np.zeros(x.shape, bool)
    inside[0:4, 2:6, 3:9] = True
    z, y, xx = np.indices(x.shape)

    def mean(at: np.ndarray) -> float:
        away = ((z - at[0]) * 2.5) ** 2 + ((y - at[1]) * 3.0) ** 2 + ((xx - at[2]) * 2.0) ** 2
        return float(x[away <= RADIUS_MM**2].mean())

    means = {tuple(at): mean(at) for at in np.argwhere(inside)}
    brightest = max(means, key=lambda at: x[at])
    found = local_intensity(x, inside, spacing)
    assert found["loc_local_intensity_peak_VJGA"] == pytest.approx(means[brightest])
    assert found["loc_global_intensity_peak_0F91"] == pytest.approx(max(means.values()))


def test_of_several_brightest_voxels_the_highest_mean_counts() -> None:
    x = np.zeros((3, 3, 60))
    x[1, 1, [10, 40]] = 9
    x[1, 1, 41] = 8
    inside = np.zeros(x.shape, bool)
    inside[1, 1, 8:50] = True
    found = local_intensity(x, inside, (1.0, 1.0, 1.0))
    assert found["loc_local_intensity_peak_VJGA"] == pytest.approx(17 / 117)


@pytest.mark.parametrize(
    ("shape", "names"),
    [((1, 1, 1), "morph_volume_density_aee_6BDE in a region of 1 voxels"), ((1, 4, 5), "aee_6BDE in a region of 20")],
)
def test_a_region_without_extent_is_refused_with_the_feature_and_its_size(shape: tuple[int, ...], names: str) -> None:
    mask = np.ones(shape, bool)
    with pytest.raises(FeatureError, match=names):
        morphology(np.arange(mask.size, dtype=float).reshape(shape) + 1, mask, mask, (1.0, 1.0, 1.0))
    with pytest.raises(FeatureError, match="after re-segmentation"):
        morphology(np.ones(shape), mask, ~mask, (1.0, 1.0, 1.0))
    with pytest.raises(FeatureError, match="sum to zero"):
        morphology(np.array([[[-1.0, 1.0]]]), np.ones((1, 1, 2), bool), np.ones((1, 1, 2), bool), (1.0, 1.0, 1.0))
