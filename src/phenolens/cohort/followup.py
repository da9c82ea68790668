"""Follow-up of patients: how long each was followed, and whether the event was seen at its end."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from phenolens.cohort.asked import Tables
from phenolens.cohort.faults import Log, counted, did_you_mean, listed, place, rows_of
from phenolens.cohort.reading import Sheet, missing
from phenolens.core.predictions import STRATA

_EVENTS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}


def check_follow_up(sheet: Sheet, tables: Tables, log: Log) -> None:
    """Report the columns of time and event that the patients table lacks."""
    columns = [str(c) for c in sheet.cells.columns]
    for key, column in (("time", tables.time), ("event", tables.event)):
        if column not in columns:
            log.fault(
                f"no column '{column}', the {key} of the task",
                expected=f"one of {listed(columns)}",
                todo=f"add it, or correct task.{key}{did_you_mean(str(column), columns)}",
                where=place(sheet.name, [1]),
            )


def followed(patients: pd.DataFrame, sheet: Sheet, tables: Tables, log: Log) -> pd.DataFrame:
    """The patients with a follow-up, their time as numbers above 0 and their event as 0 or 1; others are told.

    A cell that is no such time or event is a fault with its row; an empty one leaves its patient out with a finding.
    """
    time, event = str(tables.time), str(tables.event)
    cells = sheet.cells.loc[patients.index]
    times = cells[time].map(lambda c: math.nan if missing(c) else _number(sheet, c))
    events = cells[event].map(lambda c: -1 if missing(c) else _EVENTS.get(c.casefold()))
    _refuse(cells[time], times.isna() & ~cells[time].map(missing), "no number", sheet, time, log)
    for bad, what in ((times <= 0, "not above 0"), (times.map(math.isinf), "not finite")):
        _refuse(cells[time], bad, what, sheet, time, log)
    odd = events.isna()
    if odd.any():
        log.fault(
            f"{listed(repr(c) for c in sorted(set(cells[event][odd])))} in {rows_of(cells.index[odd])}",
            expected="1 (or true) where the event was seen at that time, 0 (or false) where it was not",
            todo="write 1 and 0; what is not known stays empty",
            where=place(sheet.name, cells.index[odd], event),
        )
    whole = times.notna() & (events != -1)
    _tell(patients[~whole & ~odd], sheet, (time, event), log)
    kept = patients[whole & ~odd]
    columns: dict[str, pd.Series[Any]] = {
        time: times[kept.index].astype(float),
        event: events[kept.index].astype("int64"),
    }
    return kept.assign(**columns)


def strata(patients: pd.DataFrame, tables: Tables) -> pd.Series[str]:
    """Patient -> censored or event."""
    seen: pd.Series[str] = patients[str(tables.event)].map(dict(enumerate(STRATA)))
    return seen.rename(tables.target)


def _number(sheet: Sheet, cell: str) -> float:
    value = sheet.number(cell)
    return math.nan if value is None else value


def _refuse(cells: pd.Series[str], bad: pd.Series[bool], what: str, sheet: Sheet, column: str, log: Log) -> None:
    if not bad.any():
        return
    rows = cells.index[bad]
    log.fault(
        f"a time that is {what}: {listed(repr(c) for c in sorted(set(cells[bad])))} in {rows_of(rows)}",
        expected="how long each patient was followed, a number above 0 in one unit for all",
        todo=f"correct the cells, or leave these patients out with where: {column} > 0",
        where=place(sheet.name, rows, column),
    )


def _tell(without: pd.DataFrame, sheet: Sheet, columns: tuple[str, str], log: Log) -> None:
    if without.empty:
        return
    who = sorted(without["patient"])
    log.find(
        "patient-without-follow-up",
        "warning",
        f"{counted(len(who), 'patient')} without {' or '.join(columns)}, left out: {listed(who)}"
        f" ({rows_of(without.index)} of {sheet.name})",
        todo="fill both columns, or leave them out with where:",
        who=who,
        where=place(sheet.name, without.index, columns[0]),
    )
