"""Checks of whole columns and of the ids in them: holes, doubles, near doubles, mixed types, dates, infinities."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import pandas as pd

from phenolens.cohort.faults import Log, did_you_mean, listed, place, rows_of
from phenolens.cohort.reading import Sheet, is_code, missing
from phenolens.core.types import Severity

_DATE_NAME = re.compile(r"^(t0|acquired|dob)$|date|datum")
_DATES = {
    "year-month-day": re.compile(r"\d{4}-\d{1,2}-\d{1,2}([T ].*)?"),
    "year/month/day": re.compile(r"\d{4}/\d{1,2}/\d{1,2}"),
    "yearmonthday": re.compile(r"(19|20)\d{2}(0[1-9]|1[0-2])([0-2]\d|3[01])"),
    "day.month.year": re.compile(r"\d{1,2}[.]\d{1,2}[.](\d{4}|\d{2})"),
    "month/day/year": re.compile(r"(0?[1-9]|1[0-2])/(1[3-9]|2\d|3[01])/(\d{4}|\d{2})"),
    "day/month/year": re.compile(r"(1[3-9]|2\d|3[01])/(0?[1-9]|1[0-2])/(\d{4}|\d{2})"),
    "day-month-year": re.compile(r"\d{1,2}-\d{1,2}-(\d{4}|\d{2})"),
    "day month-name year": re.compile(r"\d{1,2}[ -][^\W\d]{3,}[.]?[ -](\d{4}|\d{2})"),
}
_EITHER = re.compile(r"\d{1,2}/\d{1,2}/(\d{4}|\d{2})")


def same_but_for_writing(name: str) -> str:
    """What is left of an id without case, spaces and leading zeros: 'p 01' and 'P1' agree."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"\s+", "", name).casefold())


def check_ids(sheet: Sheet, column: str, log: Log, *, what: str) -> None:
    """Report empty cells of an id column as a fault."""
    empty = sheet.cells.index[sheet.cells[column] == ""]
    if len(empty):
        log.fault(
            f"an empty {column} in {rows_of(empty)}",
            expected=f"{what} in every row",
            todo="fill the cells or remove the rows",
            where=place(sheet.name, empty, column),
        )


def check_near_ids(sheet: Sheet, log: Log) -> None:
    """Warn of patient ids that differ only in case, spaces or leading zeros: one person twice would leak."""
    first = sheet.cells.drop_duplicates("patient")["patient"]
    for _, alike in first.groupby(first.map(same_but_for_writing)):
        if len(alike) > 1 and (alike != "").all():
            ids = sorted(alike)
            log.find(
                "near-duplicate-patient",
                "warning",
                f"patients {listed(repr(i) for i in ids)} differ only in case, spaces or leading zeros"
                f" ({rows_of(sorted(alike.index))}); one person under two ids would be trained and tested on",
                todo="if they are one person, give them one id and one row",
                who=ids,
                where=place(sheet.name, sorted(alike.index), "patient"),
            )


def missing_columns(sheet: Sheet, wanted: Iterable[str], log: Log) -> None:
    """Report wanted columns the table lacks, each with the nearest one it has."""
    have = [str(c) for c in sheet.cells.columns]
    for column in wanted:
        if column not in have:
            log.fault(
                f"no column '{column}'",
                expected=f"the column {column} beside {listed(have)}",
                todo=f"add or rename it{did_you_mean(column, have)}",
                where=place(sheet.name, [1]),
            )


def check_columns(sheet: Sheet, log: Log, *, skip: Iterable[str] = ()) -> None:
    """Find mixed types, infinite numbers and dates in two formats in all columns but names and `skip`."""
    left_out = sheet.text | set(skip)
    for column in (str(c) for c in sheet.cells.columns if c not in left_out):
        cells = sheet.cells[column]
        cells = cells[~cells.map(missing)]
        if not len(cells):
            continue
        if _is_date_like(column, cells):
            _check_dates(sheet, column, cells, log)
        else:
            _check_numbers(sheet, column, cells, log)


def _is_date_like(column: str, cells: pd.Series[str]) -> bool:
    written = cells.map(lambda c: any(p.fullmatch(c) for n, p in _DATES.items() if n != "yearmonthday"))
    either = cells.map(lambda c: _EITHER.fullmatch(c) is not None)
    return bool(_DATE_NAME.search(column.casefold())) or float((written | either).mean()) > 0.5


def _check_dates(sheet: Sheet, column: str, cells: pd.Series[str], log: Log) -> None:
    formats = cells.map(lambda c: next((n for n, p in _DATES.items() if p.fullmatch(c)), ""))
    found = [f for f in _DATES if (formats == f).any()]
    either = cells.map(lambda c: _EITHER.fullmatch(c) is not None)
    slashes = {"month/day/year", "day/month/year"}
    undecided = either & (formats == "")
    if undecided.any() and not slashes & set(found):
        found.append("day/month/year or month/day/year")
        formats[undecided] = found[-1]
    if len(found) < 2:
        return
    shown = "; ".join(f"{f} in row {formats.index[formats == f][0]} ({cells[formats == f].iloc[0]})" for f in found)
    log.find(
        "dates-in-two-formats",
        "warning",
        f"column {column} of {sheet.name} holds dates in {len(found)} formats: {shown}",
        todo="write all dates as YYYY-MM-DD",
        where=place(sheet.name, (), column),
    )


def _check_numbers(sheet: Sheet, column: str, cells: pd.Series[str], log: Log) -> None:
    if cells.map(is_code).any():
        return
    numbers = cells.map(sheet.number)
    text = cells[numbers.isna()]
    values = numbers.dropna().astype(float)
    endless = values.index[~np.isfinite(values.to_numpy())]
    if 0 < len(text) < len(cells):
        severity: Severity = "warning" if len(text) * 2 <= len(cells) else "note"
        odd = text if severity == "warning" else cells[numbers.notna()]
        kind = "text among numbers" if severity == "warning" else "numbers among text"
        log.find(
            "mixed-types",
            severity,
            f"column {column} of {sheet.name} holds {kind}: {listed(repr(c) for c in odd.unique())} in"
            f" {rows_of(odd.index)}; the whole column is read as text",
            todo="write one kind of value, and leave unknown values empty",
            where=place(sheet.name, odd.index, column),
        )
    elif len(endless):
        log.find(
            "not-finite",
            "warning",
            f"column {column} of {sheet.name} holds numbers that are not finite in {rows_of(endless)}",
            todo="leave unknown values empty",
            where=place(sheet.name, endless, column),
        )
