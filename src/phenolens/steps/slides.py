"""From image files to stored tiles and features; what cannot be used is recorded with its reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from phenolens.core.compute import Outcome, run_all
from phenolens.core.errors import FeatureError, ImageError
from phenolens.core.registry import Choice
from phenolens.core.store import key_of
from phenolens.core.types import BagSource, Finding, Part, TileSource
from phenolens.features.examples import slide_parts
from phenolens.features.extract import ExtractJob, extract, stored_slide
from phenolens.features.foreign import ForeignBag, open_folder
from phenolens.slides.prepare import Prepared, SlideJob, load_prepared, prepare, prepared_key
from phenolens.slides.quality import QualitySettings
from phenolens.slides.region import RegionSettings
from phenolens.slides.tiles import TileSettings, draw
from phenolens.steps.desk import Desk, Ready
from phenolens.steps.lent_slides import lent_outlines, slide_job
from phenolens.steps.states import ImageState, States

Source = BagSource | TileSource
PENDING = "to be found"
FEW = 0.1
"""A patient with less than this share of the tiles asked for is named."""
_NAMED = 8


def jobs_of(desk: Desk, ready: Ready, *, make: bool = True) -> list[tuple[SlideJob, str]]:
    """One job an image, with its site. With `make` outlines that a model still has to find are found."""
    masks = lent_outlines(desk, ready, make=make)
    made = []
    for row in masks.ready.cohort.images.to_dict("records"):
        job = slide_job(row)
        if desk.study.region.masks is not None:
            by, of = masks.by.get(str(job.annotation), (PENDING if job.image in masks.pending else "", None))
            job = replace(job, mask_by=by, mask_of=of)
        made.append((job, str(row["site"])))
    return made


def _prepare(job: SlideJob, settings: tuple[RegionSettings, TileSettings, QualitySettings], root: Path) -> str:
    return prepare(job, *settings, root)


def prepare_images(desk: Desk, ready: Ready) -> States:
    """Find tissue, tiles and quality of every slide; stored, so that a second call costs little.

    Where features were made elsewhere no slide is opened: its tiles are those of the feature files.
    """
    states = {job.image: ImageState(job=job, site=site) for job, site in jobs_of(desk, ready)}
    if desk.study.encoder() is None:
        read_folder(desk, ready, states)
        return states
    settings = (desk.region, desk.tiles, desk.quality)
    work = partial(_prepare, settings=settings, root=desk.root)
    with desk.progress.step("finding tissue", len(states), "slides") as step:
        for outcome in run_all(work, [s.job for s in states.values()], workers=desk.workers):
            _note_prepared(states[outcome.item.image], outcome, desk)
            step.advance()
    for state in states.values():
        if state.status == "quarantined":
            desk.progress.say(f"quarantine: {state.job.image} of {state.job.patient}: {state.reason}")
    return states


def _note_prepared(state: ImageState, outcome: Outcome[SlideJob, str], desk: Desk) -> None:
    if outcome.error is not None:
        state.stop(outcome.error)
        state.prepared = _pictures_of_refused(state.job, desk)
        return
    state.prepared = outcome.unwrap()
    made = load_prepared(desk.store, state.prepared)
    state.tiles = len(made.xy)
    state.facts = facts_of(made)
    if outcome.item.mask_by is not None:
        state.facts |= {"mask_by": outcome.item.mask_by}


def _pictures_of_refused(job: SlideJob, desk: Desk) -> str:
    """The key under which a refused slide's pictures lie, as far as it came; empty when its file cannot be read."""
    try:
        return prepared_key(job, desk.region, desk.tiles, desk.quality)
    except (ImageError, OSError):
        return ""


def facts_of(made: Prepared) -> dict[str, Any]:
    """The figures of a prepared slide that go into results/images.csv."""
    return {
        "tissue_mm2": round(made.tissue_mm2, 4),
        "annotation_share": None if made.annotation_share is None else round(made.annotation_share, 4),
        "mpp": round(made.frame.mpp, 5),
        "format": made.format,
        **{f"quality_{k}": round(v, 4) for k, v in made.quality.items()},
        "look": made.facts["look"],
        "notes": "; ".join(made.notes),
    }


def _together(desk: Desk, states: States) -> list[tuple[str, list[ImageState]]]:
    """The usable slides of each patient, or each slide alone where images are predicted, by name."""
    whole = desk.study.task.unit == "patient"
    together: dict[str, list[ImageState]] = {}
    for image, state in states.items():
        if state.status == "used":
            together.setdefault(state.job.patient if whole else image, []).append(state)
    return sorted(together.items())


