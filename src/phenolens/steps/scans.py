"""From scans and masks to regions and features; what cannot be used is recorded with its reason."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pandas as pd

from phenolens.cohort.table import regions
from phenolens.core.compute import Outcome, run_all
from phenolens.core.errors import ImageError
from phenolens.core.types import BagSource, Finding, Part, VolumeSource
from phenolens.features.scans import ScanExtractJob, extract_scans, stored_source
from phenolens.features.volumefile import VolumeFile
from phenolens.scans.prepare import ScanJob, ScanSettings, load_prepared, prepare, prepared_key
from phenolens.steps.desk import Desk, Ready
from phenolens.steps.lent import lent
from phenolens.steps.readings import measure_again, not_measured_again
from phenolens.steps.states import ImageState, States

Sources = dict[str, BagSource | VolumeSource]
MOST_CUT_OFF = 0.05
"""The share of a region that may lie beyond an encoder's window without a warning."""


def region_id(image: str, patient: str, unit_id: str) -> str:
    """The name of one region on one image: the image's, and the lesion's where lesions are predicted."""
    lesion = unit_id.removeprefix(f"{patient}/")
    return image if unit_id in (image, patient) else f"{image}/{lesion}"


def regions_of(desk: Desk, ready: Ready) -> pd.DataFrame:
    """One row a unit and image of the sequences asked for, as in `cohort.units.regions`, with `region` its name."""
    found = regions(ready.cohort, desk.tables, mask_from=desk.study.scan.mask_from)
    found = found[found["unit_id"].isin(set(ready.units["unit_id"]))]
    if desk.study.scan.sequences:
        found = found[found["sequence"].isin(desk.study.scan.sequences)]
    keys = found[["image", "patient", "unit_id"]].itertuples(index=False, name=None)
    return found.assign(region=[region_id(*key) for key in keys])


def jobs_of(desk: Desk, ready: Ready, *, make: bool = True) -> list[tuple[ScanJob, str]]:
    """One job a region on an image, with its site. With `make` predicted masks that are not there yet are found."""
    images = {row["image"]: row for row in ready.cohort.images.to_dict("records")}
    masks = lent(desk, ready, make=make)
    made = []
    for row in regions_of(desk, masks.ready).to_dict("records"):
        other = None if row["drawn_on"] is None else images[row["drawn_on"]]
        by, of = masks.by.get(str(row["mask"]), ("to be found" if row["image"] in masks.pending else None, None))
        job = ScanJob(
            patient=row["patient"],
            image=row["region"],
            path=row["path"],
            sequence=row["sequence"],
            series=row["series"],
            mask=row["mask"],
            mask_value=row["mask_value"],
            mask_name=row["mask_name"],
            drawn_on=None if other is None else other["path"],
            drawn_on_series=None if other is None else other["series"],
            mask_by=by,
            mask_of=of,
        )
        made.append((job, str(images[row["image"]]["site"])))
    return made


def prepare_images(desk: Desk, ready: Ready) -> States:
    """Find the region of every scan, measure and judge it; stored, so that a second call costs little."""
    states = {job.image: ImageState(job=job, site=site) for job, site in jobs_of(desk, ready)}
    work = partial(_prepare, settings=desk.scan, root=desk.root)
    with desk.progress.step("reading regions", len(states), "scans") as step:
        for outcome in run_all(work, [s.job for s in states.values()], workers=desk.workers):
            _note(states[outcome.item.image], outcome, desk)
            step.advance()
    for state in states.values():
        if state.status == "quarantined":
            desk.progress.say(f"quarantine: {state.job.image} of {state.job.patient}: {state.reason}")
    return states


def _prepare(job: ScanJob, settings: ScanSettings, root: Path) -> str:
    return prepare(job, settings, root)


