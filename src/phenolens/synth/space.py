"""Positions in mm, smooth random fields and lumps: what synthetic scans are made of.

mm are the patient coordinates of DICOM (LPS): x grows to the patient's left, y to the back, z to the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phenolens.core.types import FloatArray, Frame

Points = npt.NDArray[np.float32]
"""Shape (…, 3): x, y, z in mm."""
Rng = np.random.Generator


def points(frame: Frame) -> Points:
    """The centres of all voxels of a frame, (z, y, x, 3) in mm."""
    steps = np.array(frame.direction or np.eye(3).ravel(), dtype=np.float64).reshape(3, 3) * np.array(frame.spacing)
    x, y, z = (np.arange(n)[:, None] * steps[:, axis] for axis, n in enumerate(frame.shape))
    made = z[:, None, None] + y[None, :, None] + x[None, None] + np.asarray(frame.origin)
    return np.asarray(made, dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class Field:
    """A smooth random field of mean 0 and variance 1, known at every point: a sum of cosines with random waves.

    Random Fourier features of a Gaussian covariance (Rahimi, Recht 2007): waves (n, 3) per mm, phases (n,).
    """

    waves: FloatArray
    phases: FloatArray

    def at(self, where: Points) -> FloatArray:
        """The field at points (…, 3)."""
        total = np.zeros(where.shape[:-1], dtype=np.float32)
        for wave, phase in zip(self.waves, self.phases, strict=True):
            total += np.cos(where @ wave + phase)
        return total * np.float32(np.sqrt(2 / len(self.phases)))


def field(rng: Rng, length: float, *, waves: int = 24) -> Field:
    """A field whose values stay alike over about `length` mm."""
    return Field(
        waves=np.asarray(rng.normal(0, 1 / length, (waves, 3)), dtype=np.float32),
        phases=np.asarray(rng.uniform(0, 2 * np.pi, waves), dtype=np.float32),
    )


@dataclass(frozen=True, kw_only=True)
class Lump:
    """A wobbly ellipsoid: centre and half axes in mm, the axes' directions (3, 3) in rows, and how far it wobbles.

    `shape` is a field over directions; `wobble` its standard deviation as a share of the radius.
    """

    centre: tuple[float, float, float]
    axes: tuple[float, float, float]
    turn: npt.NDArray[np.float32]
    shape: Field
    wobble: float

    def depth(self, where: Points) -> FloatArray:
        """0 at the centre, 1 on the surface, more outside (2 where it is far); at points (…, 3)."""
        found = np.full(where.shape[:-1], 2, dtype=np.float32)
        limit = np.float32((1 + 4 * self.wobble) ** 2)
        local = [self._local(where, axis) for axis in range(3)]
        near = local[0] * local[0] + local[1] * local[1] + local[2] * local[2] < limit
        unit = np.stack([part[near] for part in local], axis=-1)
        radius = np.sqrt(np.einsum("ni,ni->n", unit, unit))
        unit /= np.maximum(radius, 1e-6)[:, None]
        found[near] = radius / np.maximum(1 + self.wobble * self.shape.at(unit), 0.4)
        return found

    def _local(self, where: Points, axis: int) -> FloatArray:
        """Points along one of the axes, in half axes."""
        row = self.turn[axis] / self.axes[axis]
        made: FloatArray = np.zeros(where.shape[:-1], dtype=np.float32)
        for i in range(3):
            if row[i]:
                made += (where[..., i] - np.float32(self.centre[i])) * np.float32(row[i])
        return made

    @property
    def reach(self) -> float:
        """No point of it lies further from the centre, in mm."""
        return max(self.axes) * (1 + 4 * self.wobble)


def lump(
    centre: tuple[float, float, float],
    axes: tuple[float, float, float],
    rng: Rng,
    *,
    wobble: float,
    detail: float = 1.0,
    turned: bool = False,
) -> Lump:
    """A lump with random wobble; `detail` in radii is the size of a bulge; `turned` gives it a random direction."""
    basis, _ = np.linalg.qr(rng.normal(0, 1, (3, 3)))
    turn = basis if turned else np.eye(3)
    return Lump(
        centre=centre,
        axes=axes,
        turn=np.asarray(turn, dtype=np.float32),
        shape=field(rng, detail, waves=16),
        wobble=wobble,
    )


def step(x: FloatArray, low: float, high: float) -> FloatArray:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)
