"""Finding the format that opens a scan."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from phenolens.core.errors import ImageError
from phenolens.core.registry import SCAN_FORMATS
from phenolens.scans._source import ScanSource

_FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What decoders raise on bytes they did not foresee: SimpleITK RuntimeError, gzip EOFError, pydicom most others."""


@contextmanager
def decoding(where: str | os.PathLike[str]) -> Iterator[None]:
    """Whatever a decoder raises in the block as ImageError: one damaged file must never end the run of a cohort."""
    try:
        yield
    except _FAULTS as fault:
        said = " ".join(str(fault).split())[-300:]
        raise ImageError(
            f"a file on which its decoder fails ({type(fault).__name__}: {said})",
            expected="a complete scan",
            todo="copy the file again from its source; open it in a viewer to see whether it is damaged",
            where=str(where),
        ) from fault


def open_source(path: str | os.PathLike[str], series: str | None = None) -> tuple[ScanSource, Path]:
    """The open source and the path. Raises ImageError naming what each format said."""
    where = Path(path)
    check_readable(where)
    plugins = [(name, SCAN_FORMATS.create(name)) for name in SCAN_FORMATS.names()]
    said = []
    for name, plugin in sorted(plugins, key=lambda item: (item[1].priority, item[0])):
        try:
            with decoding(where):
                if plugin.accepts(where):
                    return cast(ScanSource, plugin.open(where, series)), where
        except ImageError as fault:
            said.append((name, fault))
    if len(said) == 1:
        raise said[0][1]
    if said:
        raise ImageError(
            "a scan that no format can open: " + "; ".join(f"{name}: {fault.found}" for name, fault in said),
            expected=said[-1][1].expected,
            todo=said[-1][1].todo,
            where=str(where),
        ) from said[-1][1]
    suffixes = sorted({s for _, plugin in plugins for s in plugin.suffixes})
    raise ImageError(
        "a folder without DICOM files" if where.is_dir() else f"{_first_bytes(where)}, which is no scan",
        expected=f"a file ({', '.join(suffixes)}) or a folder of DICOM files",
        todo="correct the path in the images table, or copy the file again if it is damaged",
        where=str(where),
    )


def formats_for(path: Path) -> dict[str, int]:
    """Name and version of every format that would try the file; part of the keys of what is read from it."""
    plugins = {name: SCAN_FORMATS.create(name) for name in SCAN_FORMATS.names()}
    with decoding(path):
        return {name: plugin.version for name, plugin in plugins.items() if plugin.accepts(path)}


def check_readable(where: Path) -> None:
    """Raises ImageError where there is no file or folder, it may not be read, or it is empty."""
    try:
        if where.is_dir():
            next(where.iterdir(), None)
            return
        with where.open("rb") as file:
            empty = not file.read(1)
    except OSError as fault:
        raise ImageError(
            f"no readable file: {fault.strerror or fault}",
            expected="a scan that this user may read",
            todo="correct the path in the images table, or the file's permissions",
            where=str(where),
        ) from fault
    if empty:
        raise ImageError("an empty file", expected="a scan", todo="copy the file again", where=str(where))


def _first_bytes(where: Path) -> str:
    with where.open("rb") as file:
        start = file.read(512)
    text = all(32 <= b < 127 or b in b"\t\r\n" for b in start)
    return "a text file" if text else f"a file beginning with the bytes {start[:4].hex(' ')}"
