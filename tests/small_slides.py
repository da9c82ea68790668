"""A segmentation study of slides small enough for a test: tumour full of dark nuclei in pale tissue, seconds to fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely
import tifffile
import yaml
from scipy import ndimage

MPP = 2.0
SHAPE = (520, 640)
"""Height and width of a slide in px."""
QUICK = {
    "backbone": "test_convnext",
    "weights": "none",
    "width": 8,
    "tiles": 8,
    "tune_tiles": 12,
    "batch": 8,
    "epochs": 16,
    "patience": 16,
    "learning_rate": 0.005,
    "smooth_um": 8.0,
    "smallest_mm2": 0.01,
}


def blob(centre: tuple[float, float], radius: float, draw: np.random.Generator) -> shapely.Polygon:
    """A wavy disc in px."""
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    wave = sum(draw.uniform(-0.07, 0.07) * np.cos(k * angle + draw.uniform(0, 6)) for k in (2, 3, 5))
    far = radius * (1 + wave)
    return shapely.Polygon(np.column_stack([centre[0] + far * np.cos(angle), centre[1] + far * np.sin(angle)]))


def picture(tissue: Any, tumour: Any, draw: np.random.Generator, rough: bool = False) -> np.ndarray[Any, Any]:
    """Glass, pale fibrous tissue, and dark nuclei within the tumour (fewer and larger where it is `rough`)."""
    height, width = SHAPE
    y, x = np.mgrid[:height, :width] + 0.5
    there, inside = (shapely.contains_xy(a, x.ravel(), y.ravel()).reshape(SHAPE) for a in (tissue, tumour))
    noise = draw.normal(size=(2, *SHAPE))
    fibres = ndimage.gaussian_filter(noise[0], (1, 5))
    nuclei = ndimage.gaussian_filter(noise[1], 2.6 if rough else 1.6)
    dark = inside & there & (nuclei > (0.7 if rough else 0.5) * nuclei.std())
    made = np.full((*SHAPE, 3), 240.0)
    made[there] = (226, 168, 200)
    made[there] -= 10 * (fibres / fibres.std())[there, None]
    made[dark] = (112, 72, 150)
    return (made + draw.normal(0, 2, (*SHAPE, 1))).clip(0, 255).round().astype(np.uint8)


def feature(area: Any, name: str) -> dict[str, Any]:
    """One object of a QuPath GeoJSON."""
    geometry = json.loads(shapely.to_geojson(area))
    return {
        "type": "Feature",
        "geometry": geometry,
        "properties": {"objectType": "annotation", "classification": {"name": name}},
    }


def write_annotations(path: Path, shapes: list[tuple[Any, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    held = {"type": "FeatureCollection", "features": [feature(*s) for s in shapes]}
    path.write_text(json.dumps(held))


def write_slides(folder: Path, *, patients: int = 6, first: int = 0, seed: int = 0) -> Path:
    """Slides, annotations of the classes Tumor and Vessel, and tables; the label `kind` is whether nuclei are few."""
    people, rows = [], []
    for i in range(first, first + patients):
        draw = np.random.default_rng([seed, i])
        name, rough = f"P{i:02d}", bool(i % 2)
        tissue = blob((320, 260), 225, draw)
        centre = (320 + draw.uniform(-50, 50), 260 + draw.uniform(-40, 40))
        tumour = blob(centre, draw.uniform(105, 140), draw).intersection(tissue)
        path = folder / "slides" / f"{name}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, picture(tissue, tumour, draw, rough), tile=(128, 128), photometric="rgb")
        drawn = folder / "annotations" / f"{name}.geojson"
        write_annotations(drawn, [(tumour, "Tumor"), (shapely.Point(*centre).buffer(9), "Vessel")])
        people.append({"patient": name, "site": f"S{i % 2}", "kind": "rough" if rough else "smooth"})
        where = {"path": f"slides/{name}.tif", "annotation": f"annotations/{name}.geojson", "mpp": MPP}
        rows.append({"patient": name, "image": f"{name}-HE", "kind": "slide", "stain": "H&E", **where})
    pd.DataFrame(people).to_csv(folder / "patients.csv", index=False)
    pd.DataFrame(rows).to_csv(folder / "images.csv", index=False)
    return folder


def write_outline_study(folder: Path, **changes: object) -> Path:
    """study.yaml of a segmentation of `write_slides`; `changes` replace top-level keys, None takes one out."""
    content: dict[str, object] = {
        "study": "small-outlines",
        "tiles": {"size_px": 64, "mpp": 2.0},
        "features": {"encoder": "pixels", "outlines": True},
        "task": {"kind": "segmentation", "target": "Tumor", "tolerance_um": 40},
        "models": [{"tile_unet": QUICK}],
        "validation": {"folds": 2, "tune": 0.34},
        **changes,
    }
    (folder / "study.yaml").write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))
    return folder
