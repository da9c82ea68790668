"""Volumes and their maps as pictures: three planes through the region, as radiologists look at them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from scipy import ndimage

from phenolens.core.types import FloatArray, Rgb, Volume
from phenolens.explain.contract import Scores

_BLUE = np.array([33, 102, 172], dtype=np.float64)
_RED = np.array([178, 24, 43], dtype=np.float64)
_LINE = (255, 214, 10)
_ALPHA = 0.75
_GAP = 6
_Picture = npt.NDArray[np.float64]
_Array = npt.NDArray[Any]


def planes(
    volume: Volume, scores: Scores | None = None, *, signed: bool = True, height: int = 240, channel: int = 0
) -> Rgb:
    """Axial, coronal and sagittal plane through the middle of the region, side by side; with scores, below them again
    under the scores: red for the class, blue against it.

    Every plane has its true proportions and is `height` px high at most as wide; grey runs from the 1st to the 99th
    percentile; the region is outlined. Volumes of the encoder `volume` lie in the patient's axes: head up, back down,
    the patient's left on the right. A volume one slice thick gives one plane.
    """
    grey = _grey(volume.x[channel])
    rows = [_row(volume, grey, None, height)]
    if scores is not None:
        top = float(np.quantile(np.abs(scores), 0.995)) or 1.0
        strength = np.clip(scores / top, -1 if signed else 0, 1)
        rows.append(_row(volume, grey, strength, height))
    return np.clip(np.rint(np.concatenate(rows)), 0, 255).astype(np.uint8)


def _grey(x: FloatArray) -> _Picture:
    low, high = np.quantile(x, [0.01, 0.99])
    grey: _Picture = np.clip((x.astype(np.float64) - low) / max(float(high - low), 1e-12), 0, 1) * 255
    return grey


def _row(volume: Volume, grey: _Picture, strength: Scores | None, height: int) -> _Picture:
    """The planes side by side, (height + gap, width, 3)."""
    mask = volume.mask if volume.mask is not None else np.zeros(grey.shape, dtype=np.bool_)
    middle = [_middle(mask, axis) for axis in range(3)]
    sx, sy, sz = volume.frame.spacing
    cuts = [(0, False, (sy, sx)), (1, True, (sz, sx)), (2, True, (sz, sy))][: 1 if len(grey) == 1 else 3]
    shown = []
    for axis, flip, spacing in cuts:
        held: list[_Array] = [np.take(a, middle[axis], axis) for a in (grey, mask, strength) if a is not None]
        held = [a[::-1] for a in held] if flip else held
        shown.append(_plane(held, spacing, height))
    gap = np.full((height, _GAP, 3), 255.0)
    row = np.concatenate([piece for plane in shown for piece in (plane, gap)][:-1], 1)
    return np.concatenate([row, np.full((_GAP, row.shape[1], 3), 255.0)])


def _plane(held: list[_Array], spacing: tuple[float, float], height: int) -> _Picture:
    """One plane (height, width, 3) from grey, mask and, where there is one, strength."""
    rows, columns = held[0].shape
    tall, wide = rows * spacing[0], columns * spacing[1]
    size = (max(1, round(height * min(1.0, wide / tall))), max(1, round(height * min(1.0, tall / wide))))
    grey = _scaled(held[0], size)
    made = np.repeat(grey[..., None], 3, 2)
    if len(held) == 3:
        strength = _scaled(held[2], size)
        colour = np.where(strength[..., None] >= 0, _RED, _BLUE)
        alpha = _ALPHA * np.abs(strength)[..., None]
        made = made * (1 - alpha) + colour * alpha
    inside = _scaled(held[1].astype(np.float64), size) >= 0.5
    made[inside & ~ndimage.binary_erosion(inside)] = _LINE
    full = np.zeros((height, height, 3))
    top, left = (height - size[1]) // 2, (height - size[0]) // 2
    full[top : top + size[1], left : left + size[0]] = made
    return full


def _scaled(plane: _Array, size: tuple[int, int]) -> _Picture:
    picture = Pillow.fromarray(plane.astype(np.float32))
    return np.asarray(picture.resize(size, Pillow.Resampling.BILINEAR), dtype=np.float64)


def _middle(mask: npt.NDArray[np.bool_], axis: int) -> int:
    """The middle of the region along an axis, or of the volume where there is none."""
    rows = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
    return int(rows[len(rows) // 2]) if len(rows) else mask.shape[axis] // 2
