"""QuPath GeoJSON, read and written: which polygons of which class, in level-0 px of the slide."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import shapely.affinity

from phenolens.core.errors import AnnotationError, nearest
from phenolens.core.store import write_text
from phenolens.core.types import Frame
from phenolens.slides.region import polygons, slide_box

ANY = "*"
NO_CLASS = "(no class)"
_OBJECTS = ("detection", "cell", "tile", "tma_core", "root")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One object of a file: polygons as drawn (not moved), class levels from general to special, what was mended."""

    area: Any
    levels: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return ": ".join(self.levels) or NO_CLASS


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """The chosen class of one slide: area (MultiPolygon, level-0 px, inside the slide), its name, and notes."""

    area: Any
    label: str
    notes: tuple[str, ...]


def read_annotation(
    path: Path,
    label: str,
    frame: Frame,
    *,
    offset: tuple[float, float] = (0, 0),
    asked_by: str = "region.annotation",
) -> Annotation:
    """The union of all polygons of one class, moved by `offset` level-0 px and clipped to the slide.

    label "Tumor" also takes "Tumor: Positive"; "*" takes every polygon; letter case is not looked at, with a note.
    `asked_by` is the key of study.yaml that names the class. Raises AnnotationError for a file that is not QuPath
    GeoJSON, an unknown class (with those there are), and an annotation that lies wholly outside the slide.
    """
    shapes, notes = read_shapes(path)
    chosen = [s for s in shapes if _matches(label, s.levels)]
    if not chosen:
        raise _unknown(label, shapes, path, asked_by)
    exact = {s.levels[: len(_levels(label))] for s in chosen} - {_levels(label)}
    if exact and label != ANY:
        notes.append(f"class '{label}' was taken from '{': '.join(sorted(exact)[0])}' (letter case differs)")
    for shape in chosen:
        notes.extend(shape.notes)
    union = shapely.union_all([s.area for s in chosen])
    if union.is_empty:
        raise AnnotationError(
            f"annotation '{label}' without an area",
            expected="at least one closed polygon",
            todo="draw the region in QuPath again and export it as GeoJSON",
            where=str(path),
        )
    if any(offset):
        union = shapely.affinity.translate(union, *offset)
        notes.append(f"annotation moved by ({offset[0]:g}, {offset[1]:g}) px, the offset of the scanned area")
    area = polygons(shapely.intersection(union, slide_box(frame)))
    if area.is_empty:
        raise _outside(union, frame, path)
    lost = 1 - area.area / union.area
    if lost > 1e-6:
        notes.append(f"{lost:.2%} of the annotation lies outside the slide and was cut off")
    return Annotation(area=area, label=label, notes=tuple(notes))


def read_shapes(path: Path) -> tuple[list[Shape], list[str]]:
    """Every polygon object of a QuPath GeoJSON file (.geojson, .json, gzip too), and notes on what was left out."""
    shapes: list[Shape] = []
    left: Counter[str] = Counter()
    for number, (geometry, properties) in enumerate(_features(_parse(path), path), start=1):
        kind = str(properties.get("objectType", "annotation")).lower()
        if kind in _OBJECTS:
            left[f"objects of type {kind}"] += 1
            continue
        rings = list(_polygons(geometry, path, left))
        if rings:
            shapes.append(_shape(number, rings, _class(properties)))
    notes = [f"{count} {what} ignored" for what, count in sorted(left.items())]
    if not shapes:
        raise AnnotationError(
            f"no polygon{' (' + ', '.join(notes) + ')' if notes else ''}",
            expected="at least one polygon annotation",
            todo="draw the region in QuPath and export it as GeoJSON",
            where=str(path),
        )
    return shapes, notes


def write_annotation(path: Path, shapes: Iterable[tuple[Any, str]], *, offset: tuple[float, float] = (0, 0)) -> None:
    """Write (polygon geometry in level-0 px, class name) pairs as a FeatureCollection that QuPath opens.

    `offset` is taken off the coordinates: the offset of the scanned area, where QuPath starts counting.
    """
    features = []
    for geometry, name in shapes:
        moved = shapely.affinity.translate(geometry, -offset[0], -offset[1])
        levels = _levels(name)
        kind: dict[str, Any] = {"name": levels[0]} if len(levels) == 1 else {"names": list(levels)}
        features.append(
            {
                "type": "Feature",
                "geometry": json.loads(shapely.to_geojson(moved)),
                "properties": {"objectType": "annotation", "classification": kind},
            }
        )
    write_text(path, json.dumps({"type": "FeatureCollection", "features": features}, sort_keys=True) + "\n")


def _parse(path: Path) -> Any:
    if not path.is_file():
        raise AnnotationError(
            "no annotation file", expected="an existing file", todo="correct the path in images.csv", where=str(path)
        )
    data = path.read_bytes()
    try:
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        text = data.decode("utf-8-sig")
    except (UnicodeDecodeError, EOFError, OSError) as fault:
        raise _foreign(f"bytes that are not text ({fault})", path) from fault
    if text.lstrip()[:1] == "<":
        raise _foreign("XML, as ASAP, Aperio ImageScope and NDP.view write it", path)
    try:
        return json.loads(text)
    except RecursionError as fault:
        raise _foreign("JSON nested without end", path) from fault
    except json.JSONDecodeError as fault:
        place = f"line {fault.lineno}, column {fault.colno}: {fault.msg}"
        raise _foreign(f"text that is not JSON ({place}), perhaps cut short", path) from fault


