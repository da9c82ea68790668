"""What a region on a scan looks like, so that a copy under another name, resampled or noisier, is found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from phenolens.core.look import VERSION, look_of
from phenolens.core.types import FloatArray
from phenolens.scans.geometry import Roi
from phenolens.scans.sampling import Sample

__all__ = ["VERSION", "look"]

_FREQUENCIES = 8
_CELLS = 32
_TIMES, _LEAST_MM = 3.0, 40.0
_SLAB = 0.25


def look(seen: Sample, roi: Roi) -> str:
    """The look of the middle of the scan and of the surroundings of the region, three planes each (`core.look`).

    The surroundings are a cube around the region's centre, three times as wide as a ball of its volume and at least 40
    mm, so that a mask drawn again moves it little. A plane is the mean over the middle quarter along its axis, which
    evens out noise and the cut of the slices. Computed on `seen`, the sample that the scan's quality is judged on.
    """
    return look_of([*_middles(seen.x), *_middles(_around(seen, roi))], _FREQUENCIES)


def _middles(x: FloatArray) -> Sequence[npt.NDArray[Any]]:
    made = []
    for axis, n in enumerate(x.shape):
        low = int(n * (0.5 - _SLAB / 2))
        high = max(low + 1, int(np.ceil(n * (0.5 + _SLAB / 2))))
        made.append(np.take(x, range(low, high), axis).mean(axis, dtype=np.float64))
    return made


def _around(seen: Sample, roi: Roi) -> FloatArray:
    """The cube around the region's centre, (32, 32, 32) by linear interpolation; beyond the scan its border goes on."""
    step = np.array(seen.step[::-1], dtype=np.float64)
    centre = (np.array(ndimage.center_of_mass(roi.inside)) + np.array(roi.lo[::-1])) / step
    side = max(_LEAST_MM, _TIMES * 2 * (3 * roi.mm3 / (4 * np.pi)) ** (1 / 3))
    away = ((np.arange(_CELLS) + 0.5) / _CELLS - 0.5) * side
    axes = [c + away / s for c, s in zip(centre, seen.frame.spacing[::-1], strict=True)]
    grid = np.meshgrid(*axes, indexing="ij")
    cube: FloatArray = ndimage.map_coordinates(seen.x, grid, order=1, mode="nearest", output=np.float32)
    return cube
