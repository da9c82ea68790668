"""A user's own feature table: one row a unit (and part), every numeric column a feature.

| unit of prediction | columns that say whose row it is |
|---|---|
| patient | `patient` |
| image | `image` (and `patient`, which must agree) |
| lesion | `patient` and `lesion` |

A column `part` or `sequence` gives a unit several rows, one for each part; a column that is empty in all rows of a part
is no feature of that part. Nothing is learnt from the values: holes are refused, or their columns dropped when asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from phenolens.cohort.faults import counted, listed, place, rows_of
from phenolens.cohort.reading import TEXT_COLUMNS, read_sheet
from phenolens.core.errors import FeatureError
from phenolens.core.store import key_of
from phenolens.core.types import Bag, Finding, FloatArray, Frame, Loaded, Part
from phenolens.features._tablerows import feature_columns, refuse_twice, row_parts, row_units, strangers

VERSION = 1
_FRAME = Frame(shape=(1, 1, 1), spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), unit="mm")
_LARGEST = float(np.finfo(np.float32).max)
Numbers = npt.NDArray[np.float64]
"""Shape (rows, features); NaN where a cell is empty."""
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class FeatureTable:
    """What a table holds for the units of a cohort.

    `parts` is unit id -> its parts in one order for all units, those it has no row for without source; a unit without
    any row is not in it. `names` is part -> its features. `findings` says what was left out and why.
    """

    parts: Mapping[str, tuple[Part, ...]]
    names: Mapping[str, tuple[str, ...]]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Rows of one part: unit id of each, values, and the rows' numbers in the table (the index of `units`)."""

    table: str
    part: str
    units: pd.Series[str]
    names: tuple[str, ...]
    x: Numbers

    def keep(self, rows: Bools, columns: Bools) -> _Rows:
        names = tuple(n for n, k in zip(self.names, columns, strict=True) if k)
        return replace(self, units=self.units[rows], names=names, x=self.x[rows][:, columns])


@dataclass
class _Told:
    """Findings met so far."""

    findings: list[Finding] = field(default_factory=list)

    def find(self, rule: str, severity: Literal["warning", "note"], what: str, todo: str, who: Iterable[str]) -> None:
        self.findings.append(Finding(rule=rule, severity=severity, what=what, todo=todo, who=tuple(sorted(set(who)))))


def read_feature_table(
    path: Path,
    units: pd.DataFrame,
    *,
    unit: Literal["patient", "image", "lesion"] = "patient",
    target: str | Sequence[str] = (),
    parts: Sequence[str] = (),
    ignore: Sequence[str] = (),
    drop_incomplete_columns: bool = False,
) -> FeatureTable:
    """Read CSV, XLSX or Parquet as features of `units` (columns unit_id and patient).

    parts: the parts to read, in order (default: all in the table, sorted). ignore: columns that are no features, with
    wildcards (`diagnostics_*`). target: the columns of the label, which may not stand here. Raises FeatureError naming
    rows and columns: a unit twice, ids of the cohort written otherwise, no unit of the cohort, text in a column, a hole
    or a number that is not finite (with drop_incomplete_columns such columns are left out, with a finding), the label.
    """
    sheet = read_sheet(path)
    sheet = replace(sheet, text=TEXT_COLUMNS | {"lesion", "sequence"})
    told = _Told()
    keys = row_units(sheet, units, unit)
    if strange := strangers(keys, units, sheet):
        what = f"{counted(len(strange), 'unit')} of {sheet.name} not in the cohort, left out: {listed(strange)}"
        told.find("features-of-strangers", "note", what, "nothing, if they are left out of the cohort on purpose", ())
    keys = keys[keys.isin(set(units["unit_id"]))]
    part = row_parts(sheet, parts).reindex(keys.index)
    refuse_twice(keys, part, sheet, unit)
    frame = feature_columns(sheet, ignore, (target,) if isinstance(target, str) else tuple(target)).loc[keys.index]
    wanted = tuple(parts) or tuple(sorted(set(part)))
    made = {}
    for name in wanted:
        own = frame[(part == name).to_numpy()]
        x = own.to_numpy(dtype=np.float64, copy=True)
        block = _Rows(table=sheet.name, part=name, units=keys[own.index], names=tuple(frame.columns), x=x)
        made[name] = _complete(block, len(wanted) > 1, drop_incomplete_columns, told)
    held = _assemble(made, units)
    _check_without(held, units, sheet.name, told)
    names = {name: rows.names for name, rows in made.items()}
    return FeatureTable(parts=held, names=names, findings=tuple(told.findings))


