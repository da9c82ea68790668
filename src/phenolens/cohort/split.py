"""Splits of the patients, made before anything is fitted and frozen to a file.

Schemes: patient_kfold (stratified, repeated), leave_one_site_out, site_preserved (whole sites, classes balanced),
one_patient_per_class (a test set holds exactly one patient of each class), file (the user's own) and, beside any of
them, a locked holdout. Every split has an inner tune part.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from phenolens.cohort.expression import select
from phenolens.cohort.extend import extend_group, same_scheme
from phenolens.cohort.faults import counted, did_you_mean, listed, place, rows_of
from phenolens.cohort.inner import tune
from phenolens.cohort.ownfile import read_own
from phenolens.cohort.reading import read_sheet
from phenolens.cohort.schemes import HOLDOUT, Roster, Scheme, roster, tests
from phenolens.core.errors import LeakError, SplitError
from phenolens.core.store import write_text
from phenolens.core.types import Cohort, Split

__all__ = ["HOLDOUT", "Scheme", "extend", "make", "read", "write"]

COLUMNS = ("scheme", "repeat", "fold", "part", "patient", "seed")
_PARTS = ("train", "tune", "test")


def make(
    cohort: Cohort,
    labels: pd.Series[str],
    scheme: Scheme,
    *,
    needs_tune: bool = True,
    images_labels: pd.Series[str] | None = None,
) -> list[Split]:
    """All splits of a scheme and those beside it, the holdout last; the same on every machine.

    `labels` is patient -> class (or stratum, with `images_labels` image -> class). With `needs_tune` an empty tune part
    is an error; without it no tune part is drawn. Raises SplitError or LeakError naming class, site or patients.
    """
    everyone = roster(cohort, labels, images_labels)
    held = _held(cohort, everyone, scheme)
    who = everyone.only(set(everyone.labels) - held)
    splits = []
    for name in scheme.names:
        if name == "file":
            splits += _own(who, held, scheme, needs_tune)
        else:
            folds = tests(name, who, scheme).items()
            splits += [_split(name, r, f, who, test, scheme, needs_tune) for (r, f), test in folds]
    if held:
        splits.append(_split(HOLDOUT, 0, 0, everyone, held, scheme, needs_tune))
    return splits


def write(path: Path, splits: Sequence[Split]) -> None:
    """Write splits.csv, whole or not at all: scheme, repeat, fold, part, patient, seed."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for s in splits:
        for part in _PARTS:
            rows.writerows([s.scheme, s.repeat, s.fold, part, p, s.seed] for p in sorted(getattr(s, part)))
    write_text(path, text.getvalue())


def read(path: Path) -> list[Split]:
    """Read splits.csv, in the order written.

    Raises LeakError where a patient stands in two parts of a fold, is tested twice or leaves the holdout, SplitError
    where the file has been edited otherwise.
    """
    sheet = read_sheet(path)
    frame = sheet.cells
    for column in COLUMNS:
        if column not in frame:
            todo = f"restore the file, or make new splits{did_you_mean(column, frame.columns)}"
            expected = f"the columns {', '.join(COLUMNS)}"
            raise SplitError(f"no column '{column}'", expected=expected, todo=todo, where=place(str(path), [1]))
    whole = frame[["repeat", "fold", "seed"]].map(lambda cell: cell.removeprefix("-").isdigit()).all(axis=1)
    for good, what in (
        (whole, "a repeat, fold or seed that is no whole number"),
        (frame["part"].isin(_PARTS), "a part"),
    ):
        if not good.all():
            bad = frame.index[~good]
            expected = "whole numbers, and train, tune or test"
            where = place(str(path), bad)
            raise SplitError(f"{what} in {rows_of(bad)}", expected=expected, todo="restore the file", where=where)
    splits = []
    for (scheme, repeat, fold), rows in frame.groupby(["scheme", "repeat", "fold"], sort=False):
        _check_twice(rows, path, f"{scheme}-{repeat}-{fold}")
        who = {part: frozenset(rows["patient"][rows["part"] == part]) for part in _PARTS}
        seed = int(rows["seed"].iloc[0])
        splits.append(Split(scheme=str(scheme), repeat=int(str(repeat)), fold=int(str(fold)), seed=seed, **who))
    _check_edited(splits, path)
    return splits


def extend(
    splits: Sequence[Split],
    cohort: Cohort,
    labels: pd.Series[str],
    scheme: Scheme,
    *,
    images_labels: pd.Series[str] | None = None,
) -> list[Split]:
    """The same splits for a cohort that has grown: old patients keep their part, patients who left are taken out.

    New patients get the test fold with the fewest of their class (of their site in leave_one_site_out, where a new
    site is a new fold, and in site_preserved; a vacancy in one_patient_per_class; as written in the user's file), and
    a tune or train part in the other folds so that the tune share holds. Folds left without a test patient go.
    Raises SplitError when `scheme` is not the one the splits were made with, or can no longer hold.
    """
    same_scheme(splits, scheme)
    everyone = roster(cohort, labels, images_labels)
    old = {p for s in splits for p in s.train | s.tune | s.test}
    was_held = {p for s in splits if s.scheme == HOLDOUT for p in s.test}
    new = set(everyone.labels) - old
    held = (was_held & set(everyone.labels)) | (_held(cohort, everyone, scheme, some=False) & new)
    who = everyone.only(set(everyone.labels) - held)
    made: list[Split] = []
    for name in dict.fromkeys(s.scheme for s in splits):
        given = read_own(scheme.file, who.labels, held) if name == "file" and scheme.file else []
        group = [s for s in splits if s.scheme == name]
        inside = everyone if name == HOLDOUT else who
        made += extend_group(group, inside, scheme, arrivals=new & set(inside.labels), held=held, given=given)
    return made


