"""The user's own split table: patient, fold and part; or patient and fold, the fold in which a patient is tested."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from phenolens.cohort.faults import counted, did_you_mean, listed, place, rows_of
from phenolens.cohort.reading import Sheet, read_sheet
from phenolens.core.errors import LeakError, SplitError

PARTS = {
    "train": "train", "training": "train", "tune": "tune", "val": "tune", "valid": "tune", "validation": "tune",
    "dev": "tune", "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Given:
    """One fold of the file; `tune` is empty where the file names none."""

    repeat: int
    fold: int
    train: frozenset[str]
    tune: frozenset[str]
    test: frozenset[str]


def read_own(path: Path, patients: Iterable[str], held: Iterable[str] = ()) -> list[Given]:
    """Read and check the file against the patients outside the holdout (`held`).

    Columns: patient, fold, part (train, tune, test), and repeat where there are several; without part every patient
    is tested in its fold; without fold there is one fold. Raises LeakError or SplitError naming the patients.
    """
    sheet = read_sheet(path)
    known = frozenset(patients)
    _check_columns(sheet)
    _check_people(sheet, known, frozenset(held))
    frame = sheet.cells[["patient"]].assign(
        repeat=_whole(sheet, "repeat"),
        fold=_whole(sheet, "fold"),
        part=_parts(sheet) if "part" in sheet.cells else "test",
    )
    _check_twice(sheet, frame, by_fold="part" in sheet.cells)
    made = []
    for repeat, of_repeat in frame.groupby("repeat"):
        for fold, rows in of_repeat.groupby("fold"):
            who = {part: frozenset(rows["patient"][rows["part"] == part]) for part in ("train", "tune", "test")}
            if not who["train"]:
                _check_all(sheet, known, of_repeat if "part" not in sheet.cells else None)
                who["train"] = known - who["tune"] - who["test"]
            else:
                _check_all(sheet, known, rows, f"fold {fold}")
            if not who["test"]:
                expected, todo = "a test patient in every fold", "add rows with part test"
                raise SplitError(f"no test patient in fold {fold}", expected=expected, todo=todo, where=sheet.name)
            made.append(Given(repeat=int(str(repeat)), fold=int(str(fold)), **who))
    return made


def _check_columns(sheet: Sheet) -> None:
    have = [str(c) for c in sheet.cells.columns]
    wanted = ["patient"] if "part" in have else ["patient", "fold"]
    for column in wanted:
        if column not in have:
            raise SplitError(
                f"no column '{column}'",
                expected="the columns patient and fold, or patient, fold and part (never images)",
                todo=f"add or rename it{did_you_mean(column, have)}",
                where=place(sheet.name, [1]),
            )


def _check_people(sheet: Sheet, known: frozenset[str], held: frozenset[str]) -> None:
    named = sheet.cells["patient"]
    locked = sorted(set(named) & held)
    if locked:
        raise LeakError(
            f"{counted(len(locked), 'patient')} of the holdout in the split file: {listed(locked)}",
            expected="patients outside the holdout, which is read once at the end",
            todo="remove their rows",
            where=place(sheet.name, named.index[named.isin(locked)], "patient"),
        )
    strange = sorted(set(named) - known)
    if strange:
        hint = did_you_mean(strange[0], known) if len(strange) == 1 else ""
        raise SplitError(
            f"{counted(len(strange), 'patient')} that the cohort has not: {listed(strange)}",
            expected="patients with a label and an image, inside where:",
            todo=f"correct or remove the rows{hint}",
            where=place(sheet.name, named.index[named.isin(strange)], "patient"),
        )


def _check_all(sheet: Sheet, known: frozenset[str], rows: pd.DataFrame | None, which: str = "") -> None:
    lost = sorted(known - set(rows["patient"])) if rows is not None else []
    if lost:
        raise SplitError(
            f"no row for {counted(len(lost), 'patient')}{f' in {which}' if which else ''}: {listed(lost)}",
            expected="every patient of the cohort in one part of every fold",
            todo="add their rows, or leave these patients out with where:",
            where=sheet.name,
        )


def _check_twice(sheet: Sheet, frame: pd.DataFrame, *, by_fold: bool) -> None:
    keys = ["repeat", "fold", "patient"] if by_fold else ["repeat", "patient"]
    for _, rows in frame[frame.duplicated(keys, keep=False)].groupby(keys):
        patient = rows["patient"].iloc[0]
        where = place(sheet.name, rows.index, "patient")
        if rows["part"].nunique() > 1:
            parts = " and ".join(sorted(rows["part"].unique()))
            raise LeakError(
                f"patient {patient!r} in {parts} of fold {rows['fold'].iloc[0]}",
                expected="every patient in one of train, tune and test",
                todo="keep one of the rows",
                where=where,
            )
        folds = f" (folds {listed(sorted(rows['fold'].unique()))})" if not by_fold else ""
        raise SplitError(
            f"patient {patient!r} twice{folds}", expected="one row a patient", todo="keep one of the rows", where=where
        )


def _whole(sheet: Sheet, column: str) -> pd.Series[int]:
    if column not in sheet.cells:
        return pd.Series(0, index=sheet.cells.index)
    numbers = sheet.cells[column].map(lambda cell: sheet.number(cell) if cell else None)
    wrong = numbers.index[numbers.map(lambda x: x is None or x != x or x % 1 != 0 or x < 0)]
    if len(wrong):
        raise SplitError(
            f"{column} {sheet.cells[column].loc[wrong[0]]!r} in {rows_of(wrong)}",
            expected="a whole number, 0 or more",
            todo="number the folds",
            where=place(sheet.name, wrong, column),
        )
    return numbers.astype(float).astype(int)


def _parts(sheet: Sheet) -> pd.Series[str]:
    said = sheet.cells["part"].map(str.casefold)
    wrong = said.index[~said.isin(list(PARTS))]
    if len(wrong):
        word = sheet.cells["part"].loc[wrong[0]]
        raise SplitError(
            f"part {word!r} in {rows_of(wrong)}",
            expected="train, tune or test",
            todo=f"correct the cells{did_you_mean(str(word), PARTS)}",
            where=place(sheet.name, wrong, "part"),
        )
    return said.map(PARTS)
