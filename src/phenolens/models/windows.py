"""A whole picture told by a model that sees a window: overlapping windows, averaged, never all at once in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from phenolens.core.types import FloatArray, Rgb

Tell = Callable[[Rgb], FloatArray]
"""Tiles (n, s, s, 3) to probabilities (n, s, s)."""
Read = Callable[[npt.NDArray[np.int64]], Rgb]
"""Corners (n, 2) as x, y in px of the picture, to the pixels of those windows (n, s, s, 3); they may reach beyond."""
Plane = npt.NDArray[np.uint8]
"""Probabilities of a picture, (h, w), from 0 to 255."""
Mask = npt.NDArray[np.bool_]
_STRIP = 1024
HALF = 127.5


def stitch(tell: Tell, read: Read, wanted: Mask, size: int, *, batch: int = 16) -> Plane:
    """The probabilities of a picture from windows of `size` px at every half window; 0 where nothing is `wanted`.

    wanted (h, w) says which pixels are asked for; windows without any are left out. Where windows overlap their
    probabilities are averaged, weighted towards the middle of each. Beside the result only a strip as high as a window
    is held.
    """
    height, width = wanted.shape
    step = max(1, size // 2)
    plane = np.zeros(wanted.shape, np.uint8)
    weight = _weight(size)
    tops, lefts = _starts(height, size, step), _starts(width, size, step)
    room = lefts[-1] + size
    total, weights = (np.zeros((size, room), np.float32) for _ in range(2))
    for top in tops:
        kept = [left for left in lefts if wanted[top : top + size, left : left + size].any()]
        for at in range(0, len(kept), batch):
            some = kept[at : at + batch]
            told = tell(read(np.array([(left, top) for left in some], np.int64)))
            for left, p in zip(some, told, strict=True):
                total[:, left : left + size] += p * weight
                weights[:, left : left + size] += weight
        done = size if top == tops[-1] else step
        rows = min(done, height - top)
        mean = total[:rows, :width] / np.maximum(weights[:rows, :width], np.finfo(np.float32).tiny)
        plane[top : top + rows] = np.where(wanted[top : top + rows], np.rint(mean * 255), 0)
        for held in (total, weights):
            held[: size - done] = held[done:]
            held[size - done :] = 0
    return plane


def _starts(length: int, size: int, step: int) -> list[int]:
    """Where windows begin along one side: the last one reaches the end, or beyond."""
    return [i * step for i in range(1 + max(0, -(-(length - size) // step)))]


def _weight(size: int) -> FloatArray:
    """How much a pixel of a window counts: 1 in the middle, falling to the borders, never 0."""
    at = (np.arange(size) + 0.5) / size * 2 - 1
    one = np.exp(-0.5 * (at / 0.5) ** 2).astype(np.float32)
    return np.outer(one, one)


def called(plane: Plane, wanted: Mask, sigma: float) -> Mask:
    """Which pixels have a probability of one half or more after a Gaussian mean of `sigma` px over the wanted ones."""
    found = np.zeros(plane.shape, np.bool_)
    for top, above, piece in _strips(len(plane), int(np.ceil(4 * sigma))):
        there = wanted[piece].astype(np.float32)
        p = plane[piece].astype(np.float32) * there
        if sigma > 0:
            p = ndimage.gaussian_filter(p, sigma, mode="constant")
            share = ndimage.gaussian_filter(there, sigma, mode="constant")
            p = p / np.maximum(share, 1e-6)
        rows = min(_STRIP, len(plane) - top)
        found[top : top + rows] = ((p >= HALF) & (there > 0))[above : above + rows]
    return found


def _strips(height: int, margin: int) -> Iterator[tuple[int, int, slice]]:
    """First row of a strip, how many rows above it are read with it, and the rows to read."""
    for top in range(0, height, _STRIP):
        first = max(0, top - margin)
        yield top, top - first, slice(first, min(height, top + _STRIP + margin))
