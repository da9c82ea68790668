"""How long one slide takes from its file to a prediction, measured on a few slides with one process."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from phenolens.core.store import Store, write_json
from phenolens.core.types import Example, Part
from phenolens.features.extract import ExtractJob, extract, stored_slide
from phenolens.models.predict import Stored, load_fit
from phenolens.steps.context import devices_of
from phenolens.steps.desk import Desk
from phenolens.steps.models import Fit
from phenolens.steps.states import ImageState, States

FILE = "speed.json"
SLIDES, TILES = 3, 128
"""Slides that are timed, and tiles of each; the time of all its tiles is taken as in proportion."""


def measure_speed(desk: Desk, study_id: str, fits: Sequence[Fit], states: States) -> None:
    """results/speed.json: seconds a slide of the first model, where an experiment reads slides; measured once.

    The seconds are of this machine and no result: nothing else is made of them, and no seal covers them.
    """
    encoder, path = desk.study.encoder(), desk.results / FILE
    final = next((f for f in fits if f.split is None), None)
    if desk.study.part_of is None or desk.study.reads != "slide" or encoder is None or final is None:
        return
    if path.exists() and json.loads(path.read_text("utf-8"))["study_id"] == study_id:
        return
    stored = load_fit(desk.store, final.key, base=desk.study.base)
    chosen = [s for s in states.values() if s.status == "used"][: SLIDES + 1]
    taken = [_seconds(desk, state, stored) for state in chosen][1:] or []  # the first one warms up what is cached
    if taken:
        tiles = [s.tiles for s in chosen][1:]
        told: dict[str, Any] = {"study_id": study_id, "slides": len(taken), "tiles": median(tiles)}
        told |= {"seconds": median(taken), "model": final.model.name.rpartition(":")[2], "device": devices_of(desk)[0]}
        write_json(path, told)


def _seconds(desk: Desk, state: ImageState, stored: Stored) -> float:
    """Reading, encoding and judging all tiles of one slide, in proportion to those that are timed."""
    encoder = desk.study.encoder()
    assert encoder is not None
    rows = tuple(range(0, state.tiles, max(1, state.tiles // TILES)))[:TILES]
    with tempfile.TemporaryDirectory() as folder:
        place = Store(Path(folder))
        known = desk.store.path("prepared", state.prepared, ".json")
        copy = place.path("prepared", state.prepared, ".json")
        copy.parent.mkdir(parents=True)
        shutil.copy(known, copy)
        begun = time.perf_counter()
        job = ExtractJob(slide=state.job, prepared=state.prepared, rows=rows, stain=desk.stain)
        (outcome,) = extract([job], encoder, place.root, workers=0)
        source = stored_slide(place, outcome.unwrap(), encoder)
        part = Part(name=state.job.image, image=state.job.image, source=source)
        stored.predict([Example(patient=state.job.patient, unit_id=state.job.image, parts=(part,))])
        return (time.perf_counter() - begun) * state.tiles / len(rows)
