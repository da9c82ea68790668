"""What the images table says of scans: sequence, series, mask and timepoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from phenolens.cohort.asked import BASELINE, Tables
from phenolens.cohort.columns import same_but_for_writing
from phenolens.cohort.faults import Log, counted, did_you_mean, listed, place, rows_of
from phenolens.cohort.reading import TEXT_COLUMNS, Sheet, missing

COLUMNS = ("sequence", "timepoint", "series", "mask", "mask_value", "mask_name")
"""Columns every images table of scans has once it is read; None where a cell is empty."""
UNNAMED = "scan"
"""The sequence of scans of a table that names none."""
_TEXT = tuple(c for c in COLUMNS if c != "mask_value")
_TODO_TWICE = (
    "keep the one that is to be used, or tell them apart: by sequence (T1 and T1-2, DWI-b50 and DWI-b800) or by"
    " timepoint"
)


def as_scans(sheet: Sheet) -> Sheet:
    """The same table with the names of scans (a series of digits, a timepoint 0) read as text."""
    return replace(sheet, text=TEXT_COLUMNS | set(_TEXT))


def scan_columns(frame: pd.DataFrame, sheet: Sheet, tables: Tables, log: Log) -> pd.DataFrame:
    """The rows with COLUMNS filled in; sequences that are missing or twice and a strange timepoint are faults.

    Where the unit is the image a patient may have several scans of one sequence: each is an example of its own.
    """
    empty = pd.Series([None] * len(frame), index=frame.index, dtype=object)
    named = {c: frame[c].map(_filled) if c in frame else empty for c in _TEXT}
    named["timepoint"] = named["timepoint"].fillna(BASELINE)
    made = frame.assign(**named, mask_value=mask_values(sheet, log).reindex(frame.index))
    _check_timepoint(made, sheet, tables, log)
    if tables.unit != "image":
        _check_sequences(made, sheet, log)
    _check_writing(made, sheet, log)
    return made


def mask_values(sheet: Sheet, log: Log) -> pd.Series[Any]:
    """The column `mask_value` as whole numbers above 0, None where a cell is empty; anything else is a fault."""
    values = pd.Series([None] * len(sheet.cells), index=sheet.cells.index, dtype=object)
    if "mask_value" not in sheet.cells:
        return values
    for cell, rows in sheet.cells.groupby("mask_value").groups.items():
        number = sheet.number(str(cell))
        if missing(str(cell)):
            continue
        if number is None or not (0 < number < 2**31 and number.is_integer()):
            log.fault(
                f"mask_value {cell!r}",
                expected="a whole number above 0, the value of the region in the mask; empty for all that is not 0",
                todo="correct the cells; the name of a structure (RTSTRUCT, SEG) stands in a column mask_name",
                where=place(sheet.name, rows, "mask_value"),
            )
            continue
        for row in rows:
            values.at[row] = int(number)
    return values


def scan_ids(frame: pd.DataFrame) -> pd.Series[str] | None:
    """PATIENT_SEQUENCE, with _TIMEPOINT but at baseline; None where the table has ids or names no sequence."""
    if "image" in frame or frame["sequence"].isna().any():
        return None
    later = frame["timepoint"].map(lambda t: "" if t == BASELINE else f"_{t}")
    ids: pd.Series[str] = frame["patient"] + "_" + frame["sequence"] + later
    return ids


def check_masks(frame: pd.DataFrame, table: str, log: Log) -> None:
    """Refuse a mask that is an image of the table; warn of one region given to two patients. Paths are resolved."""
    masked = frame[frame["mask"].notna()]
    images = {path for path in frame.get("path", ()) if Path(path).is_file()}
    same = masked.index[masked["mask"].isin(images)]
    if len(same):
        log.fault(
            f"a mask that is an image of this table: {Path(masked.loc[same[0], 'mask']).name}",
            expected="a file that holds the region alone",
            todo="give the path of the mask, or leave the cell empty",
            where=place(table, same, "mask"),
        )
    for _, rows in masked.groupby([masked[c].astype(str) for c in ("mask", "mask_value", "mask_name")]):
        who = sorted(set(rows["patient"]))
        if len(who) > 1:
            log.find(
                "mask-of-two-patients",
                "warning",
                f"{Path(rows['mask'].iloc[0]).name} is the mask of patients {listed(who)}",
                todo="nothing if it is an atlas; otherwise correct the paths",
                who=who,
                where=place(table, rows.index, "mask"),
            )


def at_timepoint(images: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """The images that are predicted from: those of the timepoint asked for; all of a table of slides."""
    if "kind" not in images or not (images["kind"] == "scan").any():
        return images
    return images[images["timepoint"] == (tables.timepoint or BASELINE)]


def _filled(cell: Any) -> str | None:
    return cell if isinstance(cell, str) and not missing(cell) else None


def _check_timepoint(frame: pd.DataFrame, sheet: Sheet, tables: Tables, log: Log) -> None:
    wanted, have = tables.timepoint or BASELINE, sorted(set(frame["timepoint"]))
    if wanted in have or frame.empty:
        return
    if "timepoint" not in sheet.cells:
        todo, where = "add it, or remove scan.timepoint from the study", place(sheet.name, [1])
        log.fault(
            f"no column 'timepoint' to find {wanted!r} in", expected="the column timepoint", todo=todo, where=where
        )
        return
    log.fault(
        f"no image at timepoint {wanted!r}",
        expected=f"the timepoint that is predicted from, one of {listed(have)}",
        todo=f"name it in the study as scan.timepoint{did_you_mean(wanted, have)}",
        where=place(sheet.name, (), "timepoint"),
    )


def _check_sequences(frame: pd.DataFrame, sheet: Sheet, log: Log) -> None:
    """A part of an example is found by its sequence: it must be named, and once a patient and timepoint."""
    several = frame.groupby(["patient", "timepoint"])["path"].transform("size") > 1
    some = bool(frame["sequence"].notna().any())
    blank = frame[frame["sequence"].isna() & (several | some)]
    if len(blank):
        log.fault(
            f"{counted(len(blank), 'scan')} without a sequence, of {_owners(blank)}",
            expected="the sequence of every image (T1, T2, CT, …) once a patient has several or a row names one",
            todo="fill the column sequence",
            where=place(sheet.name, blank.index, "sequence"),
        )
    named = frame[frame["sequence"].notna()]
    groups = [rows for _, rows in named.groupby(["patient", "timepoint", "sequence"]) if len(rows) > 1]
    if groups:
        said = [
            f"{len(g)} of {g['sequence'].iloc[0]} of patient {g['patient'].iloc[0]} at {g['timepoint'].iloc[0]}"
            f" ({rows_of(g.index)})"
            for g in groups
        ]
        log.fault(
            f"several images of one sequence: {listed(said, 3)}",
            expected="one image a patient, sequence and timepoint",
            todo=_TODO_TWICE,
            where=place(sheet.name, [row for g in groups for row in g.index], "sequence"),
        )


def _owners(rows: pd.DataFrame) -> str:
    who = sorted(set(rows["patient"]))
    return f"{'patient' if len(who) == 1 else 'patients'} {listed(who, 5)}"


def _check_writing(frame: pd.DataFrame, sheet: Sheet, log: Log) -> None:
    """Warn of sequences and timepoints that differ only in writing: they would be two."""
    for column in ("sequence", "timepoint"):
        names = pd.Series(sorted(set(frame[column].dropna())), dtype=object)
        for _, alike in names.groupby(names.map(lambda name: same_but_for_writing(name).translate(_MARKS))):
            if len(alike) > 1:
                log.find(
                    f"near-duplicate-{column}",
                    "warning",
                    f"{column}s {listed(repr(a) for a in alike)} of {sheet.name} differ only in case, spaces or marks",
                    todo=f"write them the same way if they are one {column}",
                    where=place(sheet.name, frame.index[frame[column].isin(alike[1:])], column),
                )


_MARKS = str.maketrans("", "", "-_./")
