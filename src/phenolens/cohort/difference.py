"""What a cohort was and what has changed in it since, in sentences that name patients."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from phenolens.cohort.faults import counted, listed
from phenolens.cohort.files import size_of, there
from phenolens.core.store import fingerprint
from phenolens.core.types import Cohort

_WHOLE = 64 * 2**20
_PATHS = ("path", "annotation")
_SCAN_PATHS = ("path", "mask")
_MARKS = ("file", "mask_file")
_Row = Mapping[str, Any]


def records(frame: pd.DataFrame, *, paths: Sequence[str] = _PATHS) -> list[dict[str, Any]]:
    """The rows as JSON-able mappings: holes are None, of `paths` only the file name is kept."""
    rows = frame.to_dict("records")
    return [{str(k): _plain(str(k), v, paths) for k, v in row.items()} for row in rows]


def content(cohort: Cohort) -> dict[str, Any]:
    """Every cell of the tables, JSON-able: patients, images and, where they are the units, lesions."""
    made = {
        "patients": records(cohort.patients.reset_index()),
        "images": records(cohort.images, paths=_SCAN_PATHS if _of_scans(cohort.images) else _PATHS),
    }
    if cohort.lesions is not None:
        made["lesions"] = records(cohort.lesions, paths=_SCAN_PATHS)
    return made


def _of_scans(images: pd.DataFrame) -> bool:
    return "kind" in images and bool((images["kind"] == "scan").any())


def _plain(column: str, value: Any, paths: Sequence[str]) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and math.isinf(value):
        return str(value)
    if isinstance(value, float) and value.is_integer() and column != "mpp":
        return int(value)
    return Path(value).name if column in paths else value


def snapshot(cohort: Cohort) -> dict[str, Any]:
    """A JSON-able picture of the cohort: every cell of its tables and a mark of every image and mask file.

    The mark is the content fingerprint of files up to 64 MiB and the size of larger ones; None where no file is.
    """
    held = content(cohort)
    made: dict[str, Any] = {"fingerprint": cohort.fingerprint}
    made["patients"] = {str(row["patient"]): _without(row, "patient") for row in held["patients"]}
    images = [_without(row, "image") for row in held["images"]]
    _add_marks(images, "file", cohort.images["path"])
    if _of_scans(cohort.images):
        _add_marks(images, "mask_file", cohort.images["mask"])
    made["images"] = dict(zip((str(row["image"]) for row in held["images"]), images, strict=True))
    if cohort.lesions is not None:
        lesions = held["lesions"]
        _add_marks(lesions, "mask_file", cohort.lesions["mask"])
        made["lesions"] = {_lesion(row): _without(_without(row, "lesion"), "patient") for row in lesions}
    return made


def _add_marks(rows: Sequence[dict[str, Any]], key: str, paths: Iterable[str | None]) -> None:
    for row, path in zip(rows, paths, strict=True):
        row[key] = None if path is None else _mark(Path(path))


def _lesion(row: _Row) -> str:
    """How a row of the lesions table is called."""
    return f"{row['lesion']} of {row['patient']}" + ("" if row["image"] is None else f" on {row['image']}")


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
    return said + _lesions_changed(before.get("lesions"), now.get("lesions"))


def _lesions_changed(before: Mapping[str, _Row] | None, now: Mapping[str, _Row] | None) -> list[str]:
    if before is None or now is None:
        return [] if before is now else [f"the lesions table {'came' if before is None else 'went'}"]
    said = _came_and_went("lesion", list(before), list(now)) + _columns("lesions", before, now)
    for lesion in sorted(set(before) & set(now)):
        said += [f"lesion {lesion}: {change}" for change in _changes(before[lesion], now[lesion])]
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
    said = [f"column {c} added to the {table} table" for c in sorted(new - old - set(_MARKS))]
    return said + [f"column {c} removed from the {table} table" for c in sorted(old - new - set(_MARKS))]


def _changes(before: _Row, now: _Row) -> list[str]:
    said = []
    for key in sorted(set(before) & set(now)):
        a, b = before[key], now[key]
        if a == b:
            continue
        noun = "mask" if key == "mask_file" else key
        if key in _MARKS and a is not None and b is not None:
            said.append(f"{noun} content changed")
        elif key in _MARKS:
            said.append(f"the {noun} is {'missing' if b is None else 'there'} now")
        elif key == "patient":
            said.append(f"moved from patient {a} to {b}")
        else:
            said.append(f"{key} changed from {_shown(a)} to {_shown(b)}")
    return said


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(value)
