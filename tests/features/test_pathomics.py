"""The encoder `pathomics` against drawn tissue whose measures are known."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from phenolens.core.errors import FeatureError
from phenolens.core.registry import ENCODERS, Choice
from phenolens.core.types import Rgb
from phenolens.features.encoders.pathomics import Pathomics, encode, measure_tile
from phenolens.slides.stain import DAB, EOSIN, HAEMATOXYLIN

Ellipse = tuple[float, float, float, float, float]
"""Row and column of the centre, major and minor semi-axis in um, angle of the major axis from the row in radians."""

SIDE_UM = 112.0


def draw(nuclei: list[Ellipse], mpp: float = 0.5, side_um: float = SIDE_UM, holes: tuple[Ellipse, ...] = ()) -> Rgb:
    """A square of pink stroma with blue ellipses and white holes, averaged from four by four points a pixel."""
    size, fine = round(side_um / mpp), 4
    row, column = (np.mgrid[: size * fine, : size * fine] + 0.5) * (mpp / fine)
    amounts = np.zeros((2, *row.shape))
    amounts[1] = 0.25
    for shapes, (blue, pink) in ((nuclei, (0.9, 0.1)), (holes, (0.0, 0.0))):
        for ellipse in shapes:
            inside = _inside(row, column, ellipse)
            amounts[0][inside], amounts[1][inside] = blue, pink
    unit = np.array([HAEMATOXYLIN, EOSIN]) / np.linalg.norm([HAEMATOXYLIN, EOSIN], axis=1, keepdims=True)
    light = 256 * 10 ** -np.tensordot(amounts, unit, axes=(0, 0)) - 1
    return np.rint(light.reshape(size, fine, size, fine, 3).mean(axis=(1, 3))).clip(0, 255).astype(np.uint8)


def _inside(row: np.ndarray, column: np.ndarray, ellipse: Ellipse) -> np.ndarray:
    y, x, major, minor, angle = ellipse
    along = (column - x) * np.cos(angle) + (row - y) * np.sin(angle)
    across = (row - y) * np.cos(angle) - (column - x) * np.sin(angle)
    return (along / major) ** 2 + (across / minor) ** 2 <= 1


def grid(major: float, minor: float, angle: float, step: float = 18.0) -> list[Ellipse]:
    places = np.arange(step / 2 + 2, SIDE_UM - step / 2, step)
    return [(y, x, major, minor, angle) for y in places for x in places]


def test_counts_areas_axes_and_calipers_of_drawn_ellipses_come_back():
    nuclei = grid(5.0, 3.0, 0.5)
    seen = measure_tile(draw(nuclei), 0.5)
    assert seen["nuclei_present"] == 1.0
    assert seen["cell_count"] == len(nuclei)
    assert seen["cells_per_mm2"] == pytest.approx(len(nuclei) / (SIDE_UM / 1000) ** 2, rel=1e-6)
    assert seen["nucleus_area_um2_mean"] == pytest.approx(np.pi * 15, rel=0.08)
    assert seen["nucleus_major_axis_um_mean"] == pytest.approx(10.0, rel=0.05)
    assert seen["nucleus_minor_axis_um_mean"] == pytest.approx(6.0, rel=0.06)
    assert seen["nucleus_max_caliper_um_mean"] == pytest.approx(10.0, rel=0.06)
    assert seen["nucleus_min_caliper_um_mean"] == pytest.approx(6.0, rel=0.1)
    assert seen["nucleus_elongation_mean"] == pytest.approx(0.4, abs=0.05)
    assert seen["nucleus_eccentricity_mean"] == pytest.approx(0.8, abs=0.05)
    assert seen["nucleus_haematoxylin_mean"] == pytest.approx(0.9, rel=0.12)
    assert seen["nucleus_solidity_mean"] > 0.9


def test_circles_are_round_and_spindles_are_not():
    discs = measure_tile(draw(grid(4.0, 4.0, 0.0)), 0.5)
    spindles = measure_tile(draw(grid(7.0, 1.8, 0.3)), 0.5)
    assert discs["nucleus_circularity_mean"] > 0.93
    assert discs["nucleus_elongation_mean"] < 0.05
    assert spindles["nucleus_circularity_mean"] < 0.75
    assert spindles["nucleus_elongation_mean"] > 0.6


def test_nucleus_to_cell_area_ratio_is_that_of_a_ring_of_five_micrometres():
    seen = measure_tile(draw([(56.0, 56.0, 4.0, 4.0, 0.0)]), 0.5)
    assert seen["nucleus_cell_area_ratio_mean"] == pytest.approx(16 / 81, rel=0.1)


def test_crowded_cells_share_the_space_between_their_nuclei():
    sparse = measure_tile(draw(grid(3.0, 3.0, 0.0, step=18.0)), 0.5)
    dense = measure_tile(draw(grid(3.0, 3.0, 0.0, step=9.0)), 0.5)
    assert dense["nucleus_cell_area_ratio_mean"] == pytest.approx(np.pi * 9 / 81, rel=0.12)
    assert dense["nucleus_cell_area_ratio_mean"] > 1.5 * sparse["nucleus_cell_area_ratio_mean"]


def test_touching_nuclei_are_parted_and_a_long_one_is_not():
    pair = [(56.0, 50.0, 4.0, 4.0, 0.0), (56.0, 57.0, 4.0, 4.0, 0.0)]
    assert measure_tile(draw(pair), 0.5)["cell_count"] == 2
    assert measure_tile(draw([(56.0, 56.0, 10.0, 2.5, 0.7)]), 0.5)["cell_count"] == 1


def test_a_bent_nucleus_stays_whole():
    turn = np.linspace(-1, 1, 60)
    bent = [(56 - 10 * np.cos(t), 56 + 10 * np.sin(t), 2.2, 2.2, 0.0) for t in turn]
    seen = measure_tile(draw(bent), 0.5)
    assert seen["cell_count"] == 1
    assert seen["nucleus_solidity_mean"] < 0.88


def test_a_nucleus_cut_by_the_border_counts_half_and_leaves_the_statistics_alone():
    whole = measure_tile(draw([(56.0, 56.0, 5.0, 3.0, 0.0)]), 0.5)
    both = measure_tile(draw([(56.0, 56.0, 5.0, 3.0, 0.0), (0.0, 30.0, 5.0, 5.0, 0.0)]), 0.5)
    assert both["cell_count"] == 1.5
    assert both["nucleus_area_um2_mean"] == pytest.approx(whole["nucleus_area_um2_mean"], rel=0.02)


@pytest.mark.parametrize("mpp", [0.25, 1.0])
def test_the_same_scene_measures_the_same_at_another_resolution(mpp: float):
    nuclei = grid(5.5, 3.5, 1.1)
    at_half, other = measure_tile(draw(nuclei, 0.5), 0.5), measure_tile(draw(nuclei, mpp), mpp)
    tolerance = 0.02 if mpp < 0.5 else 0.12
    for name in ("max_caliper_um", "min_caliper_um", "major_axis_um", "minor_axis_um", "area_um2", "haematoxylin"):
        key = f"nucleus_{name}_mean"
        assert other[key] == pytest.approx(at_half[key], rel=tolerance), key
    assert other["cell_count"] == at_half["cell_count"]
    assert other["neighbour_distance_um_mean"] == pytest.approx(at_half["neighbour_distance_um_mean"], rel=0.02)
    assert other["tissue_haematoxylin_mean"] == pytest.approx(at_half["tissue_haematoxylin_mean"], rel=0.05)


def random_nuclei(seed: int) -> list[Ellipse]:
    rng = np.random.default_rng(seed)
    centres = np.array([(e[0], e[1]) for e in grid(1, 1, 0, step=14.0)]) + rng.uniform(-2, 2, (49, 2))
    return [(y, x, rng.uniform(3, 6), rng.uniform(2, 3), rng.uniform(0, np.pi)) for y, x in centres]


def test_a_quarter_turn_changes_no_feature():
    tile = draw(random_nuclei(1), holes=((40.0, 70.0, 6.0, 6.0, 0.0),))
    upright, turned = encode(np.stack([tile, np.rot90(tile)]), 0.5)
    np.testing.assert_allclose(turned, upright, rtol=0.03, atol=0.015)


def axis_features(angles: np.ndarray) -> dict[str, float]:
    places = [(e[0], e[1]) for e in grid(1, 1, 0, step=14.0)]
    return measure_tile(draw([(y, x, 5.5, 2.0, a) for (y, x), a in zip(places, angles, strict=True)]), 0.5)


def test_axes_tell_fascicles_from_herringbone_from_disorder():
    parallel = axis_features(np.full(49, 0.4))
    crossed = axis_features(0.4 + np.repeat([0, 1, 0, 1, 0, 1, 0], 7) * np.pi / 2)
    random = axis_features(np.random.default_rng(0).uniform(0, np.pi, 49))
    assert parallel["axis_agreement_tile"] > 0.95
    assert parallel["axis_correlation_30_60um"] > 0.9
    assert crossed["axis_agreement_tile"] < 0.3
    assert crossed["axis_two_directions_tile"] > 0.9
    assert random["axis_agreement_tile"] < 0.4
    assert random["axis_two_directions_tile"] < 0.5
    assert random["axis_correlation_15_30um"] < 0.3


def test_axes_of_a_whorl_agree_nearby_and_not_far_away():
    places = np.array([(e[0], e[1]) for e in grid(1, 1, 0, step=14.0)])
    around = np.arctan2(places[:, 0] - 56, places[:, 1] - 56) + np.pi / 2
    whorl = axis_features(around)
    assert whorl["axis_correlation_0_15um"] > 0.5
    assert whorl["axis_correlation_0_15um"] > whorl["axis_correlation_30_60um"] + 0.3


def test_a_lumen_lined_by_nuclei_is_found_with_its_area():
    angles = np.arange(12) * np.pi / 6
    ring = [(56 + 18 * np.sin(a), 56 + 18 * np.cos(a), 3.0, 3.0, 0.0) for a in angles]
    seen = measure_tile(draw(ring, holes=((56.0, 56.0, 10.0, 10.0, 0.0),)), 0.5)
    assert seen["lumen_area_um2_mean"] == pytest.approx(np.pi * 100, rel=0.15)
    assert seen["lumens_per_mm2"] == pytest.approx(1e6 / SIDE_UM**2, rel=0.05)
    assert seen["lumen_lining_share"] == 1.0
    assert seen["vacuole_share"] == 0.0


def test_small_white_spaces_are_vacuoles_and_bare_glass_is_neither():
    holes = tuple((y, x, 3.0, 3.0, 0.0) for y in (20.0, 50.0, 80.0) for x in (20.0, 50.0, 80.0))
    seen = measure_tile(draw([], holes=holes), 0.5)
    assert seen["vacuoles_per_mm2"] == pytest.approx(9e6 / SIDE_UM**2, rel=0.05)
    assert seen["lumen_share"] == 0.0
    glass = draw([])
    glass[:, :100] = 245
    beside = measure_tile(glass, 0.5)
    assert beside["space_share"] == 0.0
    assert beside["tissue_share"] == pytest.approx(124 / 224, abs=0.02)


def test_the_residual_spreads_by_what_neither_stain_explains_and_not_by_stains_or_their_strength():
    both = draw(random_nuclei(1))
    stained = -np.log10((both.astype(float) + 1) / 256)
    third = np.array(DAB) / np.linalg.norm(DAB)
    across = np.cross(HAEMATOXYLIN, EOSIN)
    brown = np.zeros((*both.shape[:2], 1))
    brown[:, :112] = 0.3
    pigmented = np.rint(256 * 10 ** -(stained + brown * third) - 1).astype(np.uint8)
    darker = np.rint(256 * 10 ** -(stained * 1.3) - 1).astype(np.uint8)
    told = [measure_tile(tile, 0.5)["tissue_residual_sd"] for tile in (both, darker, pigmented)]
    assert max(told[:2]) < 0.005
    assert told[2] == pytest.approx(0.15 * third @ across / np.linalg.norm(across), rel=0.02)


def odd_tiles() -> dict[str, Rgb]:
    rng = np.random.default_rng(3)
    return {
        "white": np.full((224, 224, 3), 255, np.uint8),
        "black": np.zeros((224, 224, 3), np.uint8),
        "grey": np.full((224, 224, 3), 128, np.uint8),
        "pink": np.full((224, 224, 3), (230, 160, 200), np.uint8),
        "blue": np.full((224, 224, 3), (60, 40, 140), np.uint8),
        "noise": rng.integers(0, 256, (224, 224, 3), dtype=np.uint8),
        "checker": np.kron(np.indices((112, 112)).sum(0) % 2, np.ones((2, 2)))[..., None].repeat(3, -1).astype(np.uint8)
        * 255,
        "tiny": rng.integers(0, 256, (64, 64, 3), dtype=np.uint8),
        "oblong": rng.integers(100, 256, (70, 131, 3), dtype=np.uint8),
    }


@pytest.mark.parametrize("name", sorted(odd_tiles()))
@pytest.mark.parametrize("mpp", [0.2, 0.5, 2.0])
def test_every_feature_of_any_tile_is_finite(name: str, mpp: float):
    assert np.isfinite(encode(odd_tiles()[name][None], mpp)).all()


def test_a_large_tile_is_measured():
    seen = encode(np.tile(draw(random_nuclei(2)), (4, 4, 1))[None], 0.5)
    assert np.isfinite(seen).all()
    assert dict(zip(Pathomics.names, seen[0], strict=True))["cell_count"] > 16 * 40


@pytest.mark.parametrize("name", ["white", "black", "grey", "pink", "blue"])
def test_a_tile_without_nuclei_says_so_and_its_statistics_are_zero(name: str):
    seen = measure_tile(odd_tiles()[name], 0.5)
    assert seen["nuclei_present"] == 0.0
    assert seen["cell_count"] == 0.0
    assert all(value == 0.0 for key, value in seen.items() if key.startswith(("nucleus_", "cytoplasm_", "axis_")))


def test_stroma_with_stain_noise_has_no_nuclei():
    rng = np.random.default_rng(5)
    tile = np.clip(draw([]).astype(float) + rng.normal(0, 8, (224, 224, 3)), 0, 255).astype(np.uint8)
    assert measure_tile(tile, 0.5)["cell_count"] == 0.0


def test_weak_and_strong_staining_give_the_same_nuclei():
    tile = draw(random_nuclei(4)).astype(float) + 1
    weak = np.rint(256 * (tile / 256) ** 0.5 - 1).astype(np.uint8)
    strong, faint = measure_tile(draw(random_nuclei(4)), 0.5), measure_tile(weak, 0.5)
    assert faint["cell_count"] == strong["cell_count"]
    assert faint["nucleus_area_um2_mean"] == pytest.approx(strong["nucleus_area_um2_mean"], rel=0.05)
    assert faint["nucleus_haematoxylin_mean"] == pytest.approx(strong["nucleus_haematoxylin_mean"] / 2, rel=0.05)


def test_a_batch_equals_its_tiles_one_by_one_and_again():
    tiles = np.stack([draw(random_nuclei(seed)) for seed in (6, 7, 8)])
    together = encode(tiles, 0.5)
    np.testing.assert_array_equal(together, np.concatenate([encode(tile[None], 0.5) for tile in tiles]))
    np.testing.assert_array_equal(together, encode(tiles, 0.5))


def test_no_tiles_give_no_rows():
    assert encode(np.empty((0, 224, 224, 3), np.uint8), 0.5).shape == (0, len(Pathomics.names))


def test_names_are_many_distinct_and_hold_the_four_of_the_soft_tissue_tumour_study():
    names = Pathomics.names
    assert 60 <= len(names) == len(set(names)) <= 110
    four = {
        "cell_count",
        "nucleus_cell_area_ratio_mean",
        "nucleus_haematoxylin_mean",
        "nucleus_max_caliper_um_mean",
    }
    assert four <= set(names)
    assert set(measure_tile(draw([]), 0.5)) == set(names)


def test_the_registry_makes_it_and_its_function_encodes():
    encoder = Choice("encoder", "pathomics").create()
    assert "pathomics" in ENCODERS.names()
    assert (encoder.reads, encoder.makes, encoder.place, encoder.mpp, encoder.size_px) == (
        "slide",
        "bag",
        "cpu",
        None,
        None,
    )
    assert dataclasses.asdict(encoder) == {}
    made = encoder.load("cpu")(draw(random_nuclei(9))[None], 0.5)
    assert made.dtype == np.float32
    assert made.shape == (1, len(encoder.names))


@pytest.mark.parametrize(
    ("tiles", "mpp"),
    [
        (np.zeros((224, 224, 3), np.uint8), 0.5),
        (np.zeros((1, 224, 224, 3), np.float32), 0.5),
        (np.zeros((1, 224, 224, 4), np.uint8), 0.5),
        (np.zeros((1, 224, 224, 3), np.uint8), 0.0),
        (np.zeros((1, 224, 224, 3), np.uint8), float("nan")),
    ],
)
def test_arrays_that_are_not_tiles_and_impossible_resolutions_are_refused(tiles: np.ndarray, mpp: float):
    with pytest.raises(FeatureError, match="expected"):
        encode(tiles, mpp)


def test_nuclei_of_a_real_skin_slide_have_sizes_of_nuclei(real_data: Path):
    openslide = pytest.importorskip("openslide")
    with openslide.OpenSlide(real_data / "slides" / "pathml" / "small_HE.svs") as slide:
        epithelium, dermis, glass = (
            np.asarray(slide.read_region(at, 0, (224, 224)).convert("RGB"))
            for at in ((1500, 2500), (900, 2450), (60, 1300))
        )
    dense, sparse = measure_tile(epithelium, 0.499), measure_tile(dermis, 0.499)
    assert 5500 < dense["cells_per_mm2"] < 9500
    assert 700 < sparse["cells_per_mm2"] < 2500
    for seen in (dense, sparse):
        assert 15 < seen["nucleus_area_um2_p50"] < 60
        assert 5 < seen["nucleus_max_caliper_um_mean"] < 13
        assert seen["nucleus_haematoxylin_mean"] > 1.8 * seen["tissue_haematoxylin_p50"]
    assert measure_tile(glass, 0.499)["cell_count"] == 0.0
