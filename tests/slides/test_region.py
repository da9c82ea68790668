"""Tests of tissue finding on drawn and real slides."""

from __future__ import annotations

from pathlib import Path

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
import shapely
from drawn_slides import FAINT, GLASS, INKS, PINK, PURPLE, cells, disc, frame_of, glass, scan, stroke
from hypothesis import given, settings
from PIL import Image, ImageDraw
from scipy import ndimage

from phenolens.core.errors import ImageError
from phenolens.core.types import Frame
from phenolens.slides.region import RegionSettings, find_tissue, mm2, outline, polygons, thumbnail_px, whole

MPP = 8.0


def found(picture: Image.Image, mpp: float = MPP):
    rgb = scan(picture)
    return find_tissue(rgb, frame_of(rgb, mpp))


def test_tissue_is_found_where_it_was_drawn() -> None:
    tissue = found(disc(glass(), 300, 200, 100))
    drawn = shapely.Point(300, 200).buffer(100)
    overlap = tissue.area.intersection(drawn).area / tissue.area.union(drawn).area
    assert overlap > 0.95


def test_faint_tissue_beside_strong_tissue_is_found() -> None:
    picture = disc(disc(glass(), 150, 200, 100, PURPLE), 450, 200, 100, FAINT)
    area = found(picture).area
    assert area.intersection(shapely.Point(450, 200).buffer(100)).area > 0.95 * np.pi * 100**2


def test_a_large_hole_stays_and_a_small_one_is_filled() -> None:
    picture = disc(disc(disc(glass(), 300, 200, 150), 250, 200, 30, GLASS), 380, 200, 4, GLASS)
    (part,) = found(picture).area.geoms
    (hole,) = part.interiors
    assert shapely.Polygon(hole).centroid.distance(shapely.Point(250, 200)) < 3


def test_specks_of_tissue_are_dropped() -> None:
    picture = disc(disc(glass(), 200, 200, 100), 500, 100, 3)
    assert len(found(picture).area.geoms) == 1


def test_grey_dust_and_shadow_are_not_tissue() -> None:
    picture = disc(disc(disc(glass(), 200, 200, 100), 500, 100, 20, (120, 120, 118)), 500, 300, 30, (200, 199, 201))
    assert found(picture).area.bounds[2] < 310


@pytest.mark.parametrize("ink", sorted(INKS))
def test_pen_on_glass_is_measured_and_is_not_tissue(ink: str) -> None:
    picture = stroke(disc(glass(), 200, 200, 100), [(450, 60), (520, 200), (450, 340)], INKS[ink])
    tissue = found(picture)
    assert tissue.area.bounds[2] < 310
    assert tissue.ink.pen.sum() > 0.8 * 22 * 310


@pytest.mark.parametrize("ink", ["green", "blue", "black"])
def test_pen_over_tissue_is_taken_out_of_it(ink: str) -> None:
    picture = stroke(disc(glass(), 300, 200, 150), [(300, 20), (300, 380)], INKS[ink])
    line = shapely.box(291, 60, 309, 340)
    assert found(picture).area.intersection(line).area < 0.02 * line.area


def test_black_border_is_dark_not_pen_and_not_tissue() -> None:
    picture = disc(glass(), 300, 200, 100)
    ImageDraw.Draw(picture).rectangle((0, 0, 600, 40), fill=(4, 4, 5))
    tissue = found(picture)
    assert tissue.ink.dark.mean() == pytest.approx(41 / 400, abs=0.01)
    assert not tissue.ink.pen.any()
    assert tissue.area.bounds[1] > 90


def test_tissue_has_no_pen_in_it_where_there_is_none() -> None:
    assert not found(cells(glass(), 300, 200, 150)).ink.pen.any()


@pytest.mark.parametrize("spread", [4.0, 15.0])
def test_a_picture_that_is_all_tissue_is_not_cut_in_two(spread: float) -> None:
    rng = np.random.default_rng(1)
    slow = ndimage.gaussian_filter(rng.normal(0, 1, (400, 600)), 30)
    picture = np.array(PINK) + spread * (slow / slow.std())[..., None] + rng.normal(0, 4, (400, 600, 1))
    rgb = picture.clip(0, 255).astype(np.uint8)
    tissue = find_tissue(rgb, frame_of(rgb, MPP))
    assert tissue.mask.mean() > 0.99


@pytest.mark.parametrize("colour", [GLASS, (255, 255, 255), (205, 205, 205), (240, 233, 238)])
def test_glass_without_tissue_is_refused(colour: tuple[int, int, int]) -> None:
    with pytest.raises(ImageError, match="no tissue"):
        found(glass(colour=colour))


