"""What lies on a thumbnail and is not tissue: pen of four colours, and black left by the scanner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from phenolens.core.types import FloatArray
from phenolens.slides.stain import least, most

Mask = npt.NDArray[np.bool_]

_LEAST_MM2 = 0.01
"""Pen strokes are longer than this; smaller specks of the same colour are dust, pigment or a blood vessel."""


@dataclass(frozen=True, kw_only=True)
class Ink:
    """Two masks on a thumbnail, (h, w): pen (any colour) and black that touches the border of the picture."""

    pen: Mask
    dark: Mask


def find_ink(density: FloatArray, um: float) -> Ink:
    """Pen and scanner black on a thumbnail.

    density is (h, w, 3), optical density against glass; um is micrometres per thumbnail pixel. Cores are found by
    colours no H&E has (green least absorbed; red absorbed far more than green; an even red of blue and green; black);
    the paler rim of the same hue is taken along up to 64 um (blue ink, which runs: 200 um), and one pixel more for its
    edge.
    """
    red, green, blue = density[..., 0], density[..., 1], density[..., 2]
    lowest, highest = least(density), most(density)
    black = (lowest > 0.55) & (highest - lowest < 0.35 * highest)
    touching, inside = _at_border(black)
    dark = _large(touching, um, _LEAST_MM2)
    pen = _large(inside, um, _LEAST_MM2)
    for core, rim, reach in _hues(red, green, blue, um):
        if core.any():
            pen |= core | (rim & (ndimage.distance_transform_edt(~core) * um <= reach))
    if pen.any():
        pen = ndimage.binary_dilation(pen, ndimage.generate_binary_structure(2, 2))
    if dark.any():
        dark = ndimage.binary_dilation(dark, ndimage.generate_binary_structure(2, 2))
    return Ink(pen=pen & ~dark, dark=dark)


def _hues(red: FloatArray, green: FloatArray, blue: FloatArray, um: float) -> Iterator[tuple[Mask, Mask, float]]:
    """Core, rim and reach of the rim in um for green, teal, blue and red ink."""
    lower = np.minimum(red, blue)
    yield _large((green < lower - 0.06) & (red > 0.12), um, _LEAST_MM2), green < lower - 0.01, 64.0
    yield _large((red > 1.35 * green) & (red > 0.25), um, _LEAST_MM2), (red > 1.12 * green) & (red > 0.03), 64.0
    core = (blue < 0.36 * red) & (red > 0.95 * green) & (red > 0.3)
    yield _large(core, um, _LEAST_MM2), (blue < 0.5 * red) & (red > 0.85 * green) & (red > 0.1), 200.0
    core = (green > 0.7) & (blue > 0.8 * green) & (red < 0.2 * green)
    yield _large(core, um, 10 * _LEAST_MM2), (blue > 0.75 * green) & (red < 0.3 * green), 64.0


def drop_small(mask: Mask, least_px: float) -> Mask:
    """The mask without 8-connected parts of fewer pixels than `least_px`."""
    labels, count = ndimage.label(mask, ndimage.generate_binary_structure(2, 2))
    if not count:
        return mask
    keep = np.bincount(labels.ravel(), minlength=count + 1) >= least_px
    keep[0] = False
    kept: Mask = keep[labels]
    return kept


def _large(mask: Mask, um: float, mm2: float) -> Mask:
    return drop_small(mask, max(2.0, mm2 * 1e6 / um**2))


def _at_border(mask: Mask) -> tuple[Mask, Mask]:
    """The parts that touch the border of the picture, and the others."""
    labels, count = ndimage.label(mask, ndimage.generate_binary_structure(2, 2))
    touching = np.zeros(count + 1, bool)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        touching[np.unique(edge)] = True
    touching[0] = False
    border: Mask = touching[labels]
    return border, mask & ~border
