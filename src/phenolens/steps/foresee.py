"""What a run will meet and cost: headers are opened, no pixel is read."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from phenolens.core.compute import default_workers, run_all
from phenolens.core.errors import FeatureError, ModelError, PhenolensError
from phenolens.core.types import Finding
from phenolens.features.extract import encoder_identity
from phenolens.models.fit_masks import model_identity
from phenolens.scans.image import open_scan
from phenolens.scans.prepare import ScanJob, no_mask
from phenolens.slides.drawn import annotation_of
from phenolens.slides.image import open_slide
from phenolens.slides.prepare import SlideJob
from phenolens.slides.region import RegionSettings
from phenolens.slides.tiles import check_mpp
from phenolens.steps import scans, tables
from phenolens.steps.desk import Desk, Ready
from phenolens.steps.readings import disturbances
from phenolens.steps.slides import PENDING, jobs_of, open_features, without_file

_TRIAL = 8
_BYTES_PER_VALUE = 4
_BYTES_OF_PICTURES = 700_000
"""Thumbnail and contour of one slide."""


@dataclass(frozen=True)
class Header:
    """Size of a slide: its area at level 0 in um2, format, and mpp."""

    area_um2: float
    format: str
    mpp: float


def _open(job: SlideJob, region: RegionSettings, mpp: float) -> Header:
    with open_slide(Path(job.path), patient=job.patient, image=job.image, mpp=job.mpp) as slide:
        check_mpp(slide.frame, mpp)
        if job.mask_by != PENDING:
            annotation_of(slide, job, region)
        area = float(np.prod(np.array(slide.frame.shape) * np.array(slide.frame.spacing)))
        return Header(area, slide.format, slide.frame.mpp)


def foresee(desk: Desk, ready: Ready) -> tuple[list[Finding], list[str]]:
    """Findings about single files (they will be quarantined) and lines about the size of the run."""
    findings, costs = _FORESEEN[desk.study.reads](desk, ready)
    counts = ready.units["truth"].value_counts()
    schemes = [desk.study.validation.scheme, *desk.study.validation.also]
    lines = [
        f"{len(ready.cohort.patients)} patients, {len(ready.cohort.images)} images"
        + "".join(f", {c}: {int(counts.get(c, 0))}" for c in ready.classes),
        f"models {', '.join(c.name for c in desk.study.model_choices())} under {', '.join(schemes)}",
    ]
    return findings, lines + costs


def _slides(desk: Desk, ready: Ready) -> tuple[list[Finding], list[str]]:
    findings, headers = _headers(desk, [job for job, _ in jobs_of(desk, ready, make=False)])
    missing = _weights(desk)
    return [*findings, *missing], [] if missing else _cost(desk, headers)


def _scans(desk: Desk, ready: Ready) -> tuple[list[Finding], list[str]]:
    """Headers of scans and masks are there; how many of each sequence, and how many patients have them all."""
    jobs = [job for job, _ in scans.jobs_of(desk, ready, make=False)]
    findings: list[Finding] = []
    there = [job for job in jobs if Path(job.path).exists() and (job.mask is None or Path(job.mask).exists())]
    seen: dict[str, set[str]] = {}
    with desk.progress.step("opening headers", len(there), "scans") as step:
        for outcome in run_all(_open_scan, there, workers=desk.workers):
            step.advance()
            if outcome.error is not None:
                findings.append(_will_be_quarantined(outcome.item, outcome.error))
            else:
                seen.setdefault(outcome.item.sequence or "scan", set()).add(outcome.item.patient)
    counts = ", ".join(f"{name}: {len(who)}" for name, who in sorted(seen.items()))
    complete = len(set.intersection(*(seen.get(name, set()) for name in scans.sequences_of(desk, ready))))
    lines = [f"patients with a readable scan, by sequence: {counts}; with every one of them: {complete}"]
    if again := [how.kind for how in disturbances(desk)]:
        lines.append(f"features of each scan are measured {len(again) + 1} times: as it is, {', '.join(again)}")
    return findings, lines


def _open_scan(job: ScanJob) -> None:
    if job.mask is None and job.mask_by is None:
        raise no_mask()
    with open_scan(job.path, patient=job.patient, image=job.image, series=job.series):
        return


def _weights(desk: Desk) -> list[Finding]:
    """Findings where the weights of the encoder, or those that a model starts from, are not on this machine."""
    encoder = desk.study.encoder()
    assert encoder is not None, "the study names an encoder"
    asked = [("encoder-unusable", encoder.name, partial(encoder_identity, encoder))]
    models = desk.study.model_choices()
    asked += [("model-unusable", choice.name, partial(model_identity, choice)) for choice in models]
    findings = []
    for rule, name, weigh in asked:
        try:
            weigh()
        except (FeatureError, ModelError) as error:
            what = f"{rule.partition('-')[0]} {name}: found {error.found}, expected {error.expected}"
            findings.append(Finding(rule=rule, severity="error", what=what, todo=error.todo, where=error.where))
    return findings


def _headers(desk: Desk, jobs: Sequence[SlideJob]) -> tuple[list[Finding], dict[str, list[Header]]]:
    """Findings, and the headers of every patient's slides. A file that is not there was named with the tables."""
    findings: list[Finding] = []
    headers: dict[str, list[Header]] = {}
    there = [job for job in jobs if Path(job.path).exists()]
    work = partial(_open, region=desk.region, mpp=desk.tiles.mpp)
    with desk.progress.step("opening headers", len(there), "slides") as step:
        for outcome in run_all(work, there, workers=desk.workers):
            step.advance()
            if outcome.error is not None:
                findings.append(_will_be_quarantined(outcome.item, outcome.error))
            else:
                headers.setdefault(outcome.item.patient, []).append(outcome.unwrap())
    return findings, headers


