"""Outlines beside tiles: the annotated class, exactly, at the spacing of the tiles."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from featuredata import write_slide

from phenolens.core.errors import AnnotationError, FeatureError
from phenolens.core.registry import Choice
from phenolens.core.store import Store
from phenolens.features.extract import ExtractJob, extract, stored_slide
from phenolens.slides.prepare import SlideJob, load_prepared, prepare
from phenolens.slides.quality import QualitySettings
from phenolens.slides.region import RegionSettings
from phenolens.slides.tiles import TileSettings

DRAWN = shapely.Polygon([(150.3, 90.7), (700.2, 160.1), (520.9, 710.4)])
OUTLINED = Choice("encoder", "pixels", {"quality": None, "outlines": True})


def slide_job(folder: Path, drawn: shapely.Polygon = DRAWN, name: str = "Tumor") -> SlideJob:
    geometry = json.loads(shapely.to_geojson(drawn))
    properties = {"objectType": "annotation", "classification": {"name": name}}
    path = folder / "drawn.geojson"
    path.write_text(json.dumps({"type": "Feature", "geometry": geometry, "properties": properties}))
    slide = write_slide(folder / "s.tif", side=768, seed=3)
    return SlideJob(patient="P", image="s", path=str(slide), annotation=str(path), mpp=0.5)


def prepared(folder: Path, job: SlideJob, region: RegionSettings, mpp: float = 0.75) -> ExtractJob:
    tiles = TileSettings(size_px=64, mpp=mpp)
    none = QualitySettings(min_tissue_mm2=None, max_blur=None, max_pen=None, min_saturation=None)
    key = prepare(job, region, tiles, none, folder)
    rows = tuple(range(len(load_prepared(Store(folder), key).xy)))
    return ExtractJob(slide=job, prepared=key, rows=rows[::-1])


def test_outlines_are_of_the_class_and_tiles_of_all_tissue(tmp_path: Path) -> None:
    job = prepared(tmp_path, slide_job(tmp_path), RegionSettings(tissue="none", outline="Tumor"))
    (outcome,) = extract([job], OUTLINED, tmp_path, workers=0)
    tiles = stored_slide(Store(tmp_path), outcome.unwrap(), OUTLINED).load()
    made = load_prepared(Store(tmp_path), job.prepared)
    there = tiles.inside(range(len(tiles)))
    step = made.side / 64
    assert step == 1.5
    inside = 0
    for (x, y), mask in zip(made.xy[list(job.rows)], there, strict=True):
        rows, columns = np.mgrid[:64, :64]
        expected = shapely.contains_xy(DRAWN, x + (columns + 0.5) * step, y + (rows + 0.5) * step)
        np.testing.assert_array_equal(mask, expected)
        inside += int(mask.sum())
    assert inside * step**2 == pytest.approx(DRAWN.area, rel=0.01)
    assert not there.reshape(len(there), -1).any(1).all()


def test_another_outline_is_another_set_of_tiles_and_no_outline_keeps_the_key(tmp_path: Path) -> None:
    job = slide_job(tmp_path)
    plain = prepared(tmp_path, job, RegionSettings(tissue="none"))
    first = prepared(tmp_path, job, RegionSettings(tissue="none", outline="Tumor"))
    moved = slide_job(tmp_path, shapely.affinity.translate(DRAWN, 9, 0))
    assert prepared(tmp_path, moved, RegionSettings(tissue="none")).prepared == plain.prepared
    assert prepared(tmp_path, moved, RegionSettings(tissue="none", outline="Tumor")).prepared != first.prepared


def test_outlines_without_an_annotation_are_refused(tmp_path: Path) -> None:
    job = prepared(tmp_path, slide_job(tmp_path), RegionSettings(tissue="none"))
    (outcome,) = extract([job], OUTLINED, tmp_path, workers=0)
    assert isinstance(outcome.error, FeatureError)
    assert "of which no annotation was read" in str(outcome.error)


def test_inside_an_annotation_its_part_in_the_tissue_is_the_outline(tmp_path: Path) -> None:
    job = prepared(tmp_path, slide_job(tmp_path), RegionSettings(tissue="none", annotation="Tumor"))
    (outcome,) = extract([job], OUTLINED, tmp_path, workers=0)
    tiles = stored_slide(Store(tmp_path), outcome.unwrap(), OUTLINED).load()
    assert tiles.inside([0]).mean() >= 0.6


def test_a_class_that_is_not_there_names_the_file_the_classes_and_the_key(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"'Tumor' not found; classes in this file: Tumour \(1\)") as caught:
        prepared(tmp_path, slide_job(tmp_path, name="Tumour"), RegionSettings(tissue="none", outline="Tumor"))
    assert caught.value.where.endswith("drawn.geojson")
    assert "correct task.target" in caught.value.todo


def test_an_outline_outside_the_slide_is_named_with_its_place(tmp_path: Path) -> None:
    far = shapely.affinity.translate(DRAWN, 9000, 0)
    with pytest.raises(AnnotationError, match="wholly outside the slide"):
        prepared(tmp_path, slide_job(tmp_path, far), RegionSettings(tissue="none", outline="Tumor"))


def test_an_outline_beside_an_annotation_is_refused() -> None:
    with pytest.raises(ValueError, match="give one of them"):
        RegionSettings(annotation="Tumor", outline="Tumor")
