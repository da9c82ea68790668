"""Area resampling with exact fractional coverage, and bilinear enlarging."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.sparse import csr_array

from phenolens.core.types import Box, Rgb

SNAP = 1e-6
"""Positions nearer than this to a whole pixel (px) are taken as whole: rounding of decimal numbers, not geometry."""


def resample(pixels: Rgb, box: Box, size: tuple[int, int]) -> Rgb:
    """The part `box` of `pixels`, as (height, width, 3) of `size` = (width, height).

    box is in px of `pixels` and may be fractional; it lies inside them. Along each axis an output pixel is the mean of
    the input it covers, each input pixel weighted by the exact length covered (Pillow's BOX filter counts a pixel
    wholly or not at all). Where nothing is to be done it is a view of `pixels`. For enlarging see `enlarge`.
    """
    whole = tuple(round(v) for v in box)
    x, y, w, h = whole
    if max(abs(a - b) for a, b in zip(box, whole, strict=True)) < SNAP:
        part = pixels[y : y + h, x : x + w]
        if size == (w, h):
            return part
        if w % size[0] == 0 and h % size[1] == 0:
            return np.asarray(Image.fromarray(part).reduce((w // size[0], h // size[1])))
    down = _weights(box.y, box.height, pixels.shape[0], size[1])
    across = _weights(box.x, box.width, pixels.shape[1], size[0])
    rows = down @ pixels.reshape(pixels.shape[0], -1)
    turned = np.ascontiguousarray(rows.reshape(size[1], -1, 3).transpose(1, 0, 2))
    out = (across @ turned.reshape(pixels.shape[1], -1)).reshape(size[0], size[1], 3)
    return np.ascontiguousarray((out + np.float32(0.5)).astype(np.uint8).transpose(1, 0, 2))


def enlarge(pixels: Rgb, box: Box, size: tuple[int, int]) -> Rgb:
    """The part `box` of `pixels` enlarged bilinearly to `size` = (width, height); pixels around the box are used."""
    corners = (box.x, box.y, box.x + box.width, box.y + box.height)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, box=corners))


def _weights(start: float, length: float, n_in: int, n_out: int) -> csr_array:
    """Row i holds the share of each of n_in pixels in the i-th of n_out equal parts of [start, start + length]."""
    edges = np.clip(start + np.arange(n_out + 1) * (length / n_out), 0, n_in)
    first = np.minimum(np.floor(edges[:-1] + SNAP), n_in - 1).astype(np.intp)
    last = np.maximum(np.ceil(edges[1:] - SNAP).astype(np.intp), first + 1)
    counts = last - first
    row: npt.NDArray[np.intp] = np.repeat(np.arange(n_out), counts)
    begins = np.concatenate([[0], np.cumsum(counts)])
    column = np.arange(begins[-1]) - begins[row] + first[row]
    share = np.minimum(edges[row + 1], column + 1) - np.maximum(edges[row], column)
    share = np.maximum(share, 0)
    share /= np.add.reduceat(share, begins[:-1])[row]
    return csr_array((share.astype(np.float32), column, begins), shape=(n_out, n_in))
