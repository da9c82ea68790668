"""A scan seen coarsely: every so-manieth voxel, so that a whole CT is measured in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from phenolens.core.types import FloatArray, Frame
from phenolens.scans.geometry import Index

MOST_VOXELS = 2**21
_SLAB_VOXELS = 2**24


class Readable(Protocol):
    """What can be read box by box: a `Scan`, or an array in memory (`InMemory`)."""

    @property
    def frame(self) -> Frame: ...
    def read(self, lo: Index, shape: Index) -> FloatArray: ...


@dataclass(frozen=True, kw_only=True)
class InMemory:
    """An array x (z, y, x) float32 with its frame, read by box as a scan is."""

    x: FloatArray
    frame: Frame

    def __post_init__(self) -> None:
        if self.x.shape != self.frame.shape[::-1]:
            raise ValueError(f"an array of shape {self.x.shape} with a frame of shape {self.frame.shape} (x, y, z)")

    def read(self, lo: Index, shape: Index) -> FloatArray:
        x, y, z = lo
        w, h, d = shape
        return self.x[z : z + d, y : y + h, x : x + w]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Every `step`-th voxel (x, y, z) of a scan, from the first: x (z, y, x) float32 and the frame of what is left."""

    x: FloatArray
    frame: Frame
    step: Index


def sample(scan: Readable, most: int = MOST_VOXELS) -> Sample:
    """At most `most` voxels of a scan, taken at even steps that bring the voxels near to cubes.

    Voxels are picked, not averaged, so that the distribution of intensities stays that of the scan. The scan is read in
    slabs of at most 64 MiB.
    """
    frame = scan.frame
    step = _steps(frame, most)
    nx, ny, nz = frame.shape
    sx, sy, sz = step
    planes = max(1, _SLAB_VOXELS // (nx * ny) // sz) * sz
    shape = (-(-nx // sx), -(-ny // sy), -(-nz // sz))
    x = np.empty(shape[::-1], dtype=np.float32)
    for z in range(0, nz, planes):
        slab = scan.read((0, 0, z), (nx, ny, min(planes, nz - z)))[::sz, ::sy, ::sx]
        x[z // sz : z // sz + len(slab)] = slab
    spacing = tuple(float(s * k) for s, k in zip(frame.spacing, step, strict=True))
    return Sample(x=x, frame=replace(frame, shape=shape, spacing=spacing), step=step)


def _steps(frame: Frame, most: int) -> Index:
    step = np.ones(3, dtype=int)
    shape, spacing = np.array(frame.shape), np.array(frame.spacing)
    while np.prod(-(-shape // step)) > most:
        wide = np.where(step < shape, spacing * step, np.inf)
        step[int(wide.argmin())] += 1
    x, y, z = (int(v) for v in step)
    return x, y, z
