"""Finding the format that opens a slide, and its resolution."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from phenolens.core.errors import ImageError
from phenolens.core.registry import FORMATS
from phenolens.slides.levels import Source

LOWEST_MPP, HIGHEST_MPP = 0.05, 20.0
"""um per px a slide can have; anything else is a unit error."""
_DIFFERS = 0.05
_ANISOTROPIC = 0.02
_DECLARE = "declare it in the column mpp of the images table (um per px of the finest level; 0.25 at 40x, 0.5 at 20x)"


_FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What decoders raise on bytes they did not foresee: tifffile divides by a tag's zero, Pillow raises SyntaxError."""


@contextmanager
def decoding(where: str | os.PathLike[str]) -> Iterator[None]:
    """Whatever a decoder raises in the block as ImageError: one damaged file must never end the run of a cohort."""
    try:
        yield
    except _FAULTS as fault:
        raise ImageError(
            f"a file on which its decoder fails ({type(fault).__name__}: {fault})",
            expected="a complete slide file",
            todo="copy the file again from the scanner or archive; open it in QuPath to see whether it is damaged",
            where=str(where),
        ) from fault


def open_source(path: str | os.PathLike[str]) -> tuple[str, Source, Path]:
    """The format's name, the open source and the path. Raises ImageError naming what each format said."""
    where = Path(path)
    _check_readable(where)
    plugins = [(name, FORMATS.create(name)) for name in FORMATS.names()]
    said = []
    for name, plugin in sorted(plugins, key=lambda item: (item[1].priority, item[0])):
        try:
            with decoding(where):
                if plugin.accepts(where):
                    return name, cast(Source, plugin.open(where)), where
        except ImageError as fault:
            said.append((name, fault))
    if len(said) == 1:
        raise said[0][1]
    if said:
        raise ImageError(
            "a file that no format can open: " + "; ".join(f"{name}: {fault.found}" for name, fault in said),
            expected=said[-1][1].expected,
            todo=said[-1][1].todo,
            where=str(where),
        ) from said[-1][1]
    suffixes = sorted({s for _, plugin in plugins for s in plugin.suffixes})
    raise ImageError(
        "a folder without slide or tiles" if where.is_dir() else f"{_first_bytes(where)}, which is no slide",
        expected=f"a slide ({', '.join(suffixes)}), a folder of one DICOM slide or a folder of tiles",
        todo="correct the path in the images table, or copy the file again if it is damaged",
        where=str(where),
    )


def formats_for(path: Path) -> dict[str, int]:
    """Name and version of every format that would try the file; part of the keys of what is read from it."""
    plugins = {name: FORMATS.create(name) for name in FORMATS.names()}
    with decoding(path):
        return {name: plugin.version for name, plugin in plugins.items() if plugin.accepts(path)}


def resolution(source: Source, declared: float | None, where: Path) -> tuple[tuple[float, float], tuple[str, ...]]:
    """um per level-0 px as (x, y), and notes: the declared one if any, else the file's.

    Raises ImageError where there is none, or the one to use is outside 0.05 to 20 um per px.
    """
    found = source.mpp
    size = f"{source.levels[0].width} x {source.levels[0].height} px"
    if declared is not None:
        _check_plausible((declared, declared), f"mpp {declared:g} in the images table", _declared_hint(declared), where)
        return (declared, declared), _differing(found, declared)
    if found is None:
        raise ImageError(
            f"no resolution in the file ({source.kind}, {size})", expected="um per px", todo=_DECLARE, where=str(where)
        )
    what = f"a resolution of {found[0]:.4g} x {found[1]:.4g} um per px in the file ({source.kind}, {size})"
    _check_plausible(found, what, _file_hint(found[0]), where)
    apart = abs(found[0] - found[1]) / max(found)
    if apart > _ANISOTROPIC:
        return found, (f"pixels are not square: {found[0]:.4g} x {found[1]:.4g} um",)
    return found, ()


def _differing(found: tuple[float, float] | None, declared: float) -> tuple[str, ...]:
    if found is None or all(abs(f / declared - 1) <= _DIFFERS for f in found):
        return ()
    return (f"the images table declares {declared:.4g} um/px, the file says {found[0]:.4g}; the declared one is used",)


def _check_plausible(mpp: tuple[float, float], what: str, hint: str, where: Path) -> None:
    if not all(LOWEST_MPP <= m <= HIGHEST_MPP for m in mpp):
        expected = f"{LOWEST_MPP:g} to {HIGHEST_MPP:g} um per px"
        raise ImageError(what, expected=expected, todo=f"{hint}; {_DECLARE}", where=str(where))


def _declared_hint(mpp: float) -> str:
    """What unit a declared number may be in."""
    if LOWEST_MPP <= mpp / 1000 <= HIGHEST_MPP:
        return "this looks like nanometres: divide by 1000"
    if LOWEST_MPP <= mpp * 1000 <= HIGHEST_MPP:
        return "this looks like millimetres: multiply by 1000"
    return "this is not in um per px"


def _file_hint(mpp: float) -> str:
    """What a resolution in a file may be instead of a scanner's."""
    if mpp > HIGHEST_MPP:
        return f"that is {25400 / mpp:.0f} DPI, a default of programs for screen or print and not the scanner's"
    return "the program that wrote the file used another unit"


def _check_readable(where: Path) -> None:
    try:
        if where.is_dir():
            next(where.iterdir(), None)
            return
        with where.open("rb") as file:
            empty = not file.read(1)
    except OSError as fault:
        raise ImageError(
            f"no readable file: {fault.strerror or fault}",
            expected="a slide that this user may read",
            todo="correct the path in the images table, or the file's permissions",
            where=str(where),
        ) from fault
    if empty:
        raise ImageError("an empty file", expected="a slide", todo="copy the file again", where=str(where))


def _first_bytes(where: Path) -> str:
    with where.open("rb") as file:
        start = file.read(512)
    text = all(32 <= b < 127 or b in b"\t\r\n" for b in start)
    return "a text file" if text else f"a file beginning with the bytes {start[:4].hex(' ')}"
