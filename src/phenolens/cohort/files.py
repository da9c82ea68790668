"""The files behind the images: which are missing, and which are the same file under two names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pandas as pd

from phenolens.cohort.duplicates import Link, one_person
from phenolens.cohort.faults import Log, counted, did_you_mean, listed, place, rows_of
from phenolens.core.store import fingerprint

Name = TypeVar("Name", int, str)
_PIECE = 2**16
_SHOWN = 3


def resolve(written: str, folder: Path) -> str:
    """Absolute path of a cell of the table; relative ones start at the table's folder.

    Backslashes of a path written on Windows are read as slashes where no such file exists.
    """
    path = Path(written).expanduser()
    path = path if path.is_absolute() else folder / path
    if not there(path) and "\\" in written:
        path = folder / Path(written.replace("\\", "/")).expanduser()
    return str(path.absolute())


def there(path: Path) -> bool:
    """Whether the file or folder can be seen; one in a folder this user may not enter counts as missing."""
    try:
        return path.exists()
    except OSError:
        return False


def size_of(path: Path) -> int:
    """Bytes of a file with its .mrxs companions, or of all files in a folder."""
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
    companion = path.with_suffix("")
    more = size_of(companion) if path.suffix.lower() == ".mrxs" and companion.is_dir() else 0
    return path.stat().st_size + more


def check_missing(images: pd.DataFrame, table: str, column: str, log: Log) -> None:
    """Warn of files that are not there; the run puts their images in quarantine."""
    gone = images[images[column].map(lambda p: p is not None and not there(Path(p)))]
    if gone.empty:
        return
    hints = []
    for path in map(Path, gone[column].head(_SHOWN)):
        near = sorted(p.name for p in path.parent.iterdir()) if there(path.parent) else []
        why = did_you_mean(path.name, near, 0.75) if near else f" (no folder {path.parent.name})"
        hints.append(f"{path.name}{why}")
    log.find(
        f"{'file' if column == 'path' else column}-not-found",
        "warning",
        f"{counted(len(gone), 'file')} of column {column} not found, {rows_of(gone.index)} of {table}:"
        f" {listed(hints, _SHOWN)}{f' and {len(gone) - _SHOWN} more' if len(gone) > _SHOWN else ''}",
        todo="correct the paths (relative ones start at the table's folder); a run puts these images in quarantine",
        who=sorted(set(gone["patient"])),
        where=place(table, gone.index, column),
    )


def check_twice(images: pd.DataFrame, table: str, kind: str, log: Log) -> None:
    """Refuse one file in two rows; find equal files of two patients (an error) and of one (a warning).

    Several series of one folder of scans are told apart by the column `series`.

    Content is compared only among files of equal size, first by their ends and middle, then by fingerprint.
    """
    real = images["path"].map(lambda p: str(Path(p).resolve()))
    series = images["series"].fillna("") if kind == "scan" else ""
    for _, rows in images.groupby(real + "\0" + series).groups.items():
        if len(rows) > 1:
            who = sorted(set(images.loc[rows, "patient"]))
            log.fault(
                f"the same file twice: {Path(real[rows[0]]).name} of {_patients(who)}",
                expected="every file in one row",
                todo="remove or correct the other rows; a file of two patients would be trained and tested on",
                where=place(table, rows, "path"),
            )
    links = []
    once = images.loc[~real.duplicated()]
    for equal in equal_files({int(row): Path(p) for row, p in zip(once.index, once["path"], strict=True)}):
        same = images.loc[equal]
        who = sorted(set(same["patient"]))
        names = listed(f"{Path(p).name} ({patient})" for p, patient in zip(same["path"], same["patient"], strict=True))
        if len(who) > 1:
            links.append(
                Link(who=frozenset(who), said=f"{names} have equal content", where=place(table, equal, "path"))
            )
        else:
            log.find(
                "same-content",
                "warning",
                f"the same file twice under patient {who[0]}: {names} have equal content",
                todo="keep one of them, or the patient counts it twice",
                who=who,
                where=place(table, equal, "path"),
            )
    log.findings += one_person(links)


def _patients(who: list[str]) -> str:
    return f"{'patient' if len(who) == 1 else 'patients'} {listed(who)}"


def equal_files(paths: Mapping[Name, Path]) -> list[list[Name]]:
    """The names of files (or folders) of equal content, in groups of two and more; missing and empty ones left out."""
    sizes = {name: size_of(path) for name, path in paths.items() if there(path)}
    groups = _grouped({name: size for name, size in sizes.items() if size})
    for step in (_glimpse, fingerprint):
        groups = [part for names in groups for part in _grouped({name: _marked(step, paths[name]) for name in names})]
    return groups


def _marked(step: Callable[[Path], str], path: Path) -> str:
    """The mark of a file, or one of its own where it cannot be read: the run will say so when it opens it."""
    try:
        return step(path)
    except OSError:
        return f"unreadable {path}"


def _grouped(marks: Mapping[Name, int | str]) -> list[list[Name]]:
    by_mark: dict[int | str, list[Name]] = {}
    for name, mark in marks.items():
        by_mark.setdefault(mark, []).append(name)
    return [names for names in by_mark.values() if len(names) > 1]


def _glimpse(path: Path) -> str:
    """A cheap mark that equal files share: their ends and middle; of a folder the names and sizes, and three files."""
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        some = {files[i] for i in (0, len(files) // 2, -1)} if files else set()
        return repr([(f.relative_to(path).as_posix(), f.stat().st_size, f in some and _glimpse(f)) for f in files])
    size, digest = path.stat().st_size, hashlib.sha256()
    with path.open("rb") as data:
        for start in (0, max(0, size // 2), max(0, size - _PIECE)):
            data.seek(start)
            digest.update(data.read(_PIECE))
    return digest.hexdigest()
