"""Pictures of plain textures, unlike any tumour: what small networks are trained on before a demo, in place of
photographs.

Each class is a way of filling a picture (gratings, blobs, dots, cells, noise of a slope) at some scale; direction,
colours, contrast and phase are drawn anew for every picture, so that a network must learn form and not colour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from phenolens.core.types import FloatArray, Rgb

Rng = np.random.Generator
Field = npt.NDArray[np.float64]
_SCALES = (5.0, 9.0, 16.0)


def _grating(side: int, scale: float, rng: Rng) -> Field:
    y, x = np.mgrid[:side, :side]
    angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
    bend = 0.35 * np.sin((x * np.cos(angle + 1) + y * np.sin(angle + 1)) / (2.5 * scale) + phase)
    made: Field = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / scale + phase + bend)
    return made


def _crossed(side: int, scale: float, rng: Rng) -> Field:
    return np.maximum(_grating(side, scale, rng), _grating(side, scale, rng))


def _blobs(side: int, scale: float, rng: Rng) -> Field:
    made: Field = ndimage.gaussian_filter(rng.normal(size=(side, side)), scale / 3, mode="wrap")
    made /= made.std()
    return made


def _ridges(side: int, scale: float, rng: Rng) -> Field:
    return 1 - 2 * np.abs(_blobs(side, 1.5 * scale, rng))


def _dots(side: int, scale: float, rng: Rng) -> Field:
    points = rng.uniform(0, side, (max(4, int((side / scale) ** 2)), 2))
    y, x = np.mgrid[:side, :side]
    near: Field = np.full((side, side), np.inf)
    for px, py in points:
        near = np.minimum(near, (x - px) ** 2 + (y - py) ** 2)
    made: Field = ndimage.gaussian_filter(np.where(near < (scale / 3.2) ** 2, 1.0, -1.0), 0.7)
    return made


def _rings(side: int, scale: float, rng: Rng) -> Field:
    y, x = np.mgrid[:side, :side]
    cx, cy = rng.uniform(0, side, 2)
    made: Field = np.sin(2 * np.pi * np.hypot(x - cx, y - cy) / scale + rng.uniform(0, 6))
    return made


_KINDS: tuple[Callable[[int, float, Rng], Field], ...] = (_grating, _crossed, _blobs, _ridges, _dots, _rings)
CLASSES = len(_KINDS) * len(_SCALES)
"""How many textures there are."""


def texture(which: int, side: int, rng: Rng) -> Rgb:
    """One picture (side, side, 3) of the texture `which`, 0 to CLASSES - 1."""
    kind, scale = _KINDS[which // len(_SCALES)], _SCALES[which % len(_SCALES)]
    field = kind(side, scale * rng.uniform(0.85, 1.15), rng)
    low, high = np.percentile(field, (2, 98))
    share = np.clip((field - low) / max(high - low, 1e-9), 0, 1)[..., None]
    dark, light = rng.uniform(40, 140, 3), rng.uniform(150, 250, 3)
    picture = dark * share + light * (1 - share) + rng.normal(0, 6, (side, side, 3))
    made: Rgb = np.clip(picture, 0, 255).astype(np.uint8)
    return made


def batch(side: int, count: int, seed: Sequence[int]) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """`count` pictures (count, 3, side, side) in 0 to 1 and their textures, the same for the same seed."""
    rng = np.random.default_rng(list(seed))
    labels = rng.integers(0, CLASSES, count)
    pictures = np.stack([texture(int(label), side, rng) for label in labels]).astype(np.float32) / 255
    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)), labels
