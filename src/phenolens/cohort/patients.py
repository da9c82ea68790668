"""The patients table: one row a patient, checked and typed."""

from __future__ import annotations

import pandas as pd

from phenolens.cohort.asked import Tables
from phenolens.cohort.columns import check_columns, check_ids, check_near_ids
from phenolens.cohort.expression import select, unseen
from phenolens.cohort.faults import Log, counted, did_you_mean, listed, place, rows_of
from phenolens.cohort.reading import Sheet
from phenolens.core.errors import CohortError

UNKNOWN = "unknown"
"""Site, stain of rows where the table names none."""


def check_patients(sheet: Sheet, log: Log) -> None:
    """Report empty and repeated patients, near doubles and faulty columns."""
    check_ids(sheet, "patient", log, what="a patient id")
    check_near_ids(sheet, log)
    for patient, rows in sheet.cells.groupby("patient").groups.items():
        if patient and len(rows) > 1:
            log.fault(
                f"patient {patient!r} twice",
                expected="one row a patient",
                todo="merge the rows, or correct the id of one of them",
                where=place(sheet.name, rows, "patient"),
            )
    check_columns(sheet, log)


def subset(patients: pd.DataFrame, condition: str | None, sheet: Sheet, log: Log) -> pd.DataFrame:
    """The patients that meet `where:`, with notes of how many it leaves out and of values no patient has.

    Raises CohortError with all faults so far when the condition cannot be evaluated or nobody meets it.
    """
    if condition is None:
        return patients
    place_ = f"where: of the study, on {sheet.name}"
    try:
        kept = patients[select(patients, condition, where=place_)]
    except CohortError as fault:
        log.faults.append(fault)
        log.stop()
        raise
    for said in unseen(patients, condition, where=place_):
        todo = "correct the condition if this is a misspelling"
        log.find("where-value-unseen", "warning", f"where: {condition!r}: {said}", todo=todo)
    if kept.empty:
        log.fault(
            f"no patient that meets the condition {condition!r}",
            expected="at least some patients",
            todo="correct the condition",
            where=place_,
        )
        log.stop()
    out = sorted(set(patients["patient"]) - set(kept["patient"]))
    if out:
        what = f"{counted(len(out), 'patient')} of {len(patients)} left out by where: {condition!r}"
        log.find("outside-where", "note", what, todo="nothing, if this is the cohort you mean", who=out)
    return kept


def with_sites(patients: pd.DataFrame, sheet: Sheet, images: pd.DataFrame, log: Log) -> pd.DataFrame:
    """The patients with a `site`: their own, else that of most of their images, else "unknown"."""
    own = patients["site"] if "site" in patients else pd.Series(None, index=patients.index, dtype=object)
    named = "site" in patients or "site" in images
    if "site" in images:
        pairs = images.dropna(subset=["site"]).groupby("patient")["site"]
        usual = pairs.agg(lambda sites: str(sites.value_counts().sort_index().idxmax()))
        own = own.where(own.notna(), patients["patient"].map(usual))
        several = sorted(pairs.nunique().loc[lambda n: n > 1].index) if "site" not in patients else []
        if several:
            log.find(
                "patient-at-several-sites",
                "warning",
                f"{counted(len(several), 'patient')} with images of several sites; that of most images is taken",
                todo=f"give {sheet.name} a column site",
                who=several,
            )
    if not named:
        what = f"{sheet.name} has no column site: all patients are taken as of one unknown site"
        log.find("no-site", "note", what, todo="add a column site (hospital or scanner) where you can")
    elif own.isna().any():
        who = sorted(patients["patient"][own.isna()])
        what = f"{counted(len(who), 'patient')} without a site, taken together as the site '{UNKNOWN}'"
        log.find("patient-without-site", "warning", what, todo=f"fill the column site of {sheet.name}", who=who)
    return patients.assign(site=own.fillna(UNKNOWN))


def check_classes(values: pd.Series[str], sheet: Sheet, tables: Tables, log: Log) -> None:
    """Report labels outside the declared classes, declared classes nobody has, and classes alike but for writing."""
    target, classes = tables.target, tables.classes
    present = sorted(set(values))
    if classes and not present:
        todo = f"fill the column {target} with {listed(classes)}"
        log.fault(f"no {target} at all", expected="a label", todo=todo, where=place(sheet.name, (), target))
        return
    for name in sorted(set(present) - set(classes)) if classes else ():
        rows = values.index[values == name]
        log.fault(
            f"unknown class {name!r}",
            expected=f"one of {listed(classes)}",
            todo=f"correct the cells, add it to task.classes, or leave these patients out with where:"
            f"{did_you_mean(name, classes)}",
            where=place(sheet.name, rows, target),
        )
    for name in classes:
        if name not in present and tables.every_class:
            log.fault(
                f"no {target} {name!r}",
                expected=f"at least one row of each class of task.classes ({listed(classes)})",
                todo=f"remove it from task.classes, or correct it{did_you_mean(name, set(present) - set(classes))}",
                where=place(sheet.name, (), target),
            )
    by_writing: dict[str, list[str]] = {}
    for name in present:
        by_writing.setdefault("".join(name.casefold().split()), []).append(name)
    for alike in by_writing.values():
        if len(alike) > 1:
            log.find(
                "near-duplicate-class",
                "warning",
                f"classes {listed(repr(a) for a in alike)} of {target} differ only in case or spaces",
                todo="write them the same way if they are one class",
                where=place(sheet.name, values.index[values.isin(alike[1:])], target),
            )


def labelled(frame: pd.DataFrame, sheet: Sheet, target: str, log: Log, *, noun: str) -> pd.DataFrame:
    """The rows that have a label; the patients (or images) without one are listed."""
    empty = frame[frame[target].isna()]
    if len(empty):
        names = empty[noun].tolist()
        log.find(
            f"{noun}-without-label",
            "warning",
            f"{counted(len(empty), noun)} without {target}, left out: {listed(names)}"
            f" ({rows_of(empty.index)} of {sheet.name})",
            todo=f"fill the column {target}, or leave them out with where:",
            who=sorted(set(empty["patient"])),
            where=place(sheet.name, empty.index, target),
        )
    return frame[frame[target].notna()]
