"""How long one slide takes from its file to a prediction: a few slides, one process, networks loaded before."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from phenolens.core.compute import devices
from phenolens.core.store import write_json
from phenolens.core.types import Example, Part
from phenolens.features.extract import ExtractJob, stored_slide
from phenolens.features.timing import seconds_to_encode
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
    jobs = [_job(desk, state) for state in chosen]
    places = devices_of(desk)
    encoding = seconds_to_encode(jobs, encoder, desk.store, places[0])
    taken = [
        spent * state.tiles / len(job.rows) + _judging(desk, state, stored)
        for state, job, spent in zip(chosen, jobs, encoding, strict=True)
    ][1:]  # the first one warms up what is cached
    if taken:
        tiles = [s.tiles for s in chosen][1:]
        told: dict[str, Any] = {"study_id": study_id, "slides": len(taken), "tiles": median(tiles)}
        on = {places[0], devices()[0]} if final.model.create().reads == "tiles" else {places[0]}
        told |= {
            "seconds": median(taken),
            "model": final.model.name.rpartition(":")[2],
            "device": " and ".join(sorted(on)),
        }
        write_json(path, told)


def _job(desk: Desk, state: ImageState) -> ExtractJob:
    """At most TILES tiles of a slide, evenly over it."""
    rows = tuple(range(0, state.tiles, max(1, state.tiles // TILES)))[:TILES]
    return ExtractJob(slide=state.job, prepared=state.prepared, rows=rows, stain=desk.stain)


def _judging(desk: Desk, state: ImageState, stored: Stored) -> float:
    """Seconds that the model takes for the stored features of a slide, in proportion to all its tiles."""
    encoder = desk.study.encoder()
    assert encoder is not None
    part = Part(name=state.job.image, image=state.job.image, source=stored_slide(desk.store, state.features, encoder))
    begun = time.perf_counter()
    stored.predict([Example(patient=state.job.patient, unit_id=state.job.image, parts=(part,))])
    return (time.perf_counter() - begun) * state.tiles / state.tiles_used
