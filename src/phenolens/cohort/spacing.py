"""Micrometres per pixel as the images table declares them, by `mpp` or by `magnification`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from phenolens.cohort.faults import Log, counted, place, rows_of
from phenolens.cohort.reading import Sheet, missing

LOWEST, HIGHEST = 0.05, 20.0


def spacings(sheet: Sheet, log: Log) -> pd.Series[float]:
    """Declared mpp of every row, NaN where the file is to say it; magnification becomes 10 / magnification.

    What is not a finite number between 0.05 and 20 is a fault: most often another unit (mm, or magnification).
    """
    mpp = _numbers(sheet, "mpp", log)
    zoom = _numbers(sheet, "magnification", log)
    by_zoom = 10 / zoom
    rows = zoom.index[zoom.notna() & mpp.isna()]
    if len(rows):
        log.find(
            "mpp-from-magnification",
            "note",
            f"mpp of {counted(len(rows), 'image')} taken as 10 / magnification (40 gives 0.25), a rule of thumb",
            todo="give mpp where the scanner states it",
            where=place(sheet.name, (), "magnification"),
        )
    apart = mpp.index[(mpp / by_zoom - 1).abs() > 0.25]
    if len(apart):
        log.find(
            "mpp-against-magnification",
            "warning",
            f"mpp and 10 / magnification differ by more than a quarter in {rows_of(apart)}; mpp is used",
            todo="correct one of them",
            where=place(sheet.name, apart, "mpp"),
        )
    return mpp.fillna(by_zoom)


def _numbers(sheet: Sheet, column: str, log: Log) -> pd.Series[float]:
    values = pd.Series(np.nan, index=sheet.cells.index, dtype=float)
    if column not in sheet.cells:
        return values
    low, high = (LOWEST, HIGHEST) if column == "mpp" else (10 / HIGHEST, 10 / LOWEST)
    wrong: dict[str, list[int]] = {}
    for row, cell in zip(sheet.cells.index, sheet.cells[column], strict=True):
        if missing(cell):
            continue
        value = _value(sheet, column, cell)
        if value is None or not low <= value <= high:
            wrong.setdefault(cell, []).append(row)
        else:
            values.loc[row] = value
    for cell, rows in wrong.items():
        log.fault(
            f"{column} {cell!r}",
            expected=f"a number between {low:g} and {high:g}" + (" micrometres per pixel" if column == "mpp" else ""),
            todo=_advice(column, cell, _value(sheet, column, cell)),
            where=place(sheet.name, rows, column),
        )
    return values


def _value(sheet: Sheet, column: str, cell: str) -> float | None:
    return sheet.number(cell.strip("xX× ") if column == "magnification" else cell)


def _advice(column: str, cell: str, value: float | None) -> str:
    if value is None and "," in cell:
        return "write the decimal point as '.'"
    if column == "mpp" and value is not None and HIGHEST < value <= 200:
        return f"correct it; if {cell} is the magnification, put it in a column named magnification"
    if column == "mpp" and value is not None and 0 < value < LOWEST:
        return "correct it; if it is in millimetres, multiply by 1000"
    return "correct the cell, or leave it empty where the file says it"
