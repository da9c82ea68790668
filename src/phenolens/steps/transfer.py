"""What a fold's model takes over from the model of another study: its weights, or its word on tiles in one place.

A fold takes the model of the same fold there, so that none of its test patients was seen by what it takes over; where
the other study has other folds, its final model, if that saw none of them. Anything else is an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from phenolens.cohort import split as splits_of
from phenolens.core.compute import run_all
from phenolens.core.errors import LeakError, StudyError
from phenolens.core.registry import Choice
from phenolens.core.store import Store, key_of
from phenolens.core.types import Example, Finding, Part, Split, TileSource
from phenolens.models.predict import CONFIG, load_model
from phenolens.steps import cohort as cohorts
from phenolens.steps import slides
from phenolens.steps.desk import Desk, Ready
from phenolens.study import FILE, Study

VERSION = 1
"""Raised when soft targets come to be other numbers."""


@dataclass(frozen=True, kw_only=True)
class Lending:
    """A fitted model of another study: its folder and its config."""

    folder: Path
    config: Mapping[str, Any]

    @property
    def trained(self) -> frozenset[str]:
        return frozenset(self.config["training_patients"])


def lending(desk: Desk, place: Path, model: str, split: Split | None) -> Lending:
    """The model of the study at `place` that a fit on `split` (None: on all patients) may take over.

    Raises StudyError where there is none, LeakError where every one has seen a test patient of the split.
    """
    root = desk.study.path(place)
    made = [
        Lending(folder=path.parent, config=json.loads(path.read_text("utf-8")))
        for path in sorted((root / "results" / "models" / model).glob(f"*/{CONFIG}"))
    ]
    if not made:
        raise StudyError(
            f"no fitted {model} in {place}, which transfer names",
            expected="a finished study with that model",
            todo=f"phenolens run {root}, or correct transfer",
            where=str(root),
        )
    final = next((one for one in made if one.folder.name == "final"), None)
    if split is None and final is not None:
        return final
    asked = ("", 0, 0) if split is None else (split.scheme, split.repeat, split.fold)
    test = frozenset[str]() if split is None else split.test
    same = [one for one in made if tuple(one.config["split"][k] for k in ("scheme", "repeat", "fold")) == asked]
    for one in (*same, *([final] if final else [])):
        if not one.trained & test:
            return one
    seen = min((sorted(one.trained & test) for one in made), key=len)
    name = "the final fit" if split is None else split.name
    raise LeakError(
        f"no {model} of {place} that {name} may take over: of its test patients it saw {', '.join(seen[:8])}",
        expected="a model that never saw a test patient of this fold",
        todo="give both studies the same validation section and patients, or patients of their own (where:)",
        where=str(root),
    )


def clashes(desk: Desk, ready: Ready) -> list[Finding]:
    """An error where cross-conformal sets are asked of a model that takes something over from the same patients.

    Each refit leaves patients out that it is then judged on; a model of another study that trained on them has seen
    them. Known from the tables alone, and where that study has frozen its splits from its training patients.
    """
    found: list[Finding] = []
    if desk.study.guard.conformal != "cross":
        return found
    for key, place in (("start", desk.study.transfer.start), ("teacher", desk.study.transfer.teacher)):
        if place is None or not (desk.study.path(place) / FILE).exists():
            continue  # a study that is not there is named where its model is asked for
        both = sorted(_learnt_from(desk, place) & set(map(str, ready.cohort.patients.index)))
        if both:
            what = (
                f"found guard.conformal: cross with transfer.{key}: {place}, a study that trains on {len(both)} of "
                "these patients; expected a study of other patients, since no refit may take over from a model that "
                "saw the patients it leaves out"
            )
            todo = f"set guard.conformal: split, class or none, leave transfer.{key} out, or give it other patients"
            where = f"transfer.{key}"
            found.append(
                Finding(rule="transfer-cross", severity="error", what=what, todo=todo, who=tuple(both), where=where)
            )
    return found


def _learnt_from(desk: Desk, place: Path) -> set[str]:
    """The patients whom the study at `place` trains on; all of its cohort as long as its splits are not frozen."""
    study = Study.load(desk.study.path(place))
    other = Desk(study=study, workers=desk.workers, progress=desk.progress)
    path = other.results / "splits.csv"
    if path.exists():
        return {patient for s in splits_of.read(path) for patient in s.train | s.tune}
    return set(map(str, cohorts.read_cohort(other).cohort.patients.index))


def starting(desk: Desk, choice: Choice, split: Split | None) -> Choice:
    """The model with the fit it starts from, where the study asks for one."""
    place = desk.study.transfer.start
    if place is None:
        return choice
    found = lending(desk, place, choice.name, split)
    kept = {name: value for name, value in choice.params.items() if name != "weights"}
    return replace(choice, params={**kept, "start": str(found.folder)})


@dataclass(frozen=True, kw_only=True)
class SoftJob:
    """One image: the teacher that judges its fine tiles, and the coarse tiles in the same place."""

    teacher: Lending
    patient: str
    image: str
    fine: TileSource
    coarse: TileSource

    @property
    def key(self) -> str:
        teacher = [self.teacher.config["key"], self.teacher.config["weights_sha256"]]
        tiles = [self.fine.load().recipe, self.coarse.load().recipe]
        return key_of({"step": "soft targets", "version": VERSION, "teacher": teacher, "tiles": tiles})


def soften(job: SoftJob, root: Path, base: Path) -> str:
    """What the teacher says of the coarse tiles, stored; returns the key of the artefact `soft`."""
    from phenolens.models.tiles_soft import soft_targets

    store = Store(root)
    if store.has("soft", job.key, ".safetensors"):
        return job.key
    part = Part(name=job.image, image=job.image, source=job.fine)
    example = Example(patient=job.patient, unit_id=job.image, parts=(part,))
    fitted: Any = load_model(job.teacher.folder, base=base).fitted
    ((_, _, p),) = fitted.tiles(example)
    rows, soft = soft_targets(job.fine.load(), p, job.coarse.load())
    with store.write("soft", job.key, ".safetensors", {"teacher": job.teacher.config["key"]}) as path:
        path.write_bytes(save({"rows": np.ascontiguousarray(rows), "p": np.ascontiguousarray(soft)}))
    return job.key


def _tiles_of(desk: Desk, place: Path) -> Mapping[str, Any]:
    """The tiles of the study at `place` by image, from its stored artefacts; what is missing there is made."""
    other = Desk(study=Study.load(desk.study.path(place)), workers=desk.workers, progress=desk.progress)
    ready = cohorts.read_cohort(other)
    return slides.extract_features(other, ready, slides.prepare_images(other, ready))


def teaching(
    desk: Desk, model: str, splits: Sequence[Split | None], made: Sequence[Example]
) -> Iterator[list[Example]]:
    """For each split the examples with what its teacher says of the tiles of those that are learnt from.

    Where the study names no teacher the examples stay as they are.
    """
    place = desk.study.transfer.teacher
    if place is None:
        yield from ([*made] for _ in splits)
        return
    fine = _tiles_of(desk, place)
    of_split = [_jobs(lending(desk, place, model, split), split, made, fine) for split in splits]
    every = {job.key: job for jobs in of_split for job in jobs}
    work = partial(soften, root=desk.root, base=desk.study.base)
    with desk.progress.step("asking the teacher", len(every), "images") as step:
        for outcome in run_all(work, list(every.values()), workers=desk.workers):
            outcome.unwrap()
            step.advance()
    for split, jobs in zip(splits, of_split, strict=True):
        yield _with_targets(desk, made, split, jobs)


def _jobs(teacher: Lending, split: Split | None, made: Sequence[Example], fine: Mapping[str, Any]) -> list[SoftJob]:
    learnt = {e.patient for e in made} if split is None else split.train
    return [
        SoftJob(
            teacher=teacher,
            patient=e.patient,
            image=part.image,
            fine=fine[part.image],
            coarse=part.source,  # type: ignore[arg-type]
        )
        for e in made
        if e.patient in learnt
        for part in e.parts
        if part.present and part.image in fine
    ]


def _with_targets(desk: Desk, made: Sequence[Example], split: Split | None, jobs: Sequence[SoftJob]) -> list[Example]:
    soft = {job.image: load(desk.store.path("soft", job.key, ".safetensors").read_bytes()) for job in jobs}
    seen = tuple(sorted(jobs[0].teacher.trained)) if jobs else ()
    learnt = {e.patient for e in made} if split is None else split.train
    changed = []
    for e in made:
        own = {p.image: (soft[p.image]["rows"], soft[p.image]["p"]) for p in e.parts if p.image in soft}
        more = {"soft": own, "soft_seen": seen} if own and e.patient in learnt else {}
        changed.append(replace(e, targets={**e.targets, **more}))
    return changed