def _note(state: ImageState, outcome: Outcome[ScanJob, str], desk: Desk) -> None:
    state.facts = {"sequence": outcome.item.sequence}
    if outcome.error is not None:
        state.stop(outcome.error)
        state.prepared = _picture_of_refused(outcome.item, desk)
        return
    state.prepared = outcome.unwrap()
    made = load_prepared(desk.store, state.prepared)
    state.tiles = state.tiles_used = 1
    state.facts |= {**made.facts, "notes": "; ".join(made.notes)}
    if outcome.item.mask_by is not None:
        state.facts |= {"mask_by": outcome.item.mask_by}


def _picture_of_refused(job: ScanJob, desk: Desk) -> str:
    try:
        return prepared_key(job, desk.scan)
    except (ImageError, OSError):
        return ""


def extract_features(desk: Desk, ready: Ready, states: States) -> Sources:
    """Features or volumes of every usable region as sources that are read when needed.

    Where the study asks for it, those of disturbed scans are stored beside them, see `steps.readings`.
    """
    del ready
    encoder = desk.study.encoder()
    assert encoder is not None, "a study of scans names an encoder"
    jobs = [ScanExtractJob(scan=s.job, prepared=s.prepared) for s in states.values() if s.status == "used"]
    outcomes = extract_scans(jobs, encoder, desk.scan, desk.root, workers=desk.workers, progress=desk.progress)
    made = dict(_collect(outcomes, desk, states, encoder.create().makes))
    measure_again(desk, states)
    return made


def _collect(
    outcomes: Iterable[Outcome[ScanExtractJob, str]], desk: Desk, states: States, makes: str
) -> Iterable[tuple[str, BagSource | VolumeSource]]:
    for outcome in outcomes:
        state = states[outcome.item.scan.image]
        if outcome.error is not None:
            state.stop(outcome.error)
            desk.progress.say(f"quarantine: {state.job.image} of {state.job.patient}: {state.reason}")
            continue
        state.features = outcome.unwrap()
        source = stored_source(desk.store, state.features, makes)
        if isinstance(source, VolumeFile):
            state.facts["share_kept"] = round(float(source.attributes()["share_kept"]), 4)
        yield state.job.image, source


def doubts(states: States) -> list[Finding]:
    """What was met while features were computed: windows too small, scans that could not be measured again."""
    return [*cut_off(states), *not_measured_again(states)]


def cut_off(states: States) -> list[Finding]:
    """A warning where the window of an encoder of volumes leaves out more than MOST_CUT_OFF of a region."""
    kept = {i: float(s.facts["share_kept"]) for i, s in sorted(states.items()) if "share_kept" in s.facts}
    lost = {image: share for image, share in kept.items() if share < 1 - MOST_CUT_OFF}
    if not lost:
        return []
    what = (
        f"window too small: it cuts off more than {MOST_CUT_OFF:.0%} of the region in {len(lost)} of {len(kept)} "
        f"images, and keeps {min(lost.values()):.0%} of the one it cuts most"
    )
    todo = "raise features.size or features.spacing_mm; share_kept in results/images.csv names every image"
    who = tuple(sorted({states[image].job.patient for image in lost}))
    return [Finding(rule="window-too-small", severity="warning", what=what, todo=todo, who=who, where="features.size")]


def parts_of(desk: Desk, ready: Ready, sources: Sources) -> dict[str, list[Part]]:
    """The parts of every unit: one a sequence, in the study's order, without source where it is absent.

    Units without one of the sequences are left out where the study says so.
    """
    found = regions_of(desk, ready)
    order = sequences_of(desk, ready)
    made: dict[str, list[Part]] = {}
    for unit, rows in found.groupby("unit_id", sort=False):
        of = dict(zip(rows["sequence"], rows["region"], strict=True))
        parts = [Part(name=n, image=of.get(n, ""), source=sources.get(of.get(n, ""))) for n in order]
        if desk.study.scan.missing == "allowed" or all(p.present for p in parts):
            made[str(unit)] = parts
    return made


def sequences_of(desk: Desk, ready: Ready) -> tuple[str, ...]:
    """The parts of every unit in order: as the study says, else every sequence of the table."""
    return desk.study.scan.sequences or tuple(sorted(set(regions_of(desk, ready)["sequence"])))
