"""Marks: the small things a synthetic slide is drawn with, as one table of columns, and their sprites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from phenolens.core.types import FloatArray

_ANGLES = 24
_RATIO = 1.1


class Kind(IntEnum):
    """What a mark is: fibres and cytoplasm add eosin, holes take tissue away, the rest are nuclei by shape."""

    FIBRE = 0
    HOLE = 1
    OVAL = 2
    CIGAR = 3
    WAVY = 4


@dataclass(frozen=True, kw_only=True)
class Marks:
    """n marks, each column (n,): kind, centre x and y and size in um, direction theta in radians, strength.

    Strength is a stain concentration for fibres and nuclei and the share of tissue taken away for holes.
    """

    kind: npt.NDArray[np.int8]
    x: FloatArray
    y: FloatArray
    theta: FloatArray
    length: FloatArray
    width: FloatArray
    strength: FloatArray

    def __len__(self) -> int:
        return len(self.x)

    def keep(self, which: npt.NDArray[np.bool_]) -> Marks:
        """The marks where `which` (n,) is true."""
        columns = (self.x, self.y, self.theta, self.length, self.width, self.strength)
        x, y, theta, length, width, strength = (c[which] for c in columns)
        return Marks(kind=self.kind[which], x=x, y=y, theta=theta, length=length, width=width, strength=strength)


def marks(
    kind: Kind,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    theta: npt.ArrayLike = 0.0,
    length: npt.ArrayLike,
    width: npt.ArrayLike,
    strength: npt.ArrayLike,
) -> Marks:
    """Marks of one kind; scalars are repeated to the length of x."""
    n = len(np.asarray(x))
    filled = [np.broadcast_to(np.asarray(c, dtype=np.float32), n) for c in (x, y, theta, length, width, strength)]
    return Marks(
        kind=np.full(n, kind, dtype=np.int8),
        x=filled[0],
        y=filled[1],
        theta=filled[2],
        length=filled[3],
        width=filled[4],
        strength=filled[5],
    )


def join(many: Sequence[Marks]) -> Marks:
    """All marks as one table, in order."""
    if not many:
        return marks(Kind.FIBRE, [], [], length=[], width=[], strength=[])
    return Marks(
        kind=np.concatenate([m.kind for m in many]),
        x=np.concatenate([m.x for m in many]),
        y=np.concatenate([m.y for m in many]),
        theta=np.concatenate([m.theta for m in many]),
        length=np.concatenate([m.length for m in many]),
        width=np.concatenate([m.width for m in many]),
        strength=np.concatenate([m.strength for m in many]),
    )


Key = tuple[int, int, int, int]
"""Kind, length bin, width bin, angle bin of a sprite."""


@dataclass
class Sprites:
    """Pictures of marks at one resolution, drawn once a shape, size and angle. `blur` is the edge's softness in px."""

    mpp: float
    blur: float
    drawn: dict[Key, FloatArray] = field(default_factory=dict)

    def keys(self, table: Marks) -> list[Key]:
        """The sprite of each mark: sizes in steps of a tenth, angles of 7.5 degrees."""
        length = np.round(np.log(np.maximum(table.length / self.mpp, 1.0)) / np.log(_RATIO)).astype(int)
        width = np.round(np.log(np.maximum(table.width / self.mpp, 1.0)) / np.log(_RATIO)).astype(int)
        angle = np.round(table.theta / np.pi * _ANGLES).astype(int)
        angle %= np.where(table.kind == Kind.WAVY, 2 * _ANGLES, _ANGLES)
        angle[table.kind == Kind.HOLE] = 0
        return list(zip(table.kind.tolist(), length.tolist(), width.tolist(), angle.tolist(), strict=True))

    def get(self, key: Key) -> FloatArray:
        """The picture of a mark, (side, side) float32 in 0 to 1, odd side, its centre in the middle."""
        if key not in self.drawn:
            self.drawn[key] = self._draw(key)
        return self.drawn[key]

    def _draw(self, key: Key) -> FloatArray:
        kind, length, width, angle = key
        a, b = 0.5 * _RATIO**length, 0.5 * _RATIO**width
        reach = int(np.ceil(max(a, b) * (1.7 if kind == Kind.FIBRE else 1.0) + 2 * self.blur + 1))
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
        theta = angle * np.pi / _ANGLES
        u, v = x * np.cos(theta) + y * np.sin(theta), y * np.cos(theta) - x * np.sin(theta)
        if kind == Kind.FIBRE:
            return _single(np.exp(-1.6 * ((u / a) ** 2 + (v / b) ** 2)))
        if kind == Kind.WAVY:
            v = v - 0.9 * b * np.sin(u / a * 2.9)
        power = {Kind.CIGAR: 2.3, Kind.WAVY: 2.6}.get(Kind(kind), 2.0)
        far = (np.abs(u / a) ** power + np.abs(v / b) ** power) ** (1 / power)
        inside = (1 - far) * min(a, b) / max(self.blur, 0.3) + 0.5
        body = np.clip(inside, 0, 1)
        if kind == Kind.HOLE:
            return _single(body)
        membrane = np.exp(-(((far - 0.85) / 0.18) ** 2))
        return _single(body * (0.78 + 0.22 * membrane))


def _single(picture: npt.NDArray[np.floating]) -> FloatArray:
    return np.ascontiguousarray(picture, dtype=np.float32)
