"""Which rows and columns of a user's feature table count: ids, parts, and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

import pandas as pd

from phenolens.cohort.columns import same_but_for_writing
from phenolens.cohort.faults import counted, did_you_mean, listed, place, rows_of
from phenolens.cohort.reading import Sheet, missing
from phenolens.core.errors import FeatureError

PART = "features"
"""The part of a table that names none."""
_IDS = ("patient", "image", "lesion", "part", "sequence")


def row_units(sheet: Sheet, units: pd.DataFrame, unit: str) -> pd.Series[str]:
    """The unit id of every row."""
    columns = {"patient": ["patient"], "image": ["image"], "lesion": ["patient", "lesion"]}[unit]
    have = [str(c) for c in sheet.cells.columns]
    for column in columns:
        if column not in have:
            raise FeatureError(
                f"no column '{column}'",
                expected=f"the columns {' and '.join(columns)} that say which {unit} a row is of",
                todo=f"add or rename it{did_you_mean(column, have)}",
                where=place(sheet.name, [1]),
            )
        empty = sheet.cells.index[sheet.cells[column] == ""]
        if len(empty):
            raise FeatureError(
                f"an empty {column} in {rows_of(empty)}",
                expected=f"the {unit} of every row",
                todo="fill the cells or remove the rows",
                where=place(sheet.name, empty, column),
            )
    keys: pd.Series[str] = sheet.cells[columns].agg("/".join, axis=1)
    if unit == "image" and "patient" in have:
        owner = keys.map(dict(zip(units["unit_id"], units["patient"], strict=True)))
        apart = keys.index[owner.notna() & (owner != sheet.cells["patient"])]
        if len(apart):
            raise FeatureError(
                f"image {keys[apart[0]]!r} of patient {sheet.cells['patient'][apart[0]]}",
                expected=f"patient {owner[apart[0]]}, as in the images table",
                todo="correct the ids",
                where=place(sheet.name, apart, "patient"),
            )
    return keys


def strangers(keys: pd.Series[str], units: pd.DataFrame, sheet: Sheet, *, elsewhere: bool = False) -> list[str]:
    """The units of the table that are not in the cohort; ids that are the cohort's but for writing are refused.

    With `elsewhere` all of them may be.
    """
    known = set(units["unit_id"])
    strange = [k for k in keys.drop_duplicates() if k not in known]
    alike = {same_but_for_writing(u): u for u in sorted(known - set(keys))}
    near = [f"{k!r} is {alike[same_but_for_writing(k)]!r} there" for k in strange if same_but_for_writing(k) in alike]
    if near or (len(strange) == keys.nunique() and not elsewhere):
        some = f"such as {listed(repr(k) for k in strange[:3])}"
        raise FeatureError(
            f"ids written otherwise than in the cohort: {listed(near, 3)}"
            if near
            else f"no unit of the cohort, {some}",
            expected=f"ids as the cohort has them, such as {listed(sorted(known)[:3])}",
            todo="write them alike; a spreadsheet drops leading zeros unless the column is formatted as text",
            where=place(sheet.name, keys.index[keys.isin(strange)]),
        )
    return strange


def row_parts(sheet: Sheet, wanted: Sequence[str]) -> pd.Series[str]:
    """The part of every row; PART where the table names none."""
    given = [c for c in ("part", "sequence") if c in sheet.cells]
    if len(given) > 1:
        todo = "remove one of them"
        raise FeatureError("the columns part and sequence", expected="one of them", todo=todo, where=sheet.name)
    if not given:
        if wanted:
            todo = "add the column sequence, with the part of every row"
            found = "neither a column 'sequence' nor 'part'"
            raise FeatureError(found, expected=f"rows of {listed(wanted)}", todo=todo, where=place(sheet.name, [1]))
        return pd.Series(PART, index=sheet.cells.index, dtype=object)
    part: pd.Series[str] = sheet.cells[given[0]]
    empty, have = part.index[part == ""], sorted(set(part))
    lost = [p for p in wanted if p not in have]
    if len(empty) or lost:
        raise FeatureError(
            f"an empty {given[0]} in {rows_of(empty)}" if len(empty) else f"no row of {lost[0]!r}",
            expected=f"one of {listed(wanted or [h for h in have if h])} in every row",
            todo="fill the cells" if len(empty) else f"correct the names{did_you_mean(lost[0], have)}",
            where=place(sheet.name, empty, given[0]),
        )
    return part


def refuse_twice(keys: pd.Series[str], part: pd.Series[str], sheet: Sheet, unit: str) -> None:
    """Refuse a unit (and part) that has several rows."""
    twice = pd.DataFrame({"key": keys, "part": part}).duplicated(keep=False)
    if twice.any():
        who = sorted(set(keys[twice]))
        raise FeatureError(
            f"{counted(len(who), unit)} with several rows: {listed(who)}",
            expected=f"one row a {unit}, or one for each part named in a column part or sequence",
            todo="keep one row of each; rows of lesions need task.unit: lesion",
            where=place(sheet.name, keys.index[twice]),
        )


def feature_columns(sheet: Sheet, ignore: Sequence[str], target: Sequence[str]) -> pd.DataFrame:
    """The columns that are features, as numbers."""
    columns = [str(c) for c in sheet.cells.columns]
    names = [c for c in columns if c not in _IDS and not any(fnmatchcase(c, pattern) for pattern in ignore)]
    unused = [p for p in ignore if not any(fnmatchcase(c, p) for c in columns)]
    if unused:
        todo = f"correct or remove it{did_you_mean(unused[0], columns)}"
        found = f"features.ignore {unused[0]!r}, which is no column"
        raise FeatureError(found, expected="columns of the table", todo=todo, where=sheet.name)
    for label in (t for t in target if t in names):
        raise FeatureError(
            f"the label, {label}, among the features",
            expected="features that are known without the label",
            todo=f"remove the column, or name it: features: {{ignore: [{label}]}}",
            where=place(sheet.name, [1], label),
        )
    if not names:
        raise FeatureError("no column of features", expected="a numeric column", todo="add features", where=sheet.name)
    chosen = replace(sheet, cells=sheet.cells[names]).typed()
    text = [c for c in names if chosen[c].dtype == object and chosen[c].notna().any()]
    if text:
        said = [f"{c} ({_odd(sheet, c)})" for c in text]
        raise FeatureError(
            f"text in {counted(len(text), 'column')}: {listed(said, 5)}",
            expected="numbers in every column but the ids",
            todo="write numbers, or name the columns that are no features: features: {ignore: [diagnostics_*, …]}",
            where=place(sheet.name, (), text[0]),
        )
    return chosen.astype(float)


def _odd(sheet: Sheet, column: str) -> str:
    """The first cell of a column that is no number, with its row."""
    cells = sheet.cells[column]
    odd = cells[~cells.map(lambda c: missing(c) or sheet.number(c) is not None)]
    cell, row = (odd.iloc[0], odd.index[0]) if len(odd) else (cells.iloc[0], cells.index[0])
    return f"{cell!r} in row {row}"
