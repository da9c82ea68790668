"""Tumour annotations as QuPath exports them: a GeoJSON FeatureCollection in level-0 pixels."""

from __future__ import annotations

import json
import uuid
from typing import Any

from shapely.geometry import Polygon

from phenolens.synth.outline import Area, polygons

_COLOURS = {"Tumor": [200, 0, 0], "Stroma": [150, 200, 150]}


def geojson(classes: dict[str, Area], mpp: float) -> str:
    """The text of the file: one annotation object a polygon (um, turned into px of `mpp`), holes as inner rings."""
    features = [
        _feature(name, polygon, mpp, f"{name} {i}")
        for name, area in classes.items()
        for i, polygon in enumerate(polygons(area))
    ]
    return json.dumps({"type": "FeatureCollection", "features": features}) + "\n"


def _feature(name: str, polygon: Polygon, mpp: float, what: str) -> dict[str, Any]:
    rings = [
        [[round(x / mpp), round(y / mpp)] for x, y in ring.coords] for ring in (polygon.exterior, *polygon.interiors)
    ]
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{what} {rings}")),
        "geometry": {"type": "Polygon", "coordinates": rings},
        "properties": {
            "objectType": "annotation",
            "classification": {"name": name, "color": _COLOURS[name]},
            "isLocked": False,
        },
    }
