"""Maps of volumes: which voxels of which sequence moved the probability, in three planes, with fidelity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from phenolens.core.compute import run_all
from phenolens.core.registry import EXPLAINERS
from phenolens.core.store import atomic, key_of
from phenolens.core.types import Rgb
from phenolens.explain.planes import planes
from phenolens.explain.volumes import in_memory, part_volume, voxel_fidelity, voxel_scores
from phenolens.models.predict import load_model
from phenolens.steps.desk import Desk
from phenolens.steps.maps import MapJob


@dataclass(frozen=True, kw_only=True)
class VolumeMap:
    """The map of one part of one unit; without fidelity where it is flat, since nothing can be put in order then."""

    image: str
    part: str
    picture: Rgb
    fidelity: Mapping[str, float]
    voxels: int


def draw_volumes(desk: Desk, folder: Path, jobs: Sequence[MapJob], classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """A picture a part and method in `folder`; entries for index.json."""
    index = []
    with desk.progress.step("drawing maps", len(jobs), "maps") as step:
        for outcome in run_all(partial(explain_volumes, classes=classes), jobs, workers=desk.workers):
            index += [_write(desk, folder, outcome.item, made, classes) for made in outcome.unwrap()]
            step.advance()
    return index


def explain_volumes(job: MapJob, classes: tuple[str, ...]) -> list[VolumeMap]:
    """The maps of all parts that are there; runs in a worker. A part that moves nothing has a flat map."""
    del classes
    return maps_of(load_model(job.model, base=job.base).fitted, job)


def maps_of(fitted: Any, job: MapJob) -> list[VolumeMap]:
    """The maps of a fitted model for the example, method and class of a job."""
    signed = EXPLAINERS.plugin(job.method)[0].signed
    example, made = in_memory(job.example), []
    for part in example.parts:
        if not part.present:
            continue
        scores = voxel_scores(fitted, example, part.name, job.target, job.method)
        seed = int(key_of([job.example.unit_id, job.method, part.name])[:8], 16)
        flat = not np.any(scores)
        figures = {} if flat else voxel_fidelity(fitted, example, part.name, job.target, scores, seed=seed)
        picture = planes(part_volume(example, part.name), scores, signed=signed)
        made.append(
            VolumeMap(image=part.image, part=part.name, picture=picture, fidelity=figures, voxels=int(scores.size))
        )
    return made


def _write(desk: Desk, folder: Path, job: MapJob, made: VolumeMap, classes: tuple[str, ...]) -> dict[str, Any]:
    name = job.model_name.rpartition(":")[2]
    path = folder / f"{name}-{job.method}-{key_of([job.row['unit_id'], made.image])[:10]}.jpg"
    with atomic(path) as part:
        Pillow.fromarray(made.picture).save(part, format="JPEG", quality=88)
    row = job.row
    return {
        "patient": row["patient"],
        "unit_id": row["unit_id"],
        "image": made.image,
        "sequence": made.part,
        "model": job.model_name,
        "method": job.method,
        "signed": EXPLAINERS.plugin(job.method)[0].signed,
        "explains": classes[job.target],
        "truth": row["truth"],
        "predicted": row["predicted"],
        "probability": round(float(row["probability"]), 4),
        "picture": desk.relative(path),
        "tiles": [],
        "fidelity": {k: round(v, 4) for k, v in made.fidelity.items()},
        "flat": not made.fidelity,
        "n_tiles": made.voxels,
    }
