"""From the tables to a checked cohort with frozen splits."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from phenolens.cohort import check, split, table
from phenolens.core.errors import CohortError, SplitError
from phenolens.core.registry import MODELS
from phenolens.core.store import canonical, write_json
from phenolens.core.types import Finding, Split
from phenolens.steps.desk import Desk, Ready


def read_cohort(desk: Desk) -> Ready:
    """Read and check both tables; faults stop here with table, row and column."""
    tables = desk.tables
    cohort, findings = table.load(tables)
    labels = table.labels(cohort, tables)
    units = table.units(cohort, tables)
    classes = tables.classes or tuple(sorted(set(units["truth"])))
    return Ready(cohort=cohort, labels=labels, units=units, classes=classes, findings=tuple(findings))


def scheme_of(desk: Desk) -> split.Scheme:
    """The validation section as the split room reads it."""
    asked = desk.study.validation
    return split.Scheme(
        scheme=asked.scheme,
        folds=asked.folds,
        repeats=asked.repeats,
        also=tuple(asked.also),
        holdout=asked.holdout,
        seed=asked.seed,
        tune=asked.tune,
        file=None if asked.file is None else desk.study.path(asked.file),
    )


def needs_tune(desk: Desk) -> bool:
    """Whether any model of the study stops or searches."""
    return any(MODELS.plugin(c.name, base=c.base)[0].needs_tune for c in desk.study.model_choices())


def draw_splits(desk: Desk, ready: Ready) -> list[Split]:
    """The splits the study asks for, from nothing."""
    by_image = table.image_labels(ready.cohort, desk.tables)
    return split.make(ready.cohort, ready.labels, scheme_of(desk), needs_tune=needs_tune(desk), images_labels=by_image)


def freeze_splits(desk: Desk, ready: Ready, *, extend: bool, new_splits: bool) -> list[Split]:
    """The splits on disk, made when there are none; a changed cohort is named and refused unless told what to do."""
    path, record = desk.results / "splits.csv", desk.results / "cohort.json"
    asked = _asked(desk)
    if new_splits:
        archive(desk.results)
    if not (path.exists() and record.exists()):
        splits = draw_splits(desk, ready)
    else:
        splits = _still_valid(desk, ready, path, record, asked, extend=extend)
    split.write(path, splits)
    write_json(record, {"cohort": table.snapshot(ready.cohort), "validation": asked})
    return splits


def _asked(desk: Desk) -> dict[str, Any]:
    """The validation section, without machine paths, as recorded beside the splits."""
    asked = asdict(scheme_of(desk))
    asked["file"] = None if asked["file"] is None else Path(asked["file"]).name
    asked["needs_tune"] = needs_tune(desk)
    return asked


def _still_valid(
    desk: Desk, ready: Ready, path: Path, record: Path, asked: dict[str, Any], *, extend: bool
) -> list[Split]:
    known = json.loads(record.read_text("utf-8"))
    if canonical(known["validation"]) != canonical(asked):
        raise SplitError(
            "a validation section that changed since the splits were frozen",
            expected=f"what results/cohort.json records: {canonical(known['validation'])}",
            todo="put it back, or archive the results and split anew with: phenolens run --new-splits",
            where=str(desk.study.folder),
        )
    splits = split.read(path)
    changes = table.difference(known["cohort"], ready.cohort)
    if not changes:
        return splits
    if not extend:
        listed = "; ".join(changes[:12]) + ("; …" if len(changes) > 12 else "")
        raise CohortError(
            f"a cohort that changed since the last run: {listed}",
            expected="the cohort the splits were made from",
            todo="keep patients in their folds with: phenolens run --extend, or start over with --new-splits",
            where=str(desk.study.folder),
        )
    for change in changes:
        desk.progress.say(f"cohort: {change}")
    by_image = table.image_labels(ready.cohort, desk.tables)
    return split.extend(splits, ready.cohort, ready.labels, scheme_of(desk), images_labels=by_image)


def archive(results: Path) -> Path | None:
    """Move old results aside, to results-1, results-2, …; None when there are none."""
    if not results.exists():
        return None
    number = 1
    while (target := results.with_name(f"results-{number}")).exists():
        number += 1
    shutil.move(results, target)
    return target


def static_findings(desk: Desk, ready: Ready, splits: list[Split]) -> list[Finding]:
    """What the tables and splits alone tell; an error refuses the run."""
    by_image = table.image_labels(ready.cohort, desk.tables)
    return [*ready.findings, *check.static(ready.cohort, ready.labels, splits, by_image)]


def refuse(findings: list[Finding]) -> None:
    """Stop when a finding is an error; all of them are named."""
    errors = [f for f in findings if f.severity == "error"]
    if errors:
        listed = "\n  ".join(
            f"{f.what} [{', '.join(f.who[:8])}]: {f.todo}" if f.who else f"{f.what}: {f.todo}" for f in errors
        )
        raise CohortError(
            f"{len(errors)} findings that make an honest result impossible:\n  {listed}\n",
            expected="none",
            todo="mend each; phenolens check shows them without running",
        )