def _features(node: Any, path: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(geometry, properties) of every feature, however the file is wrapped."""
    if isinstance(node, list):
        for item in node:
            yield from _features(item, path)
        return
    kind = node.get("type") if isinstance(node, dict) else None
    if kind == "FeatureCollection" and isinstance(node.get("features"), list):
        yield from _features(node["features"], path)
    elif kind == "Feature":
        if isinstance(node.get("geometry"), dict):
            properties = node.get("properties")
            yield node["geometry"], properties if isinstance(properties, dict) else {}
    elif kind == "GeometryCollection" or (isinstance(kind, str) and "coordinates" in node):
        yield node, {}
    else:
        raise _foreign(_guess(node), path)


def _guess(node: Any) -> str:
    if isinstance(node, dict) and isinstance(node.get("annotation"), dict) and "location" in node["annotation"]:
        return "a Cytomine annotation"
    if isinstance(node, dict) and "slideId" in node and "content" in node:
        return "a Sectra PathologyCore annotation"
    kind = node.get("type") if isinstance(node, dict) else None
    return f"JSON of type '{kind}'" if kind else f"JSON without a GeoJSON type ({type(node).__name__})"


def _foreign(found: str, path: Path) -> AnnotationError:
    return AnnotationError(
        found,
        expected="QuPath GeoJSON, the one annotation format that is read",
        todo="import or redraw it in QuPath and use File > Export objects as GeoJSON",
        where=str(path),
    )


def _polygons(geometry: dict[str, Any], path: Path, left: Counter[str]) -> Iterator[list[Any]]:
    """Coordinates of each polygon: a list of rings."""
    kind = geometry.get("type")
    if kind == "GeometryCollection":
        for part in geometry.get("geometries") or []:
            yield from _polygons(part, path, left)
    elif kind == "Polygon":
        yield _rings(geometry.get("coordinates"), path)
    elif kind == "MultiPolygon":
        for part in geometry.get("coordinates") or []:
            yield _rings(part, path)
    else:
        left[f"{kind} objects"] += 1


def _rings(coordinates: Any, path: Path) -> list[Any]:
    try:
        rings = [np.array([point[:2] for point in ring], dtype=np.float64).reshape(-1, 2) for ring in coordinates]
    except (TypeError, ValueError, IndexError, KeyError) as fault:
        raise _coordinates(f"coordinates that are not rings of x, y pairs ({fault})", path) from fault
    if not all(np.isfinite(ring).all() for ring in rings):
        raise _coordinates("a coordinate that is not a finite number", path)
    return rings


def _coordinates(found: str, path: Path) -> AnnotationError:
    return AnnotationError(
        found, expected="x, y in level-0 pixels", todo="export the annotation from QuPath again", where=str(path)
    )


def _shape(number: int, polygons_: list[list[Any]], levels: tuple[str, ...]) -> Shape:
    name = f"polygon {number} ({': '.join(levels) or NO_CLASS})"
    notes, areas = [], []
    for rings in polygons_:
        usable = [ring for ring in rings if len(np.unique(ring, axis=0)) >= 3]
        if len(usable) < len(rings):
            notes.append(f"{name}: {len(rings) - len(usable)} ring(s) of fewer than 3 points left out")
        if not usable or usable[0] is not rings[0]:
            continue
        drawn = shapely.Polygon(usable[0], usable[1:])
        if not drawn.is_valid:
            reason = shapely.is_valid_reason(drawn).split("[")[0].lower()
            mended = polygons(shapely.make_valid(drawn))
            notes.append(f"{name}: {reason} repaired, area {mended.area:.0f} px²")
            drawn = mended
        areas.append(drawn)
    return Shape(area=polygons(shapely.union_all(areas)), levels=levels, notes=tuple(notes))


def _class(properties: dict[str, Any]) -> tuple[str, ...]:
    """Class levels: classification.name "A: B" or .names [A, B]; else the object's own name."""
    kind = properties.get("classification")
    if isinstance(kind, dict):
        if isinstance(kind.get("names"), list) and kind["names"]:
            return tuple(str(n).strip() for n in kind["names"])
        kind = kind.get("name")
    return _levels(str(kind or properties.get("name") or ""))


def _levels(label: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in label.split(":") if part.strip())


def _matches(label: str, levels: tuple[str, ...]) -> bool:
    if label == ANY:
        return True
    asked = tuple(part.casefold() for part in _levels(label))
    return bool(asked) and tuple(part.casefold() for part in levels[: len(asked)]) == asked


def _unknown(label: str, shapes: list[Shape], path: Path, asked_by: str) -> AnnotationError:
    counts = Counter(s.label for s in shapes)
    there = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items(), key=lambda c: (-c[1], c[0])))
    return AnnotationError(
        f"annotation class '{label}' not found; classes in this file: {there}",
        expected=f"at least one polygon of class '{label}'",
        todo=f"correct {asked_by}{nearest(label, counts)}, or set it to '*' for every polygon",
        where=str(path),
    )


def _outside(union: Any, frame: Frame, path: Path) -> AnnotationError:
    x0, y0, x1, y1 = (round(v) for v in union.bounds)
    return AnnotationError(
        f"an annotation at x {x0} to {x1}, y {y0} to {y1}, wholly outside the slide",
        expected=f"level-0 coordinates within x 0 to {frame.shape[0]}, y 0 to {frame.shape[1]}",
        todo="check that it was drawn on this slide, and region.annotation_origin (qupath or slide)",
        where=str(path),
    )