@pytest.mark.parametrize("share", [0.65, 1.0])
def test_a_single_ready_cut_tile_is_tissue(share: float) -> None:
    picture = glass(224, 224)
    ImageDraw.Draw(picture).rectangle((0, 0, round(224 * share) - 1, 224), fill=PINK)
    rgb = scan(picture)
    assert find_tissue(rgb, frame_of(rgb, 0.5)).mask.mean() == pytest.approx(share, abs=0.15)


def test_fat_is_tissue_though_its_cells_are_empty() -> None:
    picture = glass(600, 400)
    pen = ImageDraw.Draw(picture)
    for row in range(5):
        for column in range(5):
            x, y = 100 + 50 * column + 25 * (row % 2), 50 + 50 * row
            pen.ellipse((x, y, x + 50, y + 50), outline=(222, 190, 215), width=2)
    area = found(picture, mpp=2.0).area
    assert area.intersection(shapely.box(125, 75, 325, 275)).area > 0.9 * 200 * 200
    assert area.bounds[2] < 400


def test_pen_alone_is_no_tissue() -> None:
    with pytest.raises(ImageError, match="no tissue"):
        found(stroke(glass(), [(100, 100), (500, 300)], INKS["green"]))


def test_tissue_none_takes_the_whole_picture() -> None:
    rgb = scan(glass())
    assert whole(rgb, frame_of(rgb, 1.0)).area.area == 600 * 400


def test_thumbnail_is_bounded_whatever_the_slide() -> None:
    def frame(side: int, mpp: float) -> Frame:
        return Frame(shape=(side, side), spacing=(mpp, mpp), origin=(0, 0), unit="um")

    assert thumbnail_px(frame(200_000, 0.25)) == 3072
    assert thumbnail_px(frame(40_000, 0.25)) == 1250
    assert thumbnail_px(frame(300, 1.0)) == 300


def test_area_in_mm2_uses_both_spacings() -> None:
    frame = Frame(shape=(4000, 4000), spacing=(0.5, 0.25), origin=(0, 0), unit="um")
    assert mm2(shapely.box(0, 0, 2000, 4000), frame) == pytest.approx(1.0)


@settings(max_examples=60, deadline=None)
@given(npst.arrays(bool, (9, 13)))
def test_outline_holds_set_pixels_and_leaves_out_clear_ones(mask: np.ndarray) -> None:
    frame = Frame(shape=(130, 180), spacing=(1.0, 1.0), origin=(0, 0), unit="um")
    area = outline(mask, frame)
    assert area.is_valid
    assert area.difference(shapely.box(0, 0, 130, 180)).area < 1e-9
    rows, columns = np.indices(mask.shape)
    centres = shapely.points((columns + 0.5) * 10, (rows + 0.5) * 20)
    assert (shapely.contains(area, centres) == mask).all()


def test_outline_of_a_full_mask_is_the_slide() -> None:
    frame = Frame(shape=(130, 180), spacing=(1.0, 1.0), origin=(0, 0), unit="um")
    assert outline(np.ones((9, 13), bool), frame).area == pytest.approx(130 * 180)


def test_polygons_keep_their_order_and_drop_lines() -> None:
    mixed = shapely.GeometryCollection(
        [shapely.LineString([(0, 0), (1, 1)]), shapely.box(5, 0, 6, 1), shapely.box(0, 0, 1, 1)]
    )
    assert [p.bounds[0] for p in polygons(mixed).geoms] == [0, 5]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"tissue": "hsv"}, "otsu or none"),
        ({"min_overlap": 1.2}, "between 0 and 1"),
        ({"min_annotation_share": 0.6}, "needs annotation"),
        ({"annotation": "Tumor", "min_annotation_share": 60}, "between 0 and 1"),
        ({"annotation_origin": "level0"}, "qupath or slide"),
    ],
)
def test_impossible_region_settings_are_refused(fault: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RegionSettings(**fault)


def test_real_sarcoma_tiles_full_of_faint_tissue_are_not_split(real_data: Path) -> None:
    folder = real_data / "tiles" / "osteosarcoma"
    for name in ("A7-31694-7282_107", "A17-38558-18797_108", "A15-34291-15707_101"):
        file = folder / f"Non-Viable-Tumor___Case-3-{name}.jpg"
        rgb = np.asarray(Image.open(file).convert("RGB").resize((512, 512), Image.Resampling.BOX))
        assert find_tissue(rgb, frame_of(rgb, 2.0)).mask.mean() > 0.9
