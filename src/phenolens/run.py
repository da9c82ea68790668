"""The whole path from study.yaml to results; the only place that knows the order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phenolens.core.compute import kept_workers
from phenolens.core.errors import StudyError, nearest
from phenolens.core.predictions import Predictions
from phenolens.core.progress import Progress
from phenolens.core.signoff import signed, unused
from phenolens.core.store import study_lock
from phenolens.core.types import Example, Finding, Split
from phenolens.experiments import Experiment, experiments, only
from phenolens.steps import (
    across,
    duplicates,
    evidence,
    learnt,
    lent,
    maps,
    models,
    overview,
    records,
    rooms,
    scans,
    segmentation,
    slides,
    speed,
    subsets,
    tiles,
    transfer,
)
from phenolens.steps import cohort as cohorts
from phenolens.steps.context import context_of
from phenolens.steps.desk import Desk, Ready
from phenolens.steps.foresee import foresee
from phenolens.steps.states import usable
from phenolens.study import Study

STOPS = ("tiles", "features", "splits", "models")


@dataclass(frozen=True)
class Done:
    """Whether the run reached its end, and if not, what it says."""

    finished: bool
    said: str = ""


@dataclass(frozen=True)
class Checked:
    """What `check` found, and lines about size, hours and disk."""

    findings: tuple[Finding, ...]
    summary: tuple[str, ...]


def run_study(
    folder: Path | str,
    *,
    workers: int | None = None,
    until: str | None = None,
    extend: bool = False,
    new_splits: bool = False,
    progress: Progress | None = None,
) -> Done:
    """Run a study to its results; what is stored already is not done again.

    `until` stops after "tiles", "features", "splits" or "models". Raises PhenolensError with what to do.
    """
    _refuse_stop(until)
    study = Study.load(folder)
    desk = Desk(study=study, workers=workers, progress=progress or Progress())
    with study_lock(study.base), kept_workers():
        return _run(desk, until, extend=extend, new_splits=new_splits)


def run_experiments(
    folder: Path | str,
    *,
    name: str | None = None,
    workers: int | None = None,
    until: str | None = None,
    extend: bool = False,
    new_splits: bool = False,
    progress: Progress | None = None,
) -> Iterator[tuple[Experiment, Done]]:
    """Run the experiments of a study file in its order, or the one of this `name`; each comes as soon as it is done.

    Nothing comes where the file holds a single study. Raises PhenolensError with what to do, at the experiment that
    cannot go on: those before it stand.
    """
    _refuse_stop(until)
    made = experiments(folder)
    wanted = {e.name for e in (only(made, name) if name is not None else made)}
    progress = progress or Progress()
    with study_lock(made[0].study.base) if made else nullcontext(), kept_workers():
        for turn, known in enumerate(made):
            if known.name not in wanted:
                continue
            one = known if until is not None else experiments(folder, across.best_arm, of=known.family)[turn]
            one.write()
            desk = Desk(study=one.study, workers=workers, progress=progress)
            across.refuse_chosen_on(desk, one, made)
            progress.say(f"experiment {one.name} ({turn + 1} of {len(made)})")
            yield one, _run(desk, until, extend=extend, new_splits=new_splits)
        if made and until is None:
            overview.write_overview(made)


def _refuse_stop(until: str | None) -> None:
    if until is not None and until not in STOPS:
        raise StudyError(f"--until {until}", expected=", ".join(STOPS), todo=f"correct it{nearest(until, STOPS)}")


def _run(desk: Desk, until: str | None, *, extend: bool, new_splits: bool) -> Done:
    desk.sweep()
    whole = cohorts.read_cohort(desk)
    if until in ("tiles", "features"):
        return _images_alone(desk, whole, until)
    cohorts.refuse([*cohorts.foreseen(desk, whole), *transfer.clashes(desk, whole)])

    room = rooms.room_of(desk)
    states = room.prepare_images(desk, whole)
    copies = signed(duplicates.near_copies(states), desk.study.sign_offs)
    cohorts.refuse(copies)
    if new_splits:
        cohorts.archive(desk.results)
    if not (desk.results / "splits.csv").exists():
        records.write_images(desk, states)
    ready, splits = cohorts.freeze_splits(desk, whole, usable(states, cohorts.needed(desk)), extend=extend)
    records.write_images(desk, states)
    findings = [*cohorts.static_findings(desk, ready, splits), *lent.lost(desk, whole, states), *copies]
    findings += slides.few_tiles(desk, states) if desk.study.reads == "slide" else []
    records.write_findings(desk, findings)
    cohorts.refuse(findings)
    if until == "splits":
        return Done(False, f"splits: {desk.results / 'splits.csv'}")

    sources = room.extract_features(desk, whole, states)
    records.write_images(desk, states)

    context = context_of(desk, ready)
    if desk.study.segments:
        return _segment(desk, whole, ready, splits, (states, sources, findings, context), until)
    examples, keys, empty = models.make_examples(desk, ready, states, room.parts_of(desk, ready, sources))
    fits = models.fit_models(desk, ready, splits, examples, keys, context)
    findings += [*scans.doubts(states), *models.note_holdout_reads(desk, fits)]
    predictions = models.gather(desk, ready, fits)
    if isinstance(predictions, Predictions):
        findings += learnt.not_learnt(desk, fits, predictions.classes)
    models.publish_models(desk, fits)
    duplicates.publish_looks(desk, fits, states)
    records.write_findings(desk, findings)
    models.measure(desk, predictions)
    tiles.measure_tiles(desk, fits)
    if until == "models":
        return Done(False, f"estimates: {desk.results / 'estimates.csv'}")

    evidence.write_evidence(desk, fits, predictions, examples)
    subsets.write_subsets(desk, fits, predictions, examples)
    maps.draw_maps(desk, fits, predictions, examples, states)
    flow, more = records.flow(whole, states, empty, len(examples)), {"class_counts": records.labelled(whole)}
    records.write_manifest(desk, ready, splits, flow, context, more)
    speed.measure_speed(desk, records.study_id(desk, ready), fits, states)
    return Done(True)


def _segment(
    desk: Desk, whole: Ready, ready: Ready, splits: list[Split], known: tuple[Any, ...], until: str | None
) -> Done:
    """The rest of the path where masks are predicted."""
    states, sources, findings, context = known
    examples, keys = segmentation.make_examples(states, sources)
    fits = segmentation.fit_models(desk, ready, splits, examples, keys, context)
    models.publish_models(desk, fits)
    duplicates.publish_looks(desk, fits, states)
    findings = [*findings, *segmentation.mixed(examples), *models.note_holdout_reads(desk, fits)]
    masks = segmentation.find_masks(desk, ready, fits, examples, states)
    records.write_findings(desk, [*findings, *segmentation.not_found(desk, masks)])
    segmentation.measure(desk, masks, splits)
    if until == "models":
        return Done(False, f"estimates: {desk.results / 'estimates.csv'}")
    predicted = len(examples)
    more = segmentation.told(desk, fits, masks, states)
    records.write_manifest(desk, ready, splits, records.flow(whole, states, [], predicted), context, more)
    return Done(True)


def _images_alone(desk: Desk, whole: Ready, until: str) -> Done:
    """Tiles or features and no more: neither needs splits, so a handful of slides can be looked at."""
    cohorts.refuse(list(whole.findings))
    room = rooms.room_of(desk)
    states = room.prepare_images(desk, whole)
    said = "tiles" if desk.study.reads == "slide" else "regions"
    if until == "features":
        said = f"features of {len(room.extract_features(desk, whole, states))} images"
    records.write_images(desk, states)
    return Done(False, f"{said}: {desk.results / 'images.csv'}")


def stored_examples(desk: Desk) -> tuple[Ready, list[Example]]:
    """Cohort and examples of a finished run, from stored artefacts; nothing is written to results."""
    ready = cohorts.read_cohort(desk)
    room = rooms.room_of(desk)
    states = room.prepare_images(desk, ready)
    parts = room.parts_of(desk, ready, room.extract_features(desk, ready, states))
    return ready, models.make_examples(desk, ready, states, parts)[0]


def check(folder: Path | str, *, workers: int | None = None, progress: Progress | None = None) -> Checked:
    """All faults that can be known before a pixel is read, with estimates of size, hours and disk."""
    study = Study.load(folder)
    desk = Desk(study=study, workers=workers, progress=progress or Progress())
    ready = cohorts.read_cohort(desk)
    more, summary = foresee(desk, ready)
    known = [*cohorts.foreseen(desk, ready), *transfer.clashes(desk, ready), *more]
    findings = signed(known, study.sign_offs)
    return Checked((*findings, *unused(findings, study.sign_offs)), tuple(summary))