def few_tiles(desk: Desk, states: States) -> list[Finding]:
    """A warning that names the slides of everyone with less than the share FEW of the tiles that the study asks for.

    Where it does not say how many, the measure is the number that the patient in the middle has.
    """
    groups = _together(desk, states) if desk.study.encoder() is not None else []
    counts = {name: sum(s.tiles for s in slides) for name, slides in groups}
    asked = desk.tiles.max_per_patient if "max_per_patient" in desk.study.tiles.model_fields_set else None
    usual = asked or (float(np.median(list(counts.values()))) if counts else 0)
    few = [(name, slides) for name, slides in groups if counts[name] < FEW * usual]
    if not few:
        return []
    named = [", ".join(f"{s.job.patient} / {s.job.image} ({s.tiles})" for s in slides) for _, slides in few]
    measure = f"{usual:,.0f} tiles that {'tiles.max_per_patient asks for' if asked else 'the one in the middle has'}"
    what = (
        f"{len(few)} of {len(groups)} {desk.study.task.unit}s have less than {FEW:.0%} of the {measure}: "
        f"{', '.join(named[:_NAMED])}{', …' if len(named) > _NAMED else ''}"
    )
    todo = (
        "nothing (all their tiles are used, and count for little), or draw a larger region, or leave them out: where:"
    )
    who = tuple(sorted({slides[0].job.patient for _, slides in few}))
    return [Finding(rule="few-tiles", severity="warning", what=what, todo=todo, who=who, where="tiles.max_per_patient")]


def choose_tiles(desk: Desk, states: States) -> list[ExtractJob]:
    """Draw at most `max_per_patient` tiles over a patient's slides, or of each image where images are predicted."""
    jobs: list[ExtractJob] = []
    for name, slides in _together(desk, states):
        counts = {s.job.image: s.tiles for s in slides}
        rows = draw(counts, desk.tiles.max_per_patient, seed=desk.tiles.seed, patient=name)
        for state in slides:
            chosen = tuple(int(r) for r in rows[state.job.image])
            state.tiles_used = len(chosen)
            if chosen:
                jobs.append(ExtractJob(slide=state.job, prepared=state.prepared, rows=chosen, stain=desk.stain))
            else:
                state.status, state.reason = "excluded", "no tile of it was drawn among the patient's tiles"
    return jobs


def extract_features(desk: Desk, ready: Ready, states: States) -> dict[str, Source]:
    """Features of every usable image as sources that are read when needed."""
    encoder = desk.study.encoder()
    if encoder is None:
        return dict(read_folder(desk, ready, states))
    outcomes = extract(choose_tiles(desk, states), encoder, desk.root, workers=desk.workers, progress=desk.progress)
    return dict(_collect(outcomes, desk, states, encoder))


def _collect(
    outcomes: Iterable[Outcome[ExtractJob, str]], desk: Desk, states: States, encoder: Choice
) -> Iterable[tuple[str, Source]]:
    for outcome in outcomes:
        state = states[outcome.item.slide.image]
        if outcome.error is not None:
            state.stop(outcome.error)
            desk.progress.say(f"quarantine: {state.job.image} of {state.job.patient}: {state.reason}")
            continue
        state.features = outcome.unwrap()
        yield state.job.image, stored_slide(desk.store, state.features, encoder)


def read_folder(desk: Desk, ready: Ready, states: States) -> dict[str, BagSource]:
    """Features made elsewhere, read in place. Coordinates in px are px of a slide of the resolution they go with."""
    bags = open_features(desk, ready)
    for image, state in states.items():
        if image not in bags:
            state.stop(without_file(desk, image))
            state.status = "missing"
            continue
        bag = bags[image]
        state.tiles = state.tiles_used = bag.size[0]
        state.features = key_of([bag.recipe, bag.frame.spacing, bag.extent])
        if not bag.in_um:
            state.job = replace(state.job, mpp=bag.frame.mpp)
    return dict(bags)


def open_features(desk: Desk, ready: Ready) -> dict[str, ForeignBag]:
    """The feature files of the folder that the study names, by image; their headers are checked, no feature is read."""
    folder = desk.study.features.folder
    assert folder is not None, "the study names an encoder or a folder"
    return open_folder(desk.study.path(folder), ready.cohort.images, **desk.study.features.params)


def without_file(desk: Desk, image: str) -> FeatureError:
    """Why an image is left out when the folder holds nothing for it."""
    return FeatureError(
        "no feature file with tiles for it",
        expected=f"{image}.h5, or a file named after its slide, in {desk.study.features.folder}",
        todo="extract its features, or leave it out of the images table",
    )


def parts_of(desk: Desk, ready: Ready, bags: dict[str, Source]) -> dict[str, list[Part]]:
    """The parts of every unit: its slides that can be used, each by its id."""
    del desk
    return slide_parts(ready.units, bags)
