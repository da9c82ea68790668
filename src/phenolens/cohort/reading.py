"""Reading a table as a spreadsheet shows it: every cell as text, every row with its number."""

from __future__ import annotations

import csv
import datetime
import io
import math
import re
import unicodedata
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
from openpyxl import load_workbook
from pyarrow import parquet

from phenolens.cohort.faults import did_you_mean, listed, place
from phenolens.core.errors import CohortError

TEXT_COLUMNS = frozenset({"patient", "image", "path", "annotation", "site", "stain", "kind", "part", "scheme"})
"""Columns that are names whatever they look like: '007' stays '007' and 'NA' stays 'NA'."""

_MISSING = frozenset({"", "na", "n/a", "nan", "null", "#n/a"})
_NUMBER = re.compile(r"[+-]?(\d+([.]\d*)?|[.]\d+)([eE][+-]?\d+)?")
_CODE = re.compile(r"[+-]?0\d+([.]\d*)?")
_NOT_FINITE = frozenset({"inf", "-inf", "+inf", "infinity", "-infinity"})
_SPREADSHEET_ERRORS = frozenset({"#REF!", "#DIV/0!", "#VALUE!", "#NAME?", "#NUM!", "#NULL!"})
_PATHS = frozenset({"path", "annotation", "mask"})


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """One table: `cells` are stripped strings indexed by row number (header = row 1); `comma` is the decimal mark.

    The columns of `text` are names, whatever their cells look like.
    """

    name: str
    cells: pd.DataFrame
    comma: bool = False
    notes: tuple[str, ...] = ()
    text: frozenset[str] = TEXT_COLUMNS

    def number(self, cell: str) -> float | None:
        """The number a cell holds (infinite where it says so), or None where it holds none."""
        return number(cell, comma=self.comma)

    def typed(self) -> pd.DataFrame:
        """The cells with their types: numbers where a column holds only numbers, text elsewhere, NaN where empty."""
        return pd.DataFrame({c: self._column(str(c)) for c in self.cells}, index=self.cells.index)

    def _column(self, name: str) -> pd.Series[Any]:
        cells = self.cells[name]
        if name in self.text:
            return cells.where(cells != "", other=None)
        empty = cells.map(missing)
        numbers = cells[~empty].map(self.number)
        if not len(numbers) or numbers.isna().any() or cells[~empty].map(is_code).any():
            return cells.mask(empty, other=None)
        column = numbers.astype(float).reindex(cells.index)
        whole = not empty.any() and bool((column.abs() < 2**53).all()) and bool((column % 1 == 0).all())
        return column.astype("int64") if whole else column


def missing(cell: str) -> bool:
    """Whether a cell is empty or says so (NA, N/A, NaN, null)."""
    return cell.casefold() in _MISSING


def is_code(cell: str) -> bool:
    """Whether a cell is written like a number but is a name: '007'."""
    return _CODE.fullmatch(cell) is not None


def number(cell: str, *, comma: bool = False) -> float | None:
    """The number a cell holds, or None; with `comma` 0,25 is a quarter."""
    if comma and cell.count(",") == 1 and "." not in cell:
        cell = cell.replace(",", ".")
    if cell.casefold() in _NOT_FINITE:
        return math.copysign(math.inf, -1 if cell[0] == "-" else 1)
    return float(cell) if _NUMBER.fullmatch(cell) else None


def as_text(value: Any) -> str:
    """A typed value as a spreadsheet shows it: whole numbers without a point, dates as ISO, nothing for a hole."""
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(" ")
    return str(value)


def read_sheet(path: Path) -> Sheet:
    """Read CSV (UTF-8, BOM, UTF-16 with BOM, Latin-1; comma, semicolon or tab), XLSX (first sheet) or Parquet.

    The kind is told from the content, not from the name. Raises CohortError naming file and row.
    """
    if not path.is_file():
        near = [p.name for p in path.parent.iterdir() if p.is_file()] if path.parent.is_dir() else []
        raise CohortError(
            f"a folder, {path.name}" if path.is_dir() else f"no file {path.name} in {path.parent}",
            expected="a table (CSV, XLSX or Parquet)",
            todo=f"correct its name in the study file{did_you_mean(path.name, near)}",
            where=str(path),
        )
    try:
        data = path.read_bytes()
    except OSError as fault:
        todo = "make the file readable for this user"
        raise CohortError(
            f"a file that cannot be opened ({fault.strerror})", expected="a table", todo=todo, where=str(path)
        ) from fault
    if data[:4] == b"PK\x03\x04":
        return _xlsx(data, path.name)
    if data[:4] == b"PAR1":
        return _parquet(data, path.name)
    if data[:4] == b"\xd0\xcf\x11\xe0":
        raise CohortError(
            "an Excel file of the old kind (.xls)",
            expected="CSV, XLSX or Parquet",
            todo="save it as .xlsx",
            where=path.name,
        )
    return _csv(data, path.name)


