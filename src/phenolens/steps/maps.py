"""Maps and top tiles of test patients, each from the fold model that never saw the patient."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image as Pillow

from phenolens.core.compute import run_all
from phenolens.core.errors import ImageError
from phenolens.core.predictions import Predicted, Predictions, SurvivalPredictions
from phenolens.core.registry import EXPLAINERS, MODELS
from phenolens.core.store import atomic, key_of, write_json
from phenolens.core.types import Example, Heatmap, Rgb
from phenolens.explain.draw import overlay
from phenolens.explain.heatmaps import heatmaps, top
from phenolens.features.pictures import cut, thumbnail
from phenolens.models.predict import load_model
from phenolens.slides.prepare import SlideJob
from phenolens.steps.desk import Desk
from phenolens.steps.models import Fit, folder_of
from phenolens.steps.states import ImageState, States

_TILE_PX = 160
_MAP_PX = 900


@dataclass(frozen=True, kw_only=True)
class MapJob:
    """One unit to explain with one model and one method."""

    example: Example
    model: Path
    model_name: str
    method: str
    target: int
    row: Mapping[str, Any]
    most_tiles: int
    base: Path


def draw_maps(
    desk: Desk, fits: Sequence[Fit], predictions: Predicted, examples: Sequence[Example], states: States
) -> None:
    """results/maps: a picture a slide and method, top tiles, and index.json; none where survival is predicted."""
    folder = desk.results / "maps"
    shutil.rmtree(folder, ignore_errors=True)
    if isinstance(predictions, SurvivalPredictions):
        write_json(folder / "index.json", [])
        return
    kind = _drawn(desk)
    jobs = _jobs(desk, fits, predictions, by_unit(examples), kind) if kind else []
    if kind == "volume":
        from phenolens.steps.volume_maps import draw_volumes

        write_json(folder / "index.json", draw_volumes(desk, folder, jobs, predictions.classes))
        return
    index: list[dict[str, Any]] = []
    with desk.progress.step("drawing maps", len(jobs), "maps") as step:
        for outcome in run_all(partial(explain, classes=predictions.classes), jobs, workers=desk.workers):
            index += [_write(desk, folder, outcome.item, heatmap, states) for heatmap in outcome.unwrap()]
            step.advance()
    write_json(folder / "index.json", index)


_OF_VOLUMES = ("gradient", "voxel_occlusion")
"""Drawn where the study asks for no methods of its own."""


def _drawn(desk: Desk) -> str | None:
    """What maps are drawn on: bags of tiles, volumes, or nothing (one row of features a region has no places)."""
    if desk.study.reads in ("slide", "folder"):
        return "bag"
    encoder = desk.study.encoder()
    return "volume" if encoder is not None and encoder.create().makes == "volume" else None


def _methods(desk: Desk, kind: str) -> list[str]:
    """The methods asked for that read this kind of input."""
    if kind == "volume" and "explain" not in desk.study.model_fields_set:
        return list(_OF_VOLUMES)
    fits = {m: getattr(EXPLAINERS.plugin(m)[0], "reads", "bag") == kind for m in desk.study.explain.methods}
    for method in (m for m, fit in fits.items() if not fit):
        desk.progress.say(f"maps: '{method}' does not read {kind}s and is left out; see phenolens list explainers")
    return [m for m, fit in fits.items() if fit]


def by_unit(examples: Sequence[Example]) -> dict[str, Example]:
    """Examples by the id of their unit."""
    return {e.unit_id: e for e in examples}


def _jobs(
    desk: Desk, fits: Sequence[Fit], predictions: Predictions, examples: Mapping[str, Example], kind: str
) -> list[MapJob]:
    jobs: list[MapJob] = []
    main = desk.study.validation.scheme
    for method in _methods(desk, kind):
        needs = EXPLAINERS.plugin(method)[0].needs
        able = [
            c
            for c in desk.study.model_choices()
            if needs is None or needs in MODELS.plugin(c.name, base=c.base)[0].offers
        ]
        if not able:
            desk.progress.say(f"maps: no model of this study offers what '{method}' needs ({needs})")
            continue
        model = able[-1]
        folders = {
            f.split.fold: folder_of(desk, f)
            for f in fits
            if f.model.name == model.name and f.split is not None and (f.split.scheme, f.split.repeat) == (main, 0)
        }
        table = predictions.table
        rows = table[(table["scheme"] == main) & (table["repeat"] == 0) & (table["part"] == "test")]
        chosen = select(rows[rows["model"] == model.name.rpartition(":")[2]], predictions, desk.study.explain.slides)
        for row in chosen.to_dict("records"):
            target = predictions.classes.index(row["predicted"])
            jobs.append(
                MapJob(
                    example=examples[row["unit_id"]],
                    model=folders[row["fold"]],
                    model_name=model.name,
                    method=method,
                    target=target,
                    row={str(k): v for k, v in row.items()},
                    most_tiles=desk.study.explain.tiles,
                    base=desk.study.base,
                )
            )
    return jobs


def select(rows: pd.DataFrame, predictions: Predictions, most: int) -> pd.DataFrame:
    """Units worth looking at: of every class in turn the surest right one, then the surest wrong one, and so on."""
    p = rows[list(predictions.columns)].to_numpy(dtype=float)
    rows = rows.assign(predicted=[predictions.classes[i] for i in p.argmax(1)], probability=p.max(1))
    rows = rows.assign(right=rows["predicted"] == rows["truth"])
    rows = rows.sort_values(["probability", "unit_id"], ascending=[False, True])
    rows = rows.assign(place=rows.groupby(["truth", "right"]).cumcount())
    return rows.sort_values(["place", "right", "truth"], ascending=[True, False, True]).head(most)


def explain(job: MapJob, classes: tuple[str, ...]) -> list[Heatmap]:
    """Heatmaps of every image of the unit; runs in a worker."""
    stored = load_model(job.model, base=job.base)
    return heatmaps(stored.fitted, job.example, job.method, job.target, classes[job.target])


def _write(desk: Desk, folder: Path, job: MapJob, heatmap: Heatmap, states: States) -> dict[str, Any]:
    state = states[heatmap.image]
    signed = EXPLAINERS.plugin(job.method)[0].signed
    stem = f"{job.model_name.rpartition(':')[2]}-{job.method}-{key_of([job.row['unit_id'], heatmap.image])[:10]}"
    picture, tiles = "", []
    found = _under(desk, state, heatmap)
    if found is not None:
        under, heatmap = found
        picture = _save(desk, folder / f"{stem}.jpg", overlay(under, heatmap, signed=signed))
        cuts = cut_tiles(state.job, heatmap, job.most_tiles)
        tiles = [_save(desk, folder / f"{stem}-tile{i}.jpg", tile) for i, tile in enumerate(cuts)]
    row = job.row
    return {
        "patient": row["patient"],
        "unit_id": row["unit_id"],
        "image": heatmap.image,
        "model": job.model_name,
        "method": job.method,
        "signed": signed,
        "explains": heatmap.explains,
        "truth": row["truth"],
        "predicted": row["predicted"],
        "probability": round(float(row["probability"]), 4),
        "picture": picture,
        "tiles": tiles,
        "fidelity": {k: round(v, 4) for k, v in heatmap.fidelity.items()},
        "n_tiles": len(heatmap.scores),
    }


def _under(desk: Desk, state: ImageState, heatmap: Heatmap) -> tuple[Rgb, Heatmap] | None:
    """What a map is drawn over, and the map in the frame of that slide; None where no slide can be shown.

    It is the stored thumbnail; where features were made elsewhere it is made now, if the slide is there.
    """
    if state.prepared:
        stored = desk.store.path("thumbnail", state.prepared, ".jpg")
        return np.asarray(Pillow.open(stored).convert("RGB")), heatmap
    try:
        shown, frame = thumbnail(state.job, _MAP_PX)
    except ImageError as fault:
        desk.progress.say(f"maps: no picture of {state.job.image}: {fault.found}")
        return None
    return shown, replace(heatmap, frame=frame)


def cut_tiles(job: SlideJob, heatmap: Heatmap, most: int) -> Rgb:
    """Pictures of the top tiles, (n, px, px, 3)."""
    frame = heatmap.frame
    xy = np.rint(top(heatmap, most) / np.array(frame.spacing[:2])).astype(np.int64)
    return cut(job, xy, heatmap.extent / frame.mpp, _TILE_PX)


def _save(desk: Desk, path: Path, picture: Rgb) -> str:
    with atomic(path) as part:
        Pillow.fromarray(picture).save(part, format="JPEG", quality=85)
    return desk.relative(path)
