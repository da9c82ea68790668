"""In which subgroup each patient is, by columns of the patients table: words as they stand, numbers cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pandas as pd

from phenolens.cohort.faults import did_you_mean, listed
from phenolens.cohort.reading import as_text
from phenolens.core.errors import CohortError
from phenolens.core.predictions import UNKNOWN_SUBGROUP

MOST = 12
"""Most levels of a column: more are names or measurements, not groups."""

Asked = str | Mapping[str, Sequence[float]]
"""A column, or {column: cuts}."""


def levels(
    patients: pd.DataFrame, asked: Sequence[Asked], *, table: str, target: str = ""
) -> dict[str, pd.Series[str]]:
    """Column -> patient -> level, in the order asked for; "unknown" where a cell is empty.

    Cuts 50 and 70 make "under 50", "50 to under 70" and "70 and over". Raises CohortError where a column is not there,
    is the target or twice, holds more than MOST different values without cuts, or words where there are cuts.
    """
    made: dict[str, pd.Series[str]] = {}
    for entry in asked:
        pairs = [(entry, ())] if isinstance(entry, str) else list(entry.items())
        for column, cuts in pairs:
            _check(column, patients, made, table, target)
            values = patients[column]
            made[column] = _cut(values, cuts, table) if len(cuts) else _words(values, table)
    return made


def _check(column: str, patients: pd.DataFrame, made: Mapping[str, Any], table: str, target: str) -> None:
    have = [str(c) for c in patients.columns if c != target]
    if column in have and column not in made:
        return
    found = f"subgroups by '{column}'"
    found += ", twice" if column in made else ", the target" if column == target else f", which is no column of {table}"
    raise CohortError(
        found,
        expected=f"columns of the patients table, each once: {listed(have)}",
        todo=f"correct or remove it{did_you_mean(column, have) if column not in have else ''}",
        where="study.yaml, subgroups",
    )


def _words(values: pd.Series[Any], table: str) -> pd.Series[str]:
    text: pd.Series[str] = values.map(as_text).map(lambda cell: cell or UNKNOWN_SUBGROUP)
    found = sorted(set(text))
    if len(found) > MOST:
        raise CohortError(
            f"{len(found)} different values of {values.name}: {listed(found, 5)}",
            expected=f"at most {MOST} levels",
            todo=f"give cuts where they are numbers: subgroups: [{{{values.name}: [50, 70]}}]; else join rare values",
            where=f"{table}, column {values.name}",
        )
    return text


def _cut(values: pd.Series[Any], cuts: Sequence[float], table: str) -> pd.Series[str]:
    edges = sorted(set(cuts))
    if not pd.api.types.is_numeric_dtype(values):
        raise CohortError(
            f"cuts at {listed(f'{c:g}' for c in edges)} of {values.name}, which holds words",
            expected="numbers in every filled cell",
            todo=f"correct the column, or name it without cuts: subgroups: [{values.name}]",
            where=f"{table}, column {values.name}",
        )
    names = [f"under {edges[0]:g}", *(f"{a:g} to under {b:g}" for a, b in pairwise(edges)), f"{edges[-1]:g} and over"]
    place = values.map(lambda x: None if pd.isna(x) else names[sum(x >= e for e in edges)])
    text: pd.Series[str] = place.astype(object).where(values.notna(), UNKNOWN_SUBGROUP)
    return text