def _held(cohort: Cohort, who: Roster, scheme: Scheme, *, some: bool = True) -> frozenset[str]:
    """The patients of the holdout; with `some` it is an error when they are none or all."""
    if scheme.holdout is None:
        return frozenset()
    patients = cohort.patients.loc[sorted(who.labels)].reset_index()
    chosen = select(patients, scheme.holdout, where="validation.holdout of the study")
    held = frozenset(patients["patient"][chosen])
    if some and len(held) in (0, len(patients)):
        raise SplitError(
            f"holdout {scheme.holdout!r}, which selects {'none' if not held else 'all'} of {len(patients)} patients",
            expected="some patients to hold out and some to learn from",
            todo="correct validation.holdout",
        )
    return held


def _split(
    name: str, repeat: int, fold: int, who: Roster, test: frozenset[str], scheme: Scheme, needs_tune: bool
) -> Split:
    rest = frozenset(who.labels) - test
    title = f"{name}-{repeat}-{fold}"
    if not rest:
        raise SplitError(
            f"no training patient in {title}", expected="patients outside the test set", todo="add patients"
        )
    salt = [scheme.seed, name, repeat, fold]
    kept = tune(who, rest, scheme.tune, salt, needed=True, name=title) if needs_tune else frozenset[str]()
    return Split(scheme=name, repeat=repeat, fold=fold, train=rest - kept, tune=kept, test=test, seed=scheme.seed)


def _own(who: Roster, held: frozenset[str], scheme: Scheme, needs_tune: bool) -> list[Split]:
    """The user's folds; where the file names no tune part one is drawn from its training patients."""
    if scheme.file is None:
        raise SplitError("scheme file without a file", expected="validation.file", todo="name the table")
    splits = []
    for g in read_own(scheme.file, who.labels, held):
        kept = g.tune
        if needs_tune and not kept:
            salt = [scheme.seed, "file", g.repeat, g.fold]
            kept = tune(who, g.train, scheme.tune, salt, needed=True, name=f"file-{g.repeat}-{g.fold}")
        splits.append(
            Split(
                scheme="file",
                repeat=g.repeat,
                fold=g.fold,
                train=g.train - kept,
                tune=kept,
                test=g.test,
                seed=scheme.seed,
            )
        )
    return splits


def _check_twice(rows: pd.DataFrame, path: Path, name: str) -> None:
    twice = rows[rows["patient"].duplicated(keep=False)]
    if twice.empty:
        return
    who = sorted(set(twice["patient"]))
    found = f"{counted(len(who), 'patient')} twice in {name}: {listed(who)} ({rows_of(twice.index)})"
    kind = LeakError if twice.groupby("patient")["part"].nunique().max() > 1 else SplitError
    expected = "every patient in one of train, tune and test"
    raise kind(found, expected=expected, todo="restore the file, or make new splits", where=str(path))


def _check_edited(splits: Sequence[Split], path: Path) -> None:
    """Every fold of a scheme holds the same patients, tests them once a repeat and none of the holdout."""
    todo = "restore the file, or make new splits"
    everyone: dict[str, frozenset[str]] = {}
    tested: dict[tuple[str, int], set[str]] = {}
    held = {p for s in splits if s.scheme == HOLDOUT for p in s.test}
    for s in splits:
        here = s.train | s.tune | s.test
        lost = here ^ everyone.setdefault(s.scheme, here)
        before = tested.setdefault((s.scheme, s.repeat), set())
        again = s.test & before if s.scheme != "file" else frozenset[str]()
        before |= s.test
        if again:
            found, expected = f"patients tested in two folds, the second {s.name}: {listed(sorted(again))}", "one fold"
            raise LeakError(found, expected=expected, todo=todo, where=str(path))
        if s.scheme != HOLDOUT and here & held:
            found, expected = f"patients of the holdout in {s.name}: {listed(sorted(here & held))}", "none"
            raise LeakError(found, expected=expected, todo=todo, where=str(path))
        if lost:
            found = f"patients in some folds of {s.scheme} and not in {s.name} or the first: {listed(sorted(lost))}"
            raise SplitError(found, expected="the same patients in every fold", todo=todo, where=str(path))
    for (scheme, repeat), who in tested.items():
        never = everyone[scheme] - who if scheme in ("patient_kfold", "leave_one_site_out", "site_preserved") else set()
        if never:
            found = f"patients tested in no fold of {scheme}, repeat {repeat}: {listed(sorted(never))}"
            raise SplitError(found, expected="every patient tested once a repeat", todo=todo, where=str(path))