def _folder(desk: Desk, ready: Ready) -> tuple[list[Finding], list[str]]:
    jobs = [job for job, _ in jobs_of(desk, ready)]
    bags = open_features(desk, ready)
    findings = [_will_be_quarantined(job, without_file(desk, job.image)) for job in jobs if job.image not in bags]
    tiles, width = sum(bag.size[0] for bag in bags.values()), max((bag.size[1] for bag in bags.values()), default=0)
    return findings, [
        f"features of {len(bags)} images in {desk.study.features.folder}: {tiles:,} tiles of {width} values"
    ]


def _table(desk: Desk, ready: Ready) -> tuple[list[Finding], list[str]]:
    states = tables.prepare_images(desk, ready)
    lost = sum(state.status != "used" for state in states.values())
    return [], [f"features of {len(states) - lost} of {len(states)} units in {desk.study.features.table}"]


_FORESEEN = {"slide": _slides, "scan": _scans, "folder": _folder, "table": _table}


def _will_be_quarantined(job: SlideJob | ScanJob, error: PhenolensError) -> Finding:
    return Finding(
        rule="image-unusable",
        severity="warning",
        what=f"image {job.image} will be left out: found {error.found}, expected {error.expected}",
        todo=error.todo,
        who=(job.patient,),
        where=error.where,
    )


def _cost(desk: Desk, headers: dict[str, list[Header]]) -> list[str]:
    """Tiles, hours and disk, from slide areas (an upper bound: glass is counted as tissue)."""
    choice = desk.study.encoder()
    if choice is None or not headers:
        return []
    side = desk.tiles.size_px * desk.tiles.mpp
    step = (desk.tiles.step_px or desk.tiles.size_px) * desk.tiles.mpp
    most = desk.tiles.max_per_patient or 10**9
    tiles = sum(min(most, sum(int(h.area_um2 / step**2) + 1 for h in slides)) for slides in headers.values())
    free = shutil.disk_usage(desk.study.folder).free
    encoder = choice.create()
    line = f"at most {tiles:,} tiles of {side:.0f} um"
    if encoder.place != "cpu":
        return [line, "hours depend on the device; the run shows its rate and the time left"]
    rate, size = _trial(encoder.load("cpu"), desk)
    workers = desk.workers or default_workers()
    need = tiles * size + sum(map(len, headers.values())) * _BYTES_OF_PICTURES
    minutes = tiles / rate / workers / 60
    spent = f"{minutes / 60:.1f} hours" if minutes >= 60 else f"{max(1, round(minutes))} min"
    lines = [
        f"{line}, at most {spent} of encoding with {workers} worker{'s' * (workers != 1)}",
        f"disk: at most {need / 2**20:.0f} MiB for features and pictures; free: {free / 2**30:.1f} GiB",
    ]
    if need > free:
        lines.append("WARNING: features and pictures will not fit on this disk")
    return lines


def _trial(encode: object, desk: Desk) -> tuple[float, float]:
    """Tiles a second on one processor and the bytes of what is kept of one, on a few tiles of noise."""
    assert callable(encode)
    size = desk.tiles.size_px
    noise = np.random.default_rng(0).integers(120, 250, (_TRIAL, size, size, 3), dtype=np.uint8)
    encode(noise[:1], desk.tiles.mpp)
    start = time.perf_counter()
    made = encode(noise, desk.tiles.mpp)
    rate = _TRIAL / (time.perf_counter() - start)
    return rate, (sum(map(len, made)) / _TRIAL if isinstance(made, list) else made.shape[1] * _BYTES_PER_VALUE)
