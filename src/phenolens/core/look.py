"""What an image looks like in a few hundred digits, so that a copy under another name is found without its pixels.

A perceptual hash by the cosine transform: the picture is averaged onto a small grid, and each of its lowest frequencies
becomes one hex digit. Encoding again, a crop of a few pixels, resampling or noise move the digits a little; another
picture has other ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

VERSION = 1
"""Raised when a picture comes to give other digits; part of the version of what stores them."""
_SIDE = 32
_STEPS = 3.0
_MIDDLE = 8
_BLOCK = 1024

Vectors = npt.NDArray[np.float32]


def look_of(planes: Sequence[npt.NDArray[Any]], frequencies: int) -> str:
    """The look of one or more planes (h, w): the lowest `frequencies` squared of each but the mean, a hex digit each.

    Frequencies are weighed by their order, since pictures hold less of the higher ones, brought to unit mean square in
    each plane, compressed by a signed root and rounded to 16 steps. Planes may have any size; values that are not
    finite count as their median. Empty where a plane shows no change at all, since blank pictures are no copies of each
    other.
    """
    digits = []
    for plane in planes:
        x = np.asarray(plane, dtype=np.float64)
        known = np.isfinite(x)
        if not known.any():
            return ""
        waves = _waves(np.where(known, x, np.median(x[known])), frequencies)
        size = float(np.sqrt((waves**2).mean()))
        if size <= 1e-9 * float(np.abs(x[known]).max()):
            return ""
        root = np.sign(waves) * np.sqrt(np.abs(waves) / size)
        digits.append(np.clip(np.rint(root * _STEPS) + _MIDDLE, 0, 15).astype(int))
    return "".join(f"{digit:x}" for digit in np.concatenate(digits))


def vectors_of(looks: Sequence[str]) -> Vectors:
    """Looks of one length as rows of unit length, (n, d), so that products of rows are `similarity`."""
    digits = np.array([[int(c, 16) for c in look] for look in looks], dtype=np.float32) - _MIDDLE
    unit: Vectors = digits / np.maximum(np.linalg.norm(digits, axis=1, keepdims=True), 1e-12)
    return unit


def close_pairs(vectors: Vectors, owners: Sequence[str], least: float) -> list[tuple[int, int, float]]:
    """Rows i < j of different owners whose product is at least `least`, and that product; memory is bounded."""
    code = np.unique(np.asarray(owners, dtype=object), return_inverse=True)[1]
    found: list[tuple[int, int, float]] = []
    for start in range(0, len(vectors), _BLOCK):
        products = vectors[start : start + _BLOCK] @ vectors.T
        for i, j in np.argwhere(products >= least):
            a, b = int(i) + start, int(j)
            if a < b and code[a] != code[b]:
                found.append((a, b, float(products[i, j])))
    return found


def _waves(x: npt.NDArray[np.float64], frequencies: int) -> npt.NDArray[np.float64]:
    """The lowest frequencies squared - 1 coefficients of a plane, each times its order."""
    small = _cells(x.shape[0]) @ x @ _cells(x.shape[1]).T
    at = (np.arange(_SIDE) + 0.5) / _SIDE
    basis = np.cos(np.pi * np.outer(np.arange(frequencies), at))
    order = np.hypot(*np.indices((frequencies, frequencies)))
    waves: npt.NDArray[np.float64] = ((basis @ small @ basis.T) * order).ravel()[1:]
    return waves


def _cells(n: int) -> npt.NDArray[np.float64]:
    """(32, n): how much of each of n pixels lies in each of 32 equal cells, rows summing to one."""
    edges = np.linspace(0, n, _SIDE + 1)
    low, high = edges[:-1, None], edges[1:, None]
    at = np.arange(n)
    over = np.clip(np.minimum(high, at + 1) - np.maximum(low, at), 0, None)
    shares: npt.NDArray[np.float64] = over / over.sum(1, keepdims=True)
    return shares