def _decode(data: bytes, name: str) -> tuple[str, tuple[str, ...]]:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16"), ()
    if b"\0" in data:
        raise CohortError(
            "bytes that are not text", expected="CSV, XLSX or Parquet", todo="export the table again", where=name
        )
    try:
        return data.decode("utf-8-sig"), ()
    except UnicodeDecodeError:
        pass
    note = (f"{name} is not UTF-8; it was read as Latin-1 (Windows-1252). Look at names with accents",)
    try:
        return data.decode("cp1252"), note
    except UnicodeDecodeError:
        return data.decode("latin-1"), note


def _csv(data: bytes, name: str) -> Sheet:
    text, notes = _decode(data, name)
    declared = re.match(r"sep=(.)\r?\n", text)
    if declared:
        text = text[declared.end() :]

    def records(mark: str, *, strict: bool) -> Iterator[list[str]]:
        return csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=strict)

    try:
        mark = declared[1] if declared else max(",;\t", key=lambda m: len(next(records(m, strict=False), [])))
        rows = list(records(mark, strict=True))
    except csv.Error as fault:
        raise CohortError(
            f"text that is not CSV ({fault})",
            expected="cells with paired quotes",
            todo="export the table again",
            where=name,
        ) from fault
    return Sheet(name=name, cells=_cells(rows, name, ragged=False), comma=mark == ";", notes=notes)


def _xlsx(data: bytes, name: str) -> Sheet:
    try:
        book = load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    except (zipfile.BadZipFile, KeyError, ValueError) as fault:
        raise CohortError(
            f"a file that is not an Excel workbook ({fault})",
            expected="XLSX",
            todo="save it again as .xlsx",
            where=name,
        ) from fault
    try:
        sheet = book.worksheets[0]
        sheet.reset_dimensions()
        rows = [[as_text(value) for value in row] for row in sheet.iter_rows(values_only=True)]
        others = [s.title for s in book.worksheets[1:]]
    finally:
        book.close()
    note = f"{name} has {len(others) + 1} sheets; only the first, '{sheet.title}', is read (not {listed(others)})"
    return Sheet(name=name, cells=_cells(rows, name, ragged=True), notes=(note,) if others else ())


def _parquet(data: bytes, name: str) -> Sheet:
    try:
        table = parquet.read_table(io.BytesIO(data))
    except pyarrow.ArrowException as fault:
        raise CohortError(
            f"a file that is not Parquet ({fault})", expected="Parquet", todo="write the table again", where=name
        ) from fault
    columns = [column.to_pylist() for column in table.columns]
    rows = [list(table.column_names), *([as_text(v) for v in row] for row in zip(*columns, strict=True))]
    return Sheet(name=name, cells=_cells(rows, name, ragged=True))


def _cells(rows: Sequence[Sequence[str]], name: str, *, ragged: bool) -> pd.DataFrame:
    """Header and records as a frame of stripped strings; blank rows are skipped but counted."""
    header = [cell.strip() for cell in rows[0]] if rows else []
    while header and not header[-1]:
        header.pop()
    records = {n: [c.strip() for c in row] for n, row in enumerate(rows[1:], start=2) if any(c.strip() for c in row)}
    if not header or not records:
        what = "no header" if not header else "a header and no row"
        raise CohortError(what, expected="a header and a row a patient or image", todo="fill the table", where=name)
    _check_header(header, name)
    width = len(header)
    for n, row in records.items():
        if any(row[width:]) or (len(row) < width and not ragged):
            raise CohortError(
                f"{len(row)} cells in a table of {width} columns",
                expected=f"{width} cells",
                todo="put text that contains the separator in quotes, or export the table with another separator",
                where=place(name, [n]),
            )
    frame = pd.DataFrame(
        [(row + [""] * width)[:width] for row in records.values()], columns=header, index=list(records), dtype=object
    )
    frame.index.name = "row"
    for column in frame.columns.difference(list(_PATHS)):
        if not "".join(frame[column]).isascii():
            frame[column] = frame[column].map(lambda cell: unicodedata.normalize("NFC", cell))
    _check_cells(frame, name)
    return frame.drop(columns=[""], errors="ignore")


def _check_header(header: Sequence[str], name: str) -> None:
    twice = sorted({c for c in header if header.count(c) > 1})
    if twice:
        raise CohortError(
            f"columns named twice: {listed(repr(c) for c in twice)}",
            expected="a name a column, each once",
            todo="rename or remove one of them",
            where=place(name, [1]),
        )


def _check_cells(frame: pd.DataFrame, name: str) -> None:
    for column in frame:
        broken = frame[column].isin(_SPREADSHEET_ERRORS)
        if broken.any():
            rows = frame.index[broken]
            raise CohortError(
                f"the spreadsheet error {frame[column][broken].iloc[0]}",
                expected="a value",
                todo="mend the formula and save again",
                where=place(name, rows, str(column)),
            )
