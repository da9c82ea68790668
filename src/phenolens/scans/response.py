"""Response to treatment from drawn lesions: diameters, their sum, the category of RECIST 1.1, and change of volume.

Eisenhauer and colleagues, New response evaluation criteria in solid tumours: revised RECIST guideline (version 1.1),
European Journal of Cancer 45, 2009. Lesions that are not targets, and targets that split or join, are not judged here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from phenolens.core.errors import ImageError
from phenolens.scans._diameters import diameters
from phenolens.scans.geometry import Roi

Category = Literal["CR", "PR", "SD", "PD", "NE"]
"""Complete response, partial response, stable disease, progressive disease, not evaluable."""

_MEASURABLE_MM, _MEASURABLE_NODE_MM, _NORMAL_NODE_MM = 10.0, 15.0, 10.0
_THIN_MM = 5.0
_MOST_TARGETS, _MOST_AN_ORGAN = 5, 2
_PARTIAL, _PROGRESS, _PROGRESS_MM = -0.3, 0.2, 5.0
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Lesion:
    """One lesion at one time: longest axial diameter and the largest one at right angles to it (mm), volume (mm3), the
    plane (its index along the body) they were found in, the distance of planes (mm), the organ ("" where it is not
    known) and whether it is a lymph node.
    """

    name: str
    long_mm: float
    short_mm: float
    mm3: float
    plane: int = -1
    thickness_mm: float = 0.0
    organ: str = ""
    node: bool = False

    @property
    def diameter_mm(self) -> float:
        """What enters the sum: the short axis of a node, the long axis of any other lesion."""
        return self.short_mm if self.node else self.long_mm

    @property
    def measurable(self) -> bool:
        """At least 10 mm long (a node 15 mm across), and twice the distance of planes where that is above 5 mm."""
        least = _MEASURABLE_NODE_MM if self.node else _MEASURABLE_MM
        if self.thickness_mm > _THIN_MM:
            least = max(least, 2 * self.thickness_mm)
        return self.diameter_mm >= least - _ROUNDING


@dataclass(frozen=True, kw_only=True)
class Response:
    """The judgement of one follow-up. Sums in mm, over the targets; changes are shares (-0.3 is 30% less).

    nadir_mm is the smallest sum before this follow-up; change_of_volume compares the targets' volume with that at
    baseline; current sums and changes are None where a target was not measured. `why` says it in words.
    """

    category: Category
    targets: tuple[str, ...]
    baseline_mm: float
    nadir_mm: float
    current_mm: float | None
    change: float | None
    change_of_volume: float | None
    why: str


def lesion(name: str, roi: Roi, *, organ: str = "", node: bool = False) -> Lesion:
    """Measure one region; see `Lesion`."""
    found = diameters(roi)
    return Lesion(
        name=name,
        long_mm=found.long_mm,
        short_mm=found.short_mm,
        mm3=roi.mm3,
        plane=found.plane,
        thickness_mm=found.thickness_mm,
        organ=organ,
        node=node,
    )


def targets(baseline: Sequence[Lesion]) -> tuple[Lesion, ...]:
    """The target lesions at baseline: the largest measurable ones, at most five, and two an organ where it is known.

    Ordered by what enters the sum, then by name, whatever the order given. Raises ImageError where no lesion is
    measurable.
    """
    _check_names(baseline)
    chosen: list[Lesion] = []
    for one in sorted(baseline, key=lambda a: (-a.diameter_mm, a.name)):
        same = sum(1 for c in chosen if one.organ and c.organ == one.organ)
        if one.measurable and same < _MOST_AN_ORGAN and len(chosen) < _MOST_TARGETS:
            chosen.append(one)
    if not chosen:
        largest = max((a.diameter_mm for a in baseline), default=0.0)
        raise ImageError(
            f"{len(baseline)} lesions at baseline, the largest {largest:.1f} mm, none of them measurable",
            expected="one of at least 10 mm (a lymph node: 15 mm across), or twice the distance of planes above 5 mm",
            todo="leave the patient out of the response, or check the masks at baseline",
        )
    return tuple(chosen)


def sum_of_diameters(lesions: Sequence[Lesion]) -> float:
    """mm: long axes, and short axes of nodes."""
    return sum(a.diameter_mm for a in lesions)


def respond(
    baseline: Sequence[Lesion],
    current: Mapping[str, Lesion | None],
    *,
    nadir_mm: float | None = None,
    new_lesions: int = 0,
) -> Response:
    """Judge a follow-up against all lesions at baseline.

    current holds, by name, the lesion as it is now, or None where it has disappeared; a target that is not named was
    not measured, which makes the response not evaluable unless it is progressive already. nadir_mm is the smallest sum
    of the targets at earlier follow-ups; the baseline's counts in any case. Whether a lesion is a node, and its organ,
    are taken from baseline.
    """
    chosen = targets(baseline)
    before = sum_of_diameters(chosen)
    nadir = before if nadir_mm is None else min(before, nadir_mm)
    measured = {t.name: _now(t, current[t.name]) for t in chosen if t.name in current}
    now = sum(measured.values())
    whole = len(measured) == len(chosen)
    category, why = _judge(chosen, measured, (before, nadir, now), new_lesions)
    volume = sum(t.mm3 for t in chosen)
    volume_now = sum(after.mm3 for t in chosen if (after := current.get(t.name)) is not None)
    return Response(
        category=category,
        targets=tuple(t.name for t in chosen),
        baseline_mm=before,
        nadir_mm=nadir,
        current_mm=now if whole else None,
        change=_change(before, now) if whole else None,
        change_of_volume=_change(volume, volume_now) if whole else None,
        why=why,
    )


def _judge(
    chosen: Sequence[Lesion], measured: Mapping[str, float], sums: tuple[float, float, float], new_lesions: int
) -> tuple[Category, str]:
    """Category and words. New lesions decide first; then that all is gone, whatever the sum of nodes of normal size."""
    before, nadir, now = sums
    if new_lesions > 0:
        return "PD", f"{new_lesions} new lesion{'s' if new_lesions > 1 else ''}"
    missing = [t.name for t in chosen if t.name not in measured]
    gone = all(measured[t.name] < _NORMAL_NODE_MM if t.node else measured[t.name] == 0 for t in chosen if not missing)
    if gone and not missing:
        nodes = sum(t.node for t in chosen)
        return "CR", "no target lesion left" + (f"; {nodes} lymph nodes below 10 mm across" if nodes else "")
    grown = now - nadir
    words = f"sum {now:.1f} mm; {before:.1f} mm at baseline, {nadir:.1f} mm at its smallest"
    if nadir == 0 < now:
        return "PD", f"{words}; lesions that were gone are back"
    if grown >= _PROGRESS * nadir - _ROUNDING and grown >= _PROGRESS_MM - _ROUNDING:
        return "PD", f"{words}; {grown:.1f} mm more than that"
    if missing:
        return "NE", f"not measured: {', '.join(missing)}"
    change = _change(before, now)
    if change <= _PARTIAL + _ROUNDING:
        return "PR", f"{words}; {change:+.0%}"
    return "SD", f"{words}; {change:+.0%}"


def _now(target: Lesion, after: Lesion | None) -> float:
    if after is None:
        return 0.0
    return after.short_mm if target.node else after.long_mm


def _change(before: float, now: float) -> float:
    return (now - before) / before


def _check_names(lesions: Sequence[Lesion]) -> None:
    names = [a.name for a in lesions]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ImageError(
            f"two lesions named {twice[0]!r} at one time",
            expected="every lesion once",
            todo="name the lesions of a patient differently, the same one alike at every time",
        )
