"""Tests of QuPath GeoJSON, read and written."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from phenolens.core.errors import AnnotationError
from phenolens.core.types import Frame
from phenolens.slides.annotation import read_annotation, read_shapes, write_annotation

FRAME = Frame(shape=(1000, 800), spacing=(0.5, 0.5), origin=(0, 0), unit="um")


def square(x: float = 100, y: float = 100, side: float = 200) -> list[list[list[float]]]:
    return [[[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]]


def polygon(**place: float) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": square(**place)}


def feature(geometry: dict[str, Any], name: str | None = "Tumor", **properties: Any) -> dict[str, Any]:
    if name is not None:
        properties["classification"] = {"name": name, "color": [200, 0, 0]}
    return {"type": "Feature", "id": "x", "geometry": geometry, "properties": properties}


def write(tmp_path: Path, content: Any, name: str = "a.geojson") -> Path:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "content",
    [
        feature(polygon()),
        [feature(polygon())],
        {"type": "FeatureCollection", "features": [feature(polygon())]},
        [{"type": "FeatureCollection", "features": [feature(polygon())]}],
        feature({"type": "MultiPolygon", "coordinates": [square()]}),
        feature({"type": "GeometryCollection", "geometries": [polygon(), {"type": "Point", "coordinates": [1, 1]}]}),
    ],
)
def test_every_wrapping_of_a_polygon_is_read(tmp_path: Path, content: Any) -> None:
    assert read_annotation(write(tmp_path, content), "Tumor", FRAME).area.equals(shapely.box(100, 100, 300, 300))


def test_bare_geometry_has_no_class_and_is_taken_by_a_star(tmp_path: Path) -> None:
    path = write(tmp_path, polygon())
    assert read_annotation(path, "*", FRAME).area.area == 200**2
    with pytest.raises(AnnotationError, match=r"\(no class\) \(1\)"):
        read_annotation(path, "Tumor", FRAME)


def test_holes_are_kept(tmp_path: Path) -> None:
    rings = square() + square(150, 150, 50)
    area = read_annotation(write(tmp_path, feature({"type": "Polygon", "coordinates": rings})), "Tumor", FRAME).area
    assert area.area == 200**2 - 50**2
    assert len(area.geoms[0].interiors) == 1


@pytest.mark.parametrize(
    "properties",
    [
        {"classification": {"name": "Tumor: Positive"}},
        {"classification": {"names": ["Tumor", "Positive"]}},
        {"classification": "Tumor: Positive"},
        {"name": "Tumor: Positive"},
        {"classification": None, "name": "tumor"},
    ],
)
def test_nested_class_counts_as_its_parent(tmp_path: Path, properties: dict[str, Any]) -> None:
    path = write(tmp_path, {"type": "Feature", "geometry": polygon(), "properties": properties})
    assert read_annotation(path, "Tumor", FRAME).area.area == 200**2


def test_nested_class_can_be_asked_for_and_is_not_its_sibling(tmp_path: Path) -> None:
    both = [feature(polygon(), "Tumor: Positive"), feature(polygon(x=500), "Tumor: Negative")]
    path = write(tmp_path, both)
    assert read_annotation(path, "Tumor: Positive", FRAME).area.bounds[2] == 300
    assert read_annotation(path, "Tumor", FRAME).area.area == 2 * 200**2
    with pytest.raises(AnnotationError, match="'Positive' not found"):
        read_annotation(path, "Positive", FRAME)


def test_class_in_another_letter_case_is_taken_with_a_note(tmp_path: Path) -> None:
    found = read_annotation(write(tmp_path, feature(polygon(), "TUMOR")), "Tumor", FRAME)
    assert any("letter case" in note and "TUMOR" in note for note in found.notes)


def test_unknown_class_lists_those_there_are_and_the_nearest(tmp_path: Path) -> None:
    content = [feature(polygon(), "Tumour") for _ in range(3)] + [feature(polygon(), "Stroma")]
    with pytest.raises(AnnotationError) as caught:
        read_annotation(write(tmp_path, content), "Tumor", FRAME)
    assert caught.value.found == "annotation class 'Tumor' not found; classes in this file: Tumour (3), Stroma (1)"
    assert "did you mean 'Tumour'?" in caught.value.todo


def test_points_lines_and_detections_are_ignored_with_a_note(tmp_path: Path) -> None:
    line = {"type": "LineString", "coordinates": [[0, 0], [5, 5]]}
    content = [feature(polygon()), feature(line), feature({"type": "Point", "coordinates": [1, 2]})]
    content += [feature(polygon(x=600), objectType="detection"), feature(polygon(x=600), objectType="cell")]
    found = read_annotation(write(tmp_path, content), "Tumor", FRAME)
    assert found.area.bounds[2] == 300
    assert set(found.notes) == {
        "1 LineString objects ignored",
        "1 Point objects ignored",
        "1 objects of type detection ignored",
        "1 objects of type cell ignored",
    }


def test_file_without_any_polygon_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"no polygon \(1 Point objects ignored\)"):
        read_annotation(write(tmp_path, feature({"type": "Point", "coordinates": [1, 2]})), "Tumor", FRAME)


def test_crossing_ring_is_repaired_and_reported(tmp_path: Path) -> None:
    bow = {"type": "Polygon", "coordinates": [[[0, 0], [100, 100], [100, 0], [0, 100], [0, 0]]]}
    found = read_annotation(write(tmp_path, feature(bow)), "Tumor", FRAME)
    assert found.area.is_valid
    assert found.area.area == pytest.approx(5000)
    assert any("self-intersection repaired, area 5000" in note for note in found.notes)


def test_open_and_degenerate_rings_are_mended_and_reported(tmp_path: Path) -> None:
    rings = [square()[0][:-1], [[5, 5], [6, 6]]]
    found = read_annotation(write(tmp_path, feature({"type": "Polygon", "coordinates": rings})), "Tumor", FRAME)
    assert found.area.area == 200**2
    assert any("fewer than 3 points" in note for note in found.notes)


def test_offset_of_the_scanned_area_moves_the_annotation(tmp_path: Path) -> None:
    found = read_annotation(write(tmp_path, feature(polygon())), "Tumor", FRAME, offset=(50, 20))
    assert found.area.bounds == (150, 120, 350, 320)
    assert any("moved by (50, 20) px" in note for note in found.notes)


def test_annotation_partly_outside_is_clipped_with_a_note(tmp_path: Path) -> None:
    found = read_annotation(write(tmp_path, feature(polygon(x=900))), "Tumor", FRAME)
    assert found.area.area == pytest.approx(100 * 200)
    assert any(note.startswith("50.00% of the annotation lies outside") for note in found.notes)


def test_annotation_wholly_outside_is_refused_with_both_extents(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="x 2000 to 2200, y 100 to 300.*x 0 to 1000, y 0 to 800"):
        read_annotation(write(tmp_path, feature(polygon(x=2000))), "Tumor", FRAME)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (feature({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 0]]]}), "without an area"),
        ("[" * 100_000, "nested without end"),
    ],
)
def test_polygons_without_area_and_endless_nesting_are_refused(tmp_path: Path, content: Any, words: str) -> None:
    with pytest.raises(AnnotationError, match=words):
        read_annotation(write(tmp_path, content), "Tumor", FRAME)


def test_properties_that_are_no_mapping_are_an_object_without_class(tmp_path: Path) -> None:
    odd = {"type": "Feature", "geometry": polygon(), "properties": "Tumor"}
    assert read_shapes(write(tmp_path, odd))[0][0].label == "(no class)"


def test_gzip_and_byte_order_mark_are_read(tmp_path: Path) -> None:
    text = json.dumps(feature(polygon()))
    packed = tmp_path / "a.geojson.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    marked = tmp_path / "b.geojson"
    marked.write_text(text, encoding="utf-8-sig")
    assert read_annotation(packed, "Tumor", FRAME).area.equals(read_annotation(marked, "Tumor", FRAME).area)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"type": "Feature", "geometry": {', "not JSON.*line 1, column 34.*cut short"),
        ("", "not JSON"),
        ('{"a": 1}', "without a GeoJSON type"),
        ('{"type": "Topology"}', "type 'Topology'"),
        ("[1, 2]", "without a GeoJSON type"),
        ('{"type": "Polygon", "coordinates": [[[0, 0], [1, "a"], [2, 2]]]}', "not rings of x, y"),
        ('{"type": "Polygon", "coordinates": [[[0, 0], [1, NaN], [2, 2]]]}', "not a finite number"),
        ('{"type": "Polygon", "coordinates": null}', "not rings of x, y"),
    ],
)
def test_broken_file_is_refused_with_what_was_found(tmp_path: Path, content: str, words: str) -> None:
    with pytest.raises(AnnotationError, match=words):
        read_annotation(write(tmp_path, content), "*", FRAME)


def test_damaged_gzip_and_missing_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson.gz"
    path.write_bytes(gzip.compress(b'{"type": "Feature"}' * 50)[:30])
    with pytest.raises(AnnotationError, match="not text"):
        read_annotation(path, "Tumor", FRAME)
    with pytest.raises(AnnotationError, match="no annotation file"):
        read_annotation(tmp_path / "none.geojson", "Tumor", FRAME)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("asap/asap-polygon.xml", "XML, as ASAP"),
        ("cytomine/cytomine-polygon.txt", "Cytomine"),
        ("sectra/pathologycore-area.json", "Sectra"),
        ("sectra/pathologycore-polyline.json", "Sectra"),
    ],
)
def test_exports_of_other_programs_are_refused_by_name(real_data: Path, file: str, words: str) -> None:
    with pytest.raises(AnnotationError, match=f"{words}.*QuPath GeoJSON"):
        read_shapes(real_data / "slides" / "wsidicom-annotations" / file)


@pytest.mark.parametrize("name", ["brush", "ellipse", "polygon", "rectangle", "wand"])
def test_real_qupath_areas_are_read(real_data: Path, name: str) -> None:
    path = real_data / "slides" / "wsidicom-annotations" / "qupath_geojson" / f"qupath-{name}.json"
    frame = Frame(shape=(40000, 30000), spacing=(0.25, 0.25), origin=(0, 0), unit="um")
    drawn = shapely.from_geojson(json.dumps(json.loads(path.read_text())["geometry"]))
    assert read_annotation(path, name, frame).area.symmetric_difference(drawn).area < 1e-6


@pytest.mark.parametrize("name", ["line", "multipoint", "point", "polyline"])
def test_real_qupath_lines_and_points_are_no_region(real_data: Path, name: str) -> None:
    with pytest.raises(AnnotationError, match="no polygon"):
        read_shapes(real_data / "slides" / "wsidicom-annotations" / "qupath_geojson" / f"qupath-{name}.json")


def test_real_classified_qupath_export_lists_its_classes(real_data: Path) -> None:
    path = real_data / "slides" / "wsidicom-annotations" / "qupath_geojson_advanced"
    with pytest.raises(AnnotationError, match=r"classes in this file: .+ \(\d+\)"):
        read_annotation(path / "qupath-polygon-cell-classified.json", "Nothing like it", FRAME)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(50, 900), st.floats(50, 700), st.floats(1, 49)), min_size=1, max_size=5),
    st.tuples(st.integers(0, 300), st.integers(0, 300)),
)
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, circles, offset) -> None:
    area = shapely.union_all([shapely.Point(x, y).buffer(r) for x, y, r in circles])
    path = tmp_path_factory.mktemp("written") / "a.geojson"
    write_annotation(path, [(area, "Tumor: Positive"), (shapely.box(0, 0, 5, 5), "Stroma")], offset=offset)
    found = read_annotation(path, "Tumor", FRAME, offset=offset)
    assert found.area.symmetric_difference(area).area < 1e-6
    assert {s.label for s in read_shapes(path)[0]} == {"Tumor: Positive", "Stroma"}
