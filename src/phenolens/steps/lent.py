"""Masks that a segmentation study predicted, in place of drawn ones: each by a model that never saw the patient."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from phenolens.cohort.scans import at_timepoint
from phenolens.core.compute import run_all
from phenolens.core.errors import LeakError, StudyError
from phenolens.core.store import Store
from phenolens.core.types import Finding
from phenolens.scans.prepare import ScanJob
from phenolens.steps.desk import Desk, Ready
from phenolens.steps.found import SUFFIX, LentJob, lend
from phenolens.steps.states import States, usable
from phenolens.steps.stored_setting import scan_setting

Row = Mapping[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Lender:
    """A finished segmentation study: its masks by patient and image, who trained each fit, and its final model."""

    folder: Path
    name: str
    study_id: str
    target: str
    masks: Mapping[tuple[str, str], Mapping[str, Any]]
    seen: Mapping[str, frozenset[str]]
    final: Path
    config: Mapping[str, Any]

    @property
    def fit(self) -> str:
        """The key of the final model."""
        return str(self.config["key"])

    @property
    def trained(self) -> frozenset[str]:
        """The patients whom the final model saw."""
        return frozenset(self.config["training_patients"])


def lender(desk: Desk) -> Lender | None:
    """The study that `scan.masks` or `region.masks` names, None where there is none.

    Raises StudyError where it is not finished, or finds no masks on images of this kind.
    """
    asked, kind = desk.study.lends, desk.study.reads
    if asked is None:
        return None
    key = "scan.masks" if kind == "scan" else "region.masks"
    folder = desk.study.path(asked)
    path = folder / "results" / "manifest.json"
    if not path.exists():
        raise StudyError(
            f"no finished study in {asked}, which {key} names",
            expected="a segmentation study with results/manifest.json",
            todo=f"phenolens run {asked}, or correct the folder",
            where=str(folder),
        )
    manifest = json.loads(path.read_text("utf-8"))
    told = manifest.get("masks")
    if told is None or manifest["images"] != kind:
        raise StudyError(
            f"a study of {manifest['study']['task']['kind']} of {manifest['images']}s in {asked}, which {key} names",
            expected=f"a study of {kind}s whose task is segmentation",
            todo="correct the folder",
            where=str(folder),
        )
    final = folder / told["final"]
    return Lender(
        folder=folder,
        name=str(manifest["study"]["study"]),
        study_id=str(manifest["study_id"]),
        target=str(manifest["target"]),
        masks={(row["patient"], row["image"]): row for row in told["images"]},
        seen={fit: frozenset(who["training_patients"]) for fit, who in told["fits"].items()},
        final=final,
        config=json.loads((final / "config.json").read_text("utf-8")),
    )


@dataclass(frozen=True, kw_only=True)
class Lent:
    """A cohort whose images have the predicted masks, and for each of those masks the fit and the scan it is of.

    `by` maps the path of a mask to its fit and to the fingerprint of its scan; `pending` holds the images whose mask
    the final model still has to find.
    """

    ready: Ready
    by: Mapping[str, tuple[str, str | None]]
    pending: frozenset[str] = frozenset()


def lent(desk: Desk, ready: Ready, *, make: bool) -> Lent:
    """The cohort as it is, or with predicted masks where `scan.masks` asks for them; drawn ones are not read then.

    A patient of the segmentation study gets the mask of the fold model that tested the patient; one who is not in it
    gets that of its final model, made here with `make`. Raises LeakError naming patients for whom there is none but by
    a model that saw them.
    """
    source = lender(desk)
    if source is None:
        return Lent(ready=ready, by={})
    images = ready.cohort.images
    shown = at_timepoint(images, desk.tables)
    read = source.config["context"]["scan"]["sequences"]
    rows = [r for r in shown.to_dict("records") if r["sequence"] in read]
    own, new = split_rows(source, rows)
    refuse_seen_only(source, rows, own)
    masks = by_fit(source, own, _found(desk, source, new) if make else {})
    told = images["image"].map(lambda i: masks[i][0] if i in masks else None)
    blank = pd.Series([None] * len(images), index=images.index, dtype=object)
    changed = images.assign(mask=told.astype(object).where(told.notna(), None), mask_value=blank, mask_name=blank)
    return Lent(
        ready=replace(ready, cohort=replace(ready.cohort, images=changed)),
        by={path: (fit, scan) for path, fit, scan in masks.values()},
        pending=frozenset() if make else frozenset(r["image"] for r in new),
    )


def split_rows(source: Lender, rows: Sequence[Row]) -> tuple[dict[str, Row], list[Row]]:
    """By image the masks that the study has, and the rows of patients whom its final model never saw."""
    own: dict[str, Row] = {
        r["image"]: source.masks[r["patient"], r["image"]] for r in rows if (r["patient"], r["image"]) in source.masks
    }
    return own, [r for r in rows if r["image"] not in own and r["patient"] not in source.trained]


def by_fit(source: Lender, own: Mapping[str, Row], found: Mapping[str, Path]) -> dict[str, tuple[str, str, str | None]]:
    """By image where its mask lies, the fit that found it, and the fingerprint of the image it was found on."""
    return {
        **{image: (str(source.folder / row["mask"]), row["fit"], row["scan"]) for image, row in own.items()},
        **{image: (str(path), source.fit, None) for image, path in found.items()},
    }


def refuse_seen_only(source: Lender, rows: Sequence[Row], own: Mapping[str, Row]) -> None:
    """Stop where the only model that could give a patient a mask has seen the patient."""
    leaked = {r["patient"] for r in rows if r["image"] in own and r["patient"] in source.seen[own[r["image"]]["fit"]]}
    have = {r["patient"] for r in rows if r["image"] in own}
    leaked |= {r["patient"] for r in rows if r["patient"] in source.trained} - have
    if not leaked:
        return
    shown = ", ".join(sorted(leaked)[:8]) + (", …" if len(leaked) > 8 else "")
    raise LeakError(
        f"{len(leaked)} patients whose only masks come from a model that saw them: {shown}",
        expected=f"for every patient a mask of study {source.name} by a fold model that never saw the patient",
        todo="run that study with a scheme that tests every patient (patient_kfold), give both images tables the same "
        "image ids, or leave these patients out with where:",
        where=str(source.folder),
    )


def lost(desk: Desk, ready: Ready, states: States) -> list[Finding]:
    """A warning where patients fall out for want of a usable predicted mask: small lesions are lost more often."""
    if desk.study.lends is None or ready.labels.empty:
        return []
    gone = ready.labels[~ready.labels.index.isin(usable(states))]
    if gone.empty:
        return []
    of, all_of = gone.value_counts(), ready.labels.value_counts()
    by_class = ", ".join(f"{name} {int(of.get(name, 0))} of {int(n)}" for name, n in all_of.sort_index().items())
    what = f"{len(gone)} of {len(ready.labels)} patients have no predicted mask that can be used, by class: {by_class}"
    todo = "read the results as of the others only: what is lost may depend on the class, as small lesions do"
    who = tuple(sorted(map(str, gone.index)))
    return [Finding(rule="predicted-masks-lost", severity="warning", what=what, todo=todo, who=who)]


def _found(desk: Desk, source: Lender, rows: Sequence[Row]) -> dict[str, Path]:
    """The masks that the final model finds on scans of patients it never saw; what cannot be read gets none."""
    setting = scan_setting(source.config, source.folder)
    jobs = [LentJob(scan=_job(r), fit=source.fit, folder=source.final, setting=setting) for r in rows]
    made: dict[str, Path] = {}
    if not jobs:
        return made
    store = Store(desk.root)
    with desk.progress.step("finding masks", len(jobs), "scans") as step:
        for outcome in run_all(partial(lend, root=desk.root), jobs, workers=desk.workers):
            step.advance()
            if outcome.error is None:
                made[outcome.item.scan.image] = store.path("masks", outcome.unwrap(), SUFFIX)
            else:
                desk.progress.say(f"no mask for {outcome.item.scan.image}: found {outcome.error.found}")
    return made


def _job(row: Row) -> ScanJob:
    return ScanJob(
        patient=row["patient"],
        image=row["image"],
        path=row["path"],
        sequence=row["sequence"],
        series=row["series"],
    )
