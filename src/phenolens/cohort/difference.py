"""What a cohort was and what has changed in it since, in sentences that name patients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from phenolens.cohort.faults import counted, listed
from phenolens.cohort.files import size_of, there
from phenolens.core.store import fingerprint
from phenolens.core.types import Cohort

_WHOLE = 64 * 2**20
_PATHS = ("path", "annotation")
_Row = Mapping[str, Any]


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as JSON-able mappings: holes are None, of paths only the file name is kept."""
    rows = frame.to_dict("records")
    return [{str(k): _plain(str(k), v) for k, v in row.items()} for row in rows]


def _plain(column: str, value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and math.isinf(value):
        return str(value)
    if isinstance(value, float) and value.is_integer() and column != "mpp":
        return int(value)
    return Path(value).name if column in _PATHS else value


def snapshot(cohort: Cohort) -> dict[str, Any]:
    """A JSON-able picture of the cohort: every cell of both tables and a mark of every image file.

    The mark is the content fingerprint of files up to 64 MiB and the size of larger ones; None where no file is.
    """
    patients = {str(row["patient"]): _without(row, "patient") for row in records(cohort.patients.reset_index())}
    marks = [_mark(Path(p)) for p in cohort.images["path"]]
    rows = zip(records(cohort.images), marks, strict=True)
    images = {str(row["image"]): {**_without(row, "image"), "file": mark} for row, mark in rows}
    return {"fingerprint": cohort.fingerprint, "patients": patients, "images": images}


def difference(before: Mapping[str, Any], cohort: Cohort) -> list[str]:
    """Sentences saying what changed since `before` (of `snapshot`): who came, who went, whose values differ."""
    now = snapshot(cohort)
    old, new = before["patients"], now["patients"]
    said = _came_and_went("patient", list(old), list(new))
    said += _columns("patients", old, new)
    for patient in sorted(set(old) & set(new)):
        said += [f"patient {patient}: {change}" for change in _changes(old[patient], new[patient])]
    stay = set(old) & set(new)
    was = {i: r for i, r in before["images"].items() if r["patient"] in stay or i in now["images"]}
    are = {i: r for i, r in now["images"].items() if r["patient"] in stay or i in before["images"]}
    gone, come = ([f"{i} of {r['patient']}" for i, r in a.items() if i not in b] for a, b in ((was, are), (are, was)))
    said += _came_and_went("image", gone, come)
    said += _columns("images", was, are)
    for image in sorted(set(was) & set(are)):
        who = f"image {image} of {are[image]['patient']}"
        said += [f"{who}: {change}" for change in _changes(was[image], are[image])]
    return said


def _mark(path: Path) -> str | None:
    if not there(path):
        return None
    size = size_of(path)
    try:
        return fingerprint(path) if size <= _WHOLE else f"{size} bytes"
    except OSError:
        return f"unreadable, {size} bytes"


def _without(row: _Row, key: str) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k != key}


def _came_and_went(noun: str, before: Sequence[str], now: Sequence[str]) -> list[str]:
    come, gone = sorted(set(now) - set(before)), sorted(set(before) - set(now))
    pairs = ((come, "added"), (gone, "removed"))
    return [f"{counted(len(who), noun)} {verb}: {listed(who, 20)}" for who, verb in pairs if who]


def _columns(table: str, before: Mapping[str, _Row], now: Mapping[str, _Row]) -> list[str]:
    """Whole columns that came or went are said once, not for every row."""
    if not before or not now:
        return []
    old, new = (set(next(iter(rows.values()))) for rows in (before, now))
    said = [f"column {c} added to the {table} table" for c in sorted(new - old)]
    return said + [f"column {c} removed from the {table} table" for c in sorted(old - new)]


def _changes(before: _Row, now: _Row) -> list[str]:
    said = []
    for key in sorted(set(before) & set(now)):
        a, b = before[key], now[key]
        if a == b:
            continue
        if key == "file" and a is not None and b is not None:
            said.append("file content changed")
        elif key == "file":
            said.append("the file is missing now" if b is None else "the file is there now")
        elif key in _PATHS:
            said.append(f"{key} changed from {_shown(a)} to {_shown(b)}")
        elif key == "patient":
            said.append(f"moved from patient {a} to {b}")
        else:
            said.append(f"{key} changed from {_shown(a)} to {_shown(b)}")
    return said


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(value)
