"""Outlines that a segmentation study found on slides, in place of drawn annotations: as `lent` does for scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from phenolens.core.compute import run_all
from phenolens.core.store import Store
from phenolens.slides.prepare import SlideJob
from phenolens.steps.desk import Desk, Ready
from phenolens.steps.found_slides import SUFFIX, LentSlideJob, lend_outline
from phenolens.steps.lent import Lender, Lent, by_fit, lender, refuse_seen_only, split_rows
from phenolens.steps.stored_setting import slide_setting


def lent_outlines(desk: Desk, ready: Ready, *, make: bool) -> Lent:
    """The cohort as it is, or with found outlines as annotations where `region.masks` asks for them.

    Drawn ones are not read then. Who gets which, and the errors, are as in `lent.lent`.
    """
    source = lender(desk)
    if source is None:
        return Lent(ready=ready, by={})
    images = ready.cohort.images
    rows = images.to_dict("records")
    own, new = split_rows(source, rows)
    refuse_seen_only(source, rows, own)
    found = _found(desk, source, new) if make else {}
    masks = by_fit(source, own, found)
    told = images["image"].map(lambda i: masks[i][0] if i in masks else None)
    changed = images.assign(annotation=told.astype(object).where(told.notna(), None))
    return Lent(
        ready=replace(ready, cohort=replace(ready.cohort, images=changed)),
        by={path: (fit, slide) for path, fit, slide in masks.values()},
        pending=frozenset() if make else frozenset(r["image"] for r in new),
    )


def slide_job(row: Mapping[Any, Any]) -> SlideJob:
    """The job of a row of the images table."""
    return SlideJob(
        patient=row["patient"],
        image=row["image"],
        path=row["path"],
        annotation=row["annotation"] if isinstance(row["annotation"], str) else None,
        mpp=None if pd.isna(row["mpp"]) else float(row["mpp"]),
    )


def _found(desk: Desk, source: Lender, rows: Sequence[Mapping[Any, Any]]) -> dict[str, Path]:
    """The outlines that the final model finds on slides of patients it never saw; what cannot be read gets none."""
    setting = slide_setting(source.config, source.folder)
    jobs = [
        LentSlideJob(slide=slide_job(r), fit=source.fit, folder=source.final, target=source.target, setting=setting)
        for r in rows
    ]
    made: dict[str, Path] = {}
    if not jobs:
        return made
    store = Store(desk.root)
    with desk.progress.step("finding masks", len(jobs), "slides") as step:
        for outcome in run_all(partial(lend_outline, root=desk.root), jobs, workers=desk.workers):
            step.advance()
            if outcome.error is None:
                made[outcome.item.slide.image] = store.path("masks", outcome.unwrap(), SUFFIX)
            else:
                desk.progress.say(f"no mask for {outcome.item.slide.image}: found {outcome.error.found}")
    return made
