"""When things were known: no image, column or treatment later than the time of the prediction, no event before it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pandas as pd

from phenolens.cohort.dates import days
from phenolens.cohort.faults import counted, did_you_mean, listed
from phenolens.core.errors import CohortError
from phenolens.core.inflation import inflates
from phenolens.core.types import Finding, Severity

_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Columns of the patients table: the date of the prediction, that of the outcome, and when inputs were known.

    `known_at` is the column of an input -> the column with the date it was known, or "before" or "after" t0.
    """

    t0: str | None = None
    event_date: str | None = None
    known_at: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def late(
    patients: pd.DataFrame,
    images: pd.DataFrame,
    timing: Timing,
    inputs: Collection[str],
    *,
    table: str = "patients.csv",
    images_table: str = "images.csv",
) -> list[Finding]:
    """What is later than it may be, each finding naming patients and dates.

    `patients` is indexed by id; `images` are those that are predicted from; `inputs` are the columns that a model is
    given. Rules: image-after-event, image-after-t0, input-after-t0, event-before-t0 (errors), dates-missing (warning).
    Raises CohortError where a column is not there or a date cannot be read.
    """
    names = pd.Series(patients.index, index=patients.index)
    dates: dict[str, pd.Series[Any]] = {}
    for key in ("t0", "event_date"):
        column = getattr(timing, key)
        if column is not None:
            dates[key] = days(patients, column, names, table=table, key=f"timing.{key}")
    found = list(_inputs(patients, names, timing, inputs, dates.get("t0"), table))
    if not dates:
        return found
    if len(dates) == 2:
        found += _immortal(dates["t0"], dates["event_date"])
    taken = None
    if "acquired" in images:
        taken = days(images, "acquired", images["patient"], table=images_table, key="timing")
        found += _images(images, taken, dates)
    return [*found, *_missing(images, taken, dates, timing)]


def _finding(rule: str, severity: Severity, what: str, todo: str, who: Collection[str]) -> Finding:
    return Finding(
        rule=rule, severity=severity, what=what, todo=todo, who=tuple(sorted(set(who))), inflates=inflates(rule)
    )


def _images(images: pd.DataFrame, taken: pd.Series[Any], dates: Mapping[str, pd.Series[Any]]) -> Iterator[Finding]:
    """Images acquired after the event, and further ones acquired after t0."""
    told = pd.Series(False, index=images.index)
    rules = {
        "event_date": ("image-after-event", "post-event", "the outcome"),
        "t0": ("image-after-t0", "late", "t0, the time of the prediction"),
    }
    for key, (rule, word, of) in rules.items():
        if key not in dates:
            continue
        limit = images["patient"].map(dates[key])
        after = (taken > limit) & ~told
        told |= after
        rows = images[after].assign(taken=taken[after], limit=limit[after]).to_dict("records")
        if len(rows):
            said = [f"{r['image']} of {r['patient']} ({r['taken']:%Y-%m-%d}, {r['limit']:%Y-%m-%d})" for r in rows]
            what = f"{counted(len(rows), f'{word} image')}, acquired after the date of {of}: {listed(said, _SHOWN)}"
            todo = "remove these rows, give them another timepoint than the one predicted from, or correct the dates"
            yield _finding(rule, "error", what, todo, [r["patient"] for r in rows])


def _immortal(t0: pd.Series[Any], event: pd.Series[Any]) -> Iterator[Finding]:
    """Patients who had the event when the prediction is made, or before."""
    early = event[event <= t0]
    if len(early):
        said = [f"{p} (event {event[p]:%Y-%m-%d}, t0 {t0[p]:%Y-%m-%d})" for p in early.index]
        what = f"{counted(len(early), 'patient')} with the event at t0 or before: {listed(said, _SHOWN)}"
        todo = (
            "correct the dates, or choose a landmark: one time after the start for everyone as t0, and leave those out "
            "with where: who had the event or were lost before it"
        )
        yield _finding("event-before-t0", "error", what, todo, early.index)


def _inputs(
    patients: pd.DataFrame,
    names: pd.Series[Any],
    timing: Timing,
    inputs: Collection[str],
    t0: pd.Series[Any] | None,
    table: str,
) -> Iterator[Finding]:
    """Columns given to a model that were known only after t0."""
    todo = "leave the column out of the features (features: {ignore: [NAME]}), or take its value from before t0"
    for column, when in timing.known_at.items():
        if column not in inputs and column not in patients:
            known = [*inputs, *patients.columns]
            raise CohortError(
                f"timing.known_at names '{column}', which is no column",
                expected="columns of the patients table or the feature table",
                todo=f"correct or remove it{did_you_mean(column, known)}",
                where="study.yaml, timing.known_at",
            )
        if when == "after" and column in inputs:
            yield _finding("input-after-t0", "error", f"column {column} was known only after t0", todo, ())
        if when in ("before", "after"):
            continue
        if t0 is None:
            raise CohortError(
                f"timing.known_at gives '{column}' the date column '{when}', and no timing.t0 to compare it with",
                expected="timing.t0, or 'before' or 'after'",
                todo="name the column with the date of the prediction as timing.t0",
                where="study.yaml, timing.known_at",
            )
        known_on = days(patients, when, names, table=table, key=f"timing.known_at.{column}")
        later = known_on[known_on > t0]
        if len(later) and column in inputs:
            said = [f"{p} ({known_on[p]:%Y-%m-%d}, t0 {t0[p]:%Y-%m-%d})" for p in later.index]
            what = f"column {column} was known after t0 in {counted(len(later), 'patient')}: {listed(said, _SHOWN)}"
            yield _finding("input-after-t0", "error", what, todo, later.index)


def _missing(
    images: pd.DataFrame, taken: pd.Series[Any] | None, dates: Mapping[str, pd.Series[Any]], timing: Timing
) -> Iterator[Finding]:
    """Dates without which nothing can be told: t0 of a patient, and when an image was acquired."""
    if "t0" in dates and dates["t0"].isna().any():
        who = dates["t0"].index[dates["t0"].isna()]
        what = f"{counted(len(who), 'patient')} without {timing.t0} (timing.t0), of whom nothing can be checked"
        yield _finding("dates-missing", "warning", f"{what}: {listed(who, _SHOWN)}", "fill the cells", who)
    rows = images if taken is None else images[taken.isna()]
    if len(rows):
        what = f"{counted(len(rows), 'image')} of {len(images)} without the date they were acquired"
        todo = "give the images table a column acquired, so that post-event images are found"
        yield _finding("dates-missing", "warning", what, todo, rows["patient"])
