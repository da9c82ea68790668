"""A user's table of repeated readings: the features of a unit as they were measured again.

Columns: those that say whose row it is (as in `features.table`), `reading`, and every feature of the feature table;
other columns are not read. Every unit has every reading. Units of people outside the cohort are kept apart; a unit
that is not in the cohort of a patient who is, is left out: it belongs to no fold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from phenolens.cohort.faults import counted, did_you_mean, listed, place, rows_of
from phenolens.cohort.reading import TEXT_COLUMNS, Sheet, read_sheet
from phenolens.core.errors import FeatureError
from phenolens.core.types import Loaded, Part
from phenolens.features._tablerows import feature_columns, row_parts, row_units, strangers
from phenolens.features.table import bag_of

Reading = tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class Readings:
    """Unit id -> its readings in the order of their names; those of units of people outside the cohort; how many."""

    own: Mapping[str, tuple[Reading, ...]]
    elsewhere: tuple[tuple[Reading, ...], ...]
    count: int


def read_readings(
    path: Path,
    units: pd.DataFrame,
    names: Mapping[str, Sequence[str]],
    *,
    unit: Literal["patient", "image", "lesion"] = "patient",
) -> Readings:
    """Read CSV, XLSX or Parquet; `units` has unit_id and patient, `names` the features of each part that are used.

    Raises FeatureError naming what is not there: a column, a number, a reading of a unit; ids written otherwise than in
    the cohort; a reading twice.
    """
    sheet = read_sheet(path)
    sheet = replace(sheet, text=TEXT_COLUMNS | {"lesion", "sequence", "reading"})
    needed = list(dict.fromkeys(n for own in names.values() for n in own))
    _refuse_absent(sheet, ["patient", "reading", *needed])
    keys = row_units(sheet, units, unit)
    strange = set(strangers(keys, units, sheet, elsewhere=True))
    rows = pd.DataFrame({"unit": keys, "reading": sheet.cells["reading"], "part": row_parts(sheet, ())})
    if unknown := sorted(set(rows["part"]) - set(names)):
        todo = "correct the names, or remove the rows"
        found, expected = f"readings of the part {unknown[0]!r}", f"parts of the feature table: {listed(names)}"
        raise FeatureError(found, expected=expected, todo=todo, where=sheet.name)
    labels = _whole(rows, sheet)
    values = feature_columns(replace(sheet, cells=sheet.cells[needed]), (), ())
    ours = set(units["patient"].astype(str))
    outside = {
        k for k, patient in zip(keys, sheet.cells["patient"], strict=True) if k in strange and patient not in ours
    }
    own: dict[str, tuple[Reading, ...]] = {}
    others: list[tuple[Reading, ...]] = []
    for key, mine in rows.groupby("unit", sort=True):
        made = tuple(_parts(str(key), mine[mine["reading"] == label], values, names, sheet) for label in labels)
        if key in outside:
            others.append(made)
        elif key not in strange:
            own[str(key)] = made
    return Readings(own=own, elsewhere=tuple(others), count=len(labels))


def _parts(
    unit: str, rows: pd.DataFrame, values: pd.DataFrame, names: Mapping[str, Sequence[str]], sheet: Sheet
) -> Reading:
    at = dict(zip(rows["part"], rows.index, strict=True))
    made = []
    for name, features in names.items():
        bag = None
        if name in at:
            x = values.loc[at[name], list(features)].to_numpy(dtype=np.float32)
            if not np.isfinite(x).all():
                raise FeatureError(
                    f"a hole in reading {rows['reading'].iloc[0]!r} of {unit!r}",
                    expected="a finite number for every feature",
                    todo="fill it, or leave the unit out of the readings",
                    where=place(sheet.name, [at[name]]),
                )
            bag = Loaded(bag=bag_of(name, tuple(features), x))
        made.append(Part(name=name, image=unit, source=bag))
    return tuple(made)


def _refuse_absent(sheet: Sheet, wanted: Sequence[str]) -> None:
    have = [str(c) for c in sheet.cells.columns]
    absent = [c for c in wanted if c not in have]
    if absent:
        raise FeatureError(
            f"{counted(len(absent), 'column')} not there: {listed(absent)}",
            expected="patient, reading, and every feature of the feature table",
            todo=f"add them, written alike{did_you_mean(absent[0], have)}",
            where=place(sheet.name, [1]),
        )


def _whole(rows: pd.DataFrame, sheet: Sheet) -> list[str]:
    """The names of the readings; each is there once for every unit and part."""
    labels = sorted(set(rows["reading"]))
    twice = rows.index[rows.duplicated(keep=False)]
    counts = rows.groupby(["unit", "part"])["reading"].nunique()
    short = counts.index[counts < max(len(labels), 2)]
    if not len(twice) and not len(short) and "" not in labels:
        return labels
    if len(twice):
        found = f"a reading twice in {rows_of(twice)}"
    elif "" in labels:
        found = f"an empty reading in {rows_of(rows.index[rows['reading'] == ''])}"
    else:
        found = f"{counted(len(short), 'unit')} without one of the readings: {listed(str(u) for u, _ in short)}"
    raise FeatureError(
        found,
        expected="two readings or more, each once for every unit" + (f": {listed(labels)}" if labels else ""),
        todo="add the readings, or leave these units out of the table",
        where=sheet.name,
    )
