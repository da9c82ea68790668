"""Columns of dates as days; every cell of a column in one format."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from phenolens.cohort.faults import did_you_mean, listed, place
from phenolens.cohort.reading import as_text, missing
from phenolens.core.errors import CohortError

_FORMATS = {
    "year-month-day": "%Y-%m-%d",
    "year/month/day": "%Y/%m/%d",
    "yearmonthday": "%Y%m%d",
    "day.month.year": "%d.%m.%Y",
    "day-month-year": "%d-%m-%Y",
    "day/month/year": "%d/%m/%Y",
    "month/day/year": "%m/%d/%Y",
}
_TIME = re.compile(r"(?<=\d)[T ]\d.*")
_TODO = "write all dates as YYYY-MM-DD, and leave unknown ones empty"


def days(frame: pd.DataFrame, column: str, who: pd.Series[Any], *, table: str, key: str) -> pd.Series[Any]:
    """One column of a table as dates without a time of day; NaT where a cell is empty.

    `who` is the patient of each row; `key` is the key of the study file that names the column. Raises CohortError where
    there is no such column, where cells are in none of the formats or not all in one (naming cells and patients), and
    where nobody can tell whether the day or the month comes first.
    """
    if column not in frame:
        raise CohortError(
            f"no column '{column}', which {key} names",
            expected=f"one of {listed(frame.columns)}",
            todo=f"add the column, or correct {key}{did_you_mean(column, frame.columns)}",
            where=table,
        )
    text = frame[column].map(as_text)
    text = text[~text.map(missing)].map(lambda cell: _TIME.sub("", cell))
    read = {name: pd.to_datetime(text, format=form, errors="coerce") for name, form in _FORMATS.items()}
    whole = {name: dates for name, dates in read.items() if dates.notna().all()}
    first = next(iter(whole.values()), None)
    where = place(table, (), column)
    if first is None:
        best = max(read, key=lambda name: int(read[name].notna().sum()))
        odd = text[read[best].isna()]
        cells = listed([f"{c!r} of {p}" for c, p in zip(odd, who.loc[odd.index], strict=True)], 5)
        expected = f"dates in one format{f', such as {best}' if len(odd) < len(text) else ''}"
        raise CohortError(f"cells that are no dates: {cells}", expected=expected, todo=_TODO, where=where)
    if any((dates != first).any() for dates in whole.values()):
        found = f"dates such as {text.iloc[0]}, in which day and month could change places"
        raise CohortError(found, expected="dates that can be read in one way only", todo=_TODO, where=where)
    return first.reindex(frame.index)