def _complete(rows: _Rows, several: bool, drop: bool, told: _Told) -> _Rows:
    """The rows that hold anything, with the columns that are finite in all of them; others are refused or dropped."""
    there: Bools = ~np.logical_and.reduce(np.isnan(rows.x), axis=1)
    used: Bools = np.ones(len(rows.names), dtype=np.bool_)
    if several:
        used = ~np.logical_and.reduce(np.isnan(rows.x), axis=0)
    rows = rows.keep(there, used)
    _refuse_zeros(rows)
    good = np.isfinite(rows.x) & (np.abs(np.nan_to_num(rows.x, posinf=0, neginf=0)) <= _LARGEST)
    whole: Bools = np.logical_and.reduce(good, axis=0)
    holes: Bools = ~np.logical_and.reduce(good, axis=1)
    lost = [n for n, k in zip(rows.names, whole, strict=True) if not k]
    where = f" of part {rows.part}" if several else ""
    if lost and not drop:
        at = rows.units.index[holes]
        raise FeatureError(
            f"{counted(int((~good).sum()), 'hole')} (empty, infinite or beyond {_LARGEST:.2g}) in"
            f" {counted(len(lost), 'column')} of {len(rows.names)}{where}: {listed(lost, 5)}; {rows_of(at)}",
            expected="a finite number in every cell",
            todo="fill them, leave these rows out, or drop the columns: features: {drop_incomplete_columns: true}",
            where=place(rows.table, at[:10]),
        )
    if lost:
        what = f"{counted(len(lost), 'column')} of {len(rows.names)}{where} with holes, left out: {listed(lost)}"
        told.find("incomplete-columns-dropped", "warning", what, "fill the holes if these features matter", ())
    if not np.count_nonzero(whole) or not len(rows.units):
        raise FeatureError(
            f"no complete column{where} in {rows.table}",
            expected="at least one feature that every unit has",
            todo="fill the holes, or leave the units that have them out of the table",
            where=rows.table,
        )
    return rows.keep(np.ones(len(rows.units), dtype=np.bool_), whole)


def _assemble(made: Mapping[str, _Rows], units: pd.DataFrame) -> dict[str, tuple[Part, ...]]:
    """The parts of every unit that has one, in the order of `units`."""
    bags: dict[str, dict[str, Bag]] = {}
    for name, rows in made.items():
        for unit, values in zip(rows.units, rows.x.astype(np.float32), strict=True):
            bags.setdefault(unit, {})[name] = bag_of(name, rows.names, values)
    return {
        unit: tuple(
            Part(name=name, image=unit, source=Loaded(bag=bags[unit][name]) if name in bags[unit] else None)
            for name in made
        )
        for unit in units["unit_id"].astype(str)
        if unit in bags
    }


def bag_of(part: str, names: tuple[str, ...], values: FloatArray) -> Bag:
    """One row of a table, (m,) float32, as a bag of one instance."""
    recipe = key_of(["table", VERSION, part, key_of(names), values.tobytes().hex()])
    return Bag(x=values[None], coords=np.zeros((1, 3)), extent=1.0, names=names, frame=_FRAME, recipe=recipe)


def _refuse_zeros(rows: _Rows) -> None:
    """A row of nothing but zeros is absence written as a measurement."""
    zeros = np.logical_and.reduce(rows.x == 0, axis=1)
    if rows.x.shape[1] > 1 and np.count_nonzero(zeros):
        at = rows.units.index[zeros]
        raise FeatureError(
            f"{counted(len(at), 'row')} of zeros alone in part {rows.part}: {listed(rows.units[zeros])}; {rows_of(at)}",
            expected="measured features, or no row where nothing was measured",
            todo="remove these rows, or leave their cells empty: absence is not zero",
            where=place(rows.table, at[:10]),
        )


def _check_without(held: Mapping[str, tuple[Part, ...]], units: pd.DataFrame, table: str, told: _Told) -> None:
    """Name the units without features, and count those without one of the parts."""
    without = units[~units["unit_id"].isin(list(held))]
    if len(without):
        what = f"{counted(len(without), 'unit')} without features in {table}: {listed(without['unit_id'])}"
        todo = "add their rows, or leave them out of the cohort"
        told.find("unit-without-features", "warning", what, todo, without["patient"])
    for place_, name in enumerate(next(iter(held.values()), ())):
        absent = [unit for unit, parts in held.items() if not parts[place_].present]
        if absent:
            what = f"{counted(len(absent), 'unit')} without {name.name} in {table}: {listed(absent)}"
            told.find("part-absent", "note", what, "nothing, if it was not measured", ())
