"""Bring two scans of a patient to one frame: by position, or by a rigid registration whose success is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import ImageError
from phenolens.core.types import FloatArray, Frame
from phenolens.scans._register import Rigid, joint, register
from phenolens.scans.sampling import InMemory, Readable, Sample, sample

Method = Literal["position", "rigid"]
Volume = tuple[FloatArray, Frame] | Readable
"""Intensities (z, y, x) and their frame; or a scan, which is then read in slabs and never whole."""
Matrix = tuple[tuple[float, float, float, float], ...]

_MOST_VOXELS = 2**18
_LEAST_OVERLAP = 0.25
_LEAST_PLANES = 4
_LEAST_SHARED = 0.02
_STILL = 1.0
_MOST_DOUBT_MM = 5.0
_IDENTITY: Matrix = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """How one scan lies on another.

    matrix: 4 x 4, from mm of the fixed scan to mm of the moving one. method: what the matrix is. before and after: the
    mutual information by position and with the matrix, as a share of the mean entropy (0 nothing in common, 1 the same
    image), less what chance gives. overlap: share of the smaller scan on the other. shift_mm: how far the middle of the
    fixed scan moves; turn_deg: how far it turns. ok is False where the matrix must not be trusted; why says the reason.
    """

    matrix: Matrix
    method: Method
    before: float
    after: float
    shift_mm: float = 0.0
    turn_deg: float = 0.0
    ok: bool
    why: str


def align(
    moving: Volume,
    fixed: Volume,
    *,
    method: Method = "rigid",
    seed: int = 0,
    max_shift_mm: float = 30.0,
    max_turn_deg: float = 15.0,
    fallback: Method | None = None,
) -> Alignment:
    """Find where the points of `fixed` lie in `moving`; both are looked at in a sample of at most 262,144 voxels.

    "position" trusts the coordinates of the scanner. "rigid" turns and shifts by mutual information, in one thread
    from the coordinates of the scanner: equal inputs and seed give equal numbers. A registration fails, and is flagged
    (ok False), where the scans hardly overlap, have nothing in common, do not gain, move beyond the limits, or end
    more than 5 mm apart from two starts with as much in common. With fallback="position" the matrix is then that of
    position, still flagged. Raises ImageError where a scan is all one value.

    PET and CT of one examination lie on each other by the machine: leave them at "position".
    """
    if method not in ("position", "rigid") or fallback not in (None, "position"):
        raise ValueError(f"method {method!r} with fallback {fallback!r}; position or rigid, with None or position")
    a, b = _seen(moving, "moving"), _seen(fixed, "fixed")
    before, overlap = joint(a, b, np.eye(4))
    faults = _cannot(a, b, overlap, method)
    if method == "position" or faults:
        said = ", ".join(faults) or f"by position, {overlap:.0%} of the smaller scan on the other"
        return _by_position(before, said, ok=not faults)
    found = register(a, b, seed)
    if found is None:
        return _by_position(before, "registration failed (the scans lost each other)", ok=False)
    after, overlap = joint(a, b, found.matrix)
    faults = _faults(found, (before, after, overlap), (max_shift_mm, max_turn_deg))
    moved = f"moved {found.shift_mm:.1f} mm and {found.turn_deg:.1f} degrees"
    moved += f", shared information {before:.3f} to {after:.3f}"
    if faults and fallback == "position":
        said = f"registration failed ({', '.join(faults)}; {moved}); by position, as declared"
        return _by_position(before, said, ok=False)
    figures = {"before": before, "after": after, "shift_mm": found.shift_mm, "turn_deg": found.turn_deg}
    said = ", ".join([*faults, moved])
    return Alignment(matrix=_rows(found.matrix), method="rigid", ok=not faults, why=said, **figures)


def _by_position(shared: float, said: str, *, ok: bool) -> Alignment:
    return Alignment(matrix=_IDENTITY, method="position", before=shared, after=shared, ok=ok, why=said)


def _cannot(a: Sample, b: Sample, overlap: float, method: Method) -> list[str]:
    """Why two scans cannot be laid over each other at all."""
    faults = [] if overlap >= _LEAST_OVERLAP else [f"{overlap:.0%} of the smaller scan on the other"]
    least = min(*a.frame.shape, *b.frame.shape)
    if method == "rigid" and least < _LEAST_PLANES:
        faults.append(f"a scan of {least} planes, too few to register (at least {_LEAST_PLANES})")
    return faults


def _faults(found: Rigid, figures: tuple[float, float, float], limits: tuple[float, float]) -> list[str]:
    before, after, overlap = figures
    max_shift_mm, max_turn_deg = limits
    faults = []
    if found.shift_mm > max_shift_mm:
        faults.append(f"a shift of {found.shift_mm:.1f} mm, beyond {max_shift_mm:g}")
    if found.turn_deg > max_turn_deg:
        faults.append(f"a turn of {found.turn_deg:.1f} degrees, beyond {max_turn_deg:g}")
    if overlap < _LEAST_OVERLAP:
        faults.append(f"{overlap:.0%} of the smaller scan on the other")
    if after < _LEAST_SHARED:
        faults.append(f"shared information {after:.3f}, below {_LEAST_SHARED:g}")
    if after < before and max(found.shift_mm, found.turn_deg) > _STILL:
        faults.append("no gain")
    if found.doubt_mm > _MOST_DOUBT_MM:
        faults.append(f"another start ended {found.doubt_mm:.1f} mm away with as much in common")
    return faults


def _seen(volume: Volume, name: str) -> Sample:
    if isinstance(volume, tuple):
        volume = InMemory(x=np.asarray(volume[0], dtype=np.float32), frame=volume[1])
    seen = sample(volume, _MOST_VOXELS)
    finite = seen.x[np.isfinite(seen.x)]
    if not finite.size or finite.min() == finite.max():
        what = f"all {finite.size} values {finite.min():g}" if finite.size else "no finite value"
        raise ImageError(
            f"{what} in the {name} scan",
            expected="a scan with structure, to lay over another",
            todo="look at the scan, or leave it out",
        )
    return seen


def _rows(matrix: npt.NDArray[np.float64]) -> Matrix:
    return tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in matrix)
