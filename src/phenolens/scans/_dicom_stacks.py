"""The stacks of a series: several volumes at one place (b-values, phases, echoes), told apart and chosen."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from phenolens.core.errors import ImageError
from phenolens.scans._dicom_planes import Plane
from phenolens.scans._tags import number

TRAITS = (
    "b_value",
    "echo_time",
    "image_type",
    "temporal_position",
    "trigger_time",
    "acquisition",
    "direction",
    "stack",
)
"""What the planes of one series may differ in; `phase` is the rank in time at each position."""
_NONE = "none"


def parse_series(asked: str | None, where: str) -> tuple[str | None, dict[str, str]]:
    """`UID[b_value=800, phase=2]` → the UID or None, and the stack. Raises ImageError where it is not of that form."""
    match = re.fullmatch(r"\s*([\w.]*)\s*(?:\[(.*)\])?\s*", asked or "")
    pairs = [p.partition("=") for p in (match[2] or "").split(",") if p.strip()] if match else []
    known = {key.strip(): value.strip() for key, _, value in pairs}
    if match is None or not all(known.values()) or set(known) - {*TRAITS, "phase"}:
        raise _refused(
            f"series '{asked}'",
            f"a SeriesInstanceUID, and after it in brackets what sets the stack apart: {', '.join((*TRAITS, 'phase'))}",
            "write for example 1.2.840.1[b_value=800] in the column series",
            where,
        )
    return match[1] or None, known


def one_stack(planes: Sequence[Plane], wanted: Mapping[str, str], where: str) -> list[Plane]:
    """The planes of the stack that is asked for. Raises ImageError where some positions still have several planes."""
    kept = [p for p in planes if _fits(p, {k: v for k, v in wanted.items() if k != "phase"})]
    if "phase" in wanted:
        phases = _phases(kept)
        kept = [p for p in kept if _equal(phases.get(id(p), ""), wanted["phase"])]
    if not kept:
        raise _refused(
            f"no plane with {_said(wanted)} among {len(planes)}; the planes differ in {_differences(planes)}",
            "a stack that the series holds",
            "correct the brackets in the column series of the images table",
            where,
        )
    at = Counter(_place(p) for p in kept)
    most = max(at.values())
    if most == 1:
        return kept
    keys = _apart(kept, most)
    example = stacks(kept)[-1][0] if keys else ""
    raise _refused(
        f"{len(kept)} planes at {len(at)} positions, up to {most} at one; "
        + (f"they differ in {_differences(kept)}" if example else "nothing in their headers sets them apart"),
        "one plane a position",
        f"name the stack that is meant in the column series, for example [{example}]"
        if example
        else "remove the duplicate files, or export the series again",
        where,
    )


def stacks(planes: Sequence[Plane]) -> list[tuple[str, list[Plane]]]:
    """Every stack of a series as it is declared in brackets ("" where there is only one) and its planes."""
    most = max(Counter(_place(p) for p in planes).values())
    keys = _apart(planes, most) if most > 1 else ()
    if keys is None:
        return [("", list(planes))]
    ranks = _phases(planes) if keys == ("phase",) else {}
    groups: dict[tuple[Any, ...], list[Plane]] = {}
    for plane in planes:
        kind = (ranks[id(plane)],) if ranks else tuple(plane.traits.get(k, _NONE) for k in keys)
        groups.setdefault(kind, []).append(plane)
    return [(_said(dict(zip(keys, kind, strict=True))), groups[kind]) for kind in sorted(groups, key=_order)]


def _order(values: Sequence[float | str]) -> tuple[tuple[bool, float, str], ...]:
    """Numbers before text."""
    return tuple((isinstance(v, str), 0.0, v) if isinstance(v, str) else (False, v, "") for v in values)


def _apart(planes: Sequence[Plane], most: int) -> tuple[str, ...] | None:
    """The traits by which one plane a position is left; None where none do."""
    names = [n for n in TRAITS if len({p.traits.get(n) for p in planes}) > 1]
    for count in (1, 2):
        for keys in combinations(names, count):
            groups = Counter((tuple(p.traits.get(k, _NONE) for k in keys), _place(p)) for p in planes)
            if max(groups.values()) == 1 and len({key for key, _ in groups}) <= 2 * most:
                return keys
    whole = len(set(Counter(_place(p) for p in planes).values())) == 1
    moments = {_when(p)[:3] for p in planes}
    return ("phase",) if whole and len(moments) >= most else None


def _place(plane: Plane) -> tuple[float, ...]:
    return tuple(round(v, 2) + 0.0 for v in (*plane.position, *plane.axes))


def _phases(planes: Sequence[Plane]) -> dict[int, float]:
    """Rank in time at each position, from 1, by object."""
    groups: dict[tuple[float, ...], list[Plane]] = {}
    for plane in planes:
        groups.setdefault(_place(plane), []).append(plane)
    ranks = {}
    for group in groups.values():
        for rank, plane in enumerate(sorted(group, key=_when), start=1):
            ranks[id(plane)] = float(rank)
    return ranks


def _when(plane: Plane) -> tuple[float, float, str, float]:
    t = plane.traits
    first, second = (float(t.get(name, 0)) for name in ("temporal_position", "trigger_time"))
    return first, second, str(t.get("time", "")), float(t.get("instance", 0))


def _fits(plane: Plane, wanted: Mapping[str, str]) -> bool:
    return all(_equal(plane.traits.get(name, _NONE), value) for name, value in wanted.items())


def _equal(found: float | str, wanted: str) -> bool:
    if isinstance(found, float):
        asked = number(wanted)
        return asked is not None and bool(np.isclose(found, asked, rtol=1e-3, atol=1e-3))
    return found.strip().lower() == wanted.strip().lower()


def _differences(planes: Sequence[Plane]) -> str:
    """What the planes differ in and how, in words."""
    said = []
    for name in TRAITS:
        values = sorted({p.traits.get(name, _NONE) for p in planes}, key=lambda v: _order((v,)))
        if 1 < len(values) <= max(8, len(planes) // 4):
            shown = ", ".join(v if isinstance(v, str) else f"{v:g}" for v in values[:8])
            said.append(f"{name} ({shown}{', …' if len(values) > 8 else ''})")
    return "; ".join(said) or "time alone (phase)"


def _said(wanted: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in wanted.items())


def _refused(found: str, expected: str, todo: str, where: str) -> ImageError:
    return ImageError(found, expected=expected, todo=todo, where=where)
