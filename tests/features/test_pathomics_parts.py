"""Parts of `pathomics` against reference implementations and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.feature import graycomatrix, graycoprops
from skimage.measure import regionprops
from skimage.segmentation import relabel_sequential

from phenolens.features.pathomics import shape, texture
from phenolens.features.pathomics.nuclei import fill_holes, otsu, segment
from phenolens.features.pathomics.population import statistics
from phenolens.features.pathomics.scene import Scene, block_mean, make_scene

ALL = ("mean", "sd", "p10", "p50", "p90")


def blobs(seed: int, size: int = 160) -> np.ndarray:
    rng = np.random.default_rng(seed)
    labels = np.zeros((size, size), np.int32)
    row, column = np.mgrid[:size, :size]
    for number in range(1, 16):
        y, x, a, b, t = *rng.uniform(20, size - 20, 2), *rng.uniform(6, 14, 2), rng.uniform(0, np.pi)
        along, across = (
            (column - x) * np.cos(t) + (row - y) * np.sin(t),
            (row - y) * np.cos(t) - (column - x) * np.sin(t),
        )
        labels[((along / a) ** 2 + (across / b) ** 2 <= 1) & (labels == 0)] = number
    return relabel_sequential(labels)[0].astype(np.int32)


def scene_of(haematoxylin: np.ndarray, mpp: float = 1.0, tissue: np.ndarray | None = None) -> Scene:
    image = haematoxylin.astype(np.float32)
    inside = np.ones(image.shape, bool) if tissue is None else tissue
    return Scene(
        haematoxylin=image, eosin=image / 2, residual=image * 0, density=image, saturation=image, tissue=inside, mpp=mpp
    )


@pytest.mark.parametrize("distance", [1, 2, 8])
def test_cooccurrence_and_haralick_equal_scikit_image(distance: int):
    levels = np.random.default_rng(0).integers(0, texture.LEVELS, (60, 47))
    ours = texture.cooccurrence(levels.astype(np.intp), distance)
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    counts = graycomatrix(levels.astype(np.uint8), [distance], angles, texture.LEVELS, symmetric=True)
    reference = counts.sum(axis=3, keepdims=True) / counts.sum()
    np.testing.assert_allclose(ours, reference[:, :, 0, 0], atol=1e-12)
    values = texture.haralick(ours)
    for name, known in (
        ("contrast", "contrast"),
        ("homogeneity", "homogeneity"),
        ("energy", "energy"),
        ("correlation", "correlation"),
    ):
        assert values[name] == pytest.approx(graycoprops(reference, known)[0, 0], rel=1e-9), name
    assert values["entropy"] == pytest.approx(graycoprops(reference, "entropy")[0, 0] / np.log(2), rel=1e-6)


def test_cooccurrence_leaves_glass_out():
    levels = np.full((20, 20), 5, np.intp)
    levels[:, 10:] = texture.LEVELS
    matrix = texture.cooccurrence(levels, 2)
    assert matrix[5, 5] == 1.0
    assert matrix.sum() == 1.0


def test_haralick_of_one_level_and_of_nothing():
    one = texture.cooccurrence(np.full((9, 9), 3, np.intp), 1)
    assert texture.haralick(one) == pytest.approx(
        {"contrast": 0, "homogeneity": 1, "energy": 1, "correlation": 1, "entropy": 0}
    )
    assert set(texture.haralick(np.zeros((16, 16))).values()) == {0.0}


def test_shape_equals_scikit_image_on_random_ellipses():
    labels = blobs(1)
    stain = np.random.default_rng(2).random(labels.shape)
    table = shape.measure(labels, scene_of(stain)).table
    regions = regionprops(labels, intensity_image=stain.astype(np.float32))
    np.testing.assert_allclose(table["area_um2"], [r.area for r in regions])
    major, minor = (
        np.hypot([getattr(r, f"axis_{a}_length") for r in regions], 4 / np.sqrt(12)) for a in ("major", "minor")
    )
    np.testing.assert_allclose(table["major_axis_um"], major, rtol=1e-6)
    np.testing.assert_allclose(table["minor_axis_um"], minor, rtol=1e-6)
    np.testing.assert_allclose(table["eccentricity"], np.sqrt(1 - (minor / major) ** 2), atol=1e-6)
    np.testing.assert_allclose(table["haematoxylin"], [r.intensity_mean for r in regions], rtol=1e-5)
    np.testing.assert_allclose(table["max_caliper_um"], [r.feret_diameter_max for r in regions], rtol=0.05)
    large = table["area_um2"] > 150
    np.testing.assert_allclose(table["solidity"][large], np.array([r.solidity for r in regions])[large], atol=0.04)
    perimeter = np.sqrt(4 * np.pi * table["area_um2"] / table["circularity"])
    free = table["circularity"] < 1
    np.testing.assert_allclose(perimeter[free], np.array([r.perimeter_crofton for r in regions])[free], rtol=0.03)


def test_skewness_and_rim_of_a_drawn_nucleus():
    labels = np.zeros((21, 21), np.int32)
    labels[5:16, 5:16] = 1
    stain = np.where(labels, 0.4, 0.0)
    stain[6:15, 6:15] = 0.9
    table = shape.measure(labels, scene_of(stain)).table
    assert table["rim_minus_core"][0] == pytest.approx(-0.5, abs=1e-6)
    values = stain[labels == 1]
    expected = ((values - values.mean()) ** 3).mean() / values.std() ** 3
    assert table["haematoxylin_skewness"][0] == pytest.approx(expected, rel=1e-5)


def test_measures_of_no_nuclei_are_empty():
    nuclei = shape.measure(np.zeros((30, 30), np.int32), scene_of(np.zeros((30, 30))))
    assert {len(values) for values in nuclei.table.values()} == {0}
    assert nuclei.whole.shape == (0,)


def test_labels_are_numbered_without_gaps():
    tile = np.full((224, 224, 3), (230, 170, 205), np.uint8)
    for row, column in ((40, 40), (40, 54), (120, 60), (150, 150)):
        tile[row : row + 14, column : column + 14] = (90, 60, 140)
    labels = segment(make_scene(tile, 0.5))
    assert sorted(np.unique(labels)) == [0, 1, 2, 3][: labels.max() + 1]
    assert labels.max() >= 3


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_statistics_equal_numpy(count: int):
    values = np.random.default_rng(count).normal(size=count)
    expected = (values.mean(), values.std(), *np.percentile(values, [10, 50, 90]))
    assert tuple(statistics(values, ALL).values()) == pytest.approx(expected)
    assert set(statistics(values[:0], ALL).values()) == {0.0}


def test_otsu_parts_two_peaks_in_the_middle():
    values = np.concatenate([np.full(900, 0.1), np.full(100, 0.7)]).astype(np.float32)
    assert otsu(values) == pytest.approx(0.4, abs=0.03)


def test_only_small_enclosed_holes_are_filled():
    mask = np.ones((30, 30), bool)
    mask[3:5, 3:5] = mask[10:20, 10:20] = mask[0, 25] = False
    filled = fill_holes(mask, 10)
    assert filled[3, 3]
    assert not filled[15, 15]
    assert not filled[0, 25]


def test_block_mean_averages_and_drops_the_rest():
    image = np.arange(5 * 7, dtype=np.uint8).reshape(5, 7)
    np.testing.assert_allclose(block_mean(image, 2), image[:4, :6].reshape(2, 2, 3, 2).mean(axis=(1, 3)))


@pytest.mark.parametrize("angle", [0.0, 0.6, 1.4])
def test_stripes_are_coherent_at_every_scale_and_direction(angle: float):
    row, column = np.mgrid[:224, :224] * 0.5
    wave = 0.5 + 0.3 * np.sin(2 * np.pi * (column * np.cos(angle) + row * np.sin(angle)) / 12)
    seen = texture.measure(scene_of(wave, 0.5))
    assert seen["coherence_5um"] > 0.95
    assert seen["coherence_40um"] > 0.95
    assert seen["coherence_tile"] > 0.95
    assert seen["orientation_entropy"] < 0.35


def test_noise_has_no_direction_and_rings_only_nearby():
    noise = texture.measure(scene_of(np.random.default_rng(0).random((224, 224)), 0.5))
    row, column = np.mgrid[:224, :224] * 0.5 - 56
    rings = texture.measure(scene_of(0.5 + 0.3 * np.sin(2 * np.pi * np.hypot(row, column) / 12), 0.5))
    assert noise["coherence_40um"] < 0.2
    assert noise["orientation_entropy"] > 0.95
    assert rings["coherence_5um"] > 0.8
    assert rings["coherence_tile"] < 0.1
    assert rings["coherence_5um"] > rings["coherence_40um"] + 0.15
