"""What every step is handed: the study, where things lie, and how to work."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd

from phenolens.cohort.table import Tables
from phenolens.core.errors import StudyError, nearest
from phenolens.core.progress import Progress
from phenolens.core.registry import Choice
from phenolens.core.store import Store, atomic
from phenolens.core.types import Cohort, Finding
from phenolens.scans.intensity import IntensitySettings
from phenolens.scans.prepare import ScanSettings
from phenolens.scans.quality import ScanQualitySettings
from phenolens.slides.annotation import ANY
from phenolens.slides.normalise import Method
from phenolens.slides.quality import QualitySettings
from phenolens.slides.region import RegionSettings
from phenolens.slides.tiles import TileSettings
from phenolens.study import Study


@dataclass(frozen=True, kw_only=True)
class Desk:
    """A study being worked on; `every_class` says that its cohort must hold each class it names."""

    study: Study
    workers: int | None
    progress: Progress
    every_class: bool = True

    @property
    def root(self) -> Path:
        """Where artefacts lie."""
        return self.study.base / "artefacts"

    @property
    def store(self) -> Store:
        return Store(self.root)

    @property
    def results(self) -> Path:
        return self.study.folder / "results"

    @property
    def tables(self) -> Tables:
        study = self.study
        return Tables(
            patients=study.path(study.patients),
            images=None
            if study.reads == "table" and not study.path(study.images).exists()
            else study.path(study.images),
            lesions=None if study.lesions is None else study.path(study.lesions),
            timepoint=study.scan.timepoint,
            kind="scan" if study.reads == "scan" else "slide" if study.reads in ("slide", "folder") else None,
            target="" if study.segments else study.task.target,
            unit=study.task.unit,
            where=study.where,
            classes=study.task.classes,
            every_class=self.every_class,
            time=study.task.time,
            event=study.task.event,
        )

    @property
    def region(self) -> RegionSettings:
        """How the region of a slide is found; annotations that are lent hold one class, as QuPath writes them."""
        asked = self.study.region.model_dump(exclude={"masks"})
        if self.study.region.masks is not None:
            asked |= {"annotation": ANY, "annotation_origin": "qupath"}
        return RegionSettings(**asked, outline=self.study.task.target if self.study.segments else None)

    @property
    def tiles(self) -> TileSettings:
        asked = self.study.tiles
        return TileSettings(
            size_px=asked.size_px,
            mpp=asked.spacing,
            step_px=asked.step_px,
            max_per_patient=asked.max_per_patient,
            seed=asked.seed,
        )

    @property
    def stain(self) -> Method | None:
        """How the colours of slides are normalised."""
        asked = self.study.tiles.stain
        return None if asked == "none" else asked

    @property
    def quality(self) -> QualitySettings:
        return QualitySettings(**self.study.quality)

    @property
    def scan(self) -> ScanSettings:
        asked = self.study.scan
        return ScanSettings(
            intensity=IntensitySettings(**asked.intensity),
            quality=ScanQualitySettings(**cast("dict[str, Any]", self.study.quality)),
            component=asked.component,
            align=asked.align,
            intensity_of={name: IntensitySettings(**given) for name, given in asked.intensity_of.items()},
        )

    def sweep(self) -> None:
        """Remove what a killed run left half written: in the store, in results and beside the study file."""
        for root in (self.root, self.results):
            Store(root).sweep()
        for name in (".holdout_reads.csv.*.part", ".report.html.*.part"):
            for left in (*self.study.folder.glob(name), *self.study.base.glob(name)):
                left.unlink(missing_ok=True)

    def reopen(self) -> None:
        """Results are about to be rewritten: the manifest, without which there is no report, comes back at the end.

        The evidence record of the old results goes with it.
        """
        for name in ("manifest.json", "card.json", "checklists.csv", "card.md"):
            (self.results / name).unlink(missing_ok=True)

    def relative(self, path: Path) -> str:
        """A path as it is written in results: relative to the study's folder."""
        return Path(os.path.relpath(path, self.study.folder)).as_posix()


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A cohort that can be worked on."""

    cohort: Cohort
    labels: pd.Series
    units: pd.DataFrame
    classes: tuple[str, ...]
    findings: tuple[Finding, ...]

    def task(self, study: Study) -> Choice:
        """The task with its classes filled in."""
        if study.segments:
            asked = study.task
            tolerance = asked.tolerance_mm if study.reads == "scan" else asked.tolerance_um / 1000
            return Choice("task", asked.kind, {"tolerance_mm": tolerance})
        if study.survives:
            told = study.task.model_dump(include={"target", "time", "event", "horizons", "tau"})
            return Choice("task", study.task.kind, told)
        return Choice("task", study.task.kind, {"target": study.task.target, "classes": self.classes})


def decision_of(study: Study, classes: Sequence[str]) -> dict[str, Any]:
    """The class a decision is about and its threshold, as parameters of the metrics that call patients; empty where the
    study fixes no threshold.

    Raises:
        StudyError: a positive class that is none of the classes, or a threshold without one where there are several.
    """
    asked = study.task
    if asked.kind != "classification" or (asked.positive is None and asked.threshold is None):
        return {}
    positive = asked.positive or (classes[-1] if len(classes) == 2 else None)
    if positive not in classes:
        found = f"the positive class {positive!r}" if positive else f"task.threshold {asked.threshold:g} for no class"
        todo = f"name the class that the decision is about as task.positive{nearest(str(positive), list(classes))}"
        raise StudyError(found, expected=f"one of the classes {', '.join(classes)}", todo=todo)
    return {} if asked.threshold is None else {"positive": positive, "threshold": asked.threshold}


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table whole or not at all, the same bytes for the same content."""
    with atomic(path) as part:
        table.to_csv(part, index=False, lineterminator="\n")
