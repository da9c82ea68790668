"""Crops and responses made on the spot, for the tests of radiomics."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phenolens.core.types import Frame
from phenolens.features.radiomics.filters import parse
from phenolens.scans.geometry import Crop, Roi, cropped, roi_of


def respond(name: str, x: npt.NDArray[np.float64], spacing: tuple[float, ...]) -> list[npt.NDArray[np.float64]]:
    """The responses of a filter on a whole image, mirrored at its edges."""
    chosen = parse(name)
    margin = chosen.reach(spacing)
    padded = np.pad(np.asarray(x, float), [(m, m) for m in margin], mode="symmetric")
    return chosen.respond(padded, margin, spacing)


def scan(
    seed: int, shape: tuple[int, int, int], spacing: tuple[float, float, float], *, near_edge: bool = False
) -> tuple[npt.NDArray[np.float32], Roi]:
    """A noisy image (shape is x, y, z) and a lumpy region in it."""
    rng = np.random.default_rng(seed)
    frame = Frame(shape=shape, spacing=spacing, origin=(3.0, -7.0, 11.0), unit="mm")
    grid = np.stack(
        np.meshgrid(*[np.arange(n) * s for n, s in zip(shape[::-1], spacing[::-1], strict=True)], indexing="ij"), -1
    )
    size = np.array(shape[::-1]) * spacing[::-1]
    centre = size * (0.15 if near_edge else 0.5) + rng.uniform(-1, 1, 3)
    away = np.sqrt((((grid - centre) / rng.uniform(0.7, 1.3, 3)) ** 2).sum(-1))
    mask = away + rng.normal(0, 0.5, away.shape) < 7
    x = (200 * np.sin(grid.sum(-1) / 4) + rng.normal(0, 30, away.shape)).astype(np.float32)
    roi = roi_of(mask, frame)
    assert roi is not None
    return x, roi


def crop_of(x: npt.NDArray[np.float32], roi: Roi, margin_mm: float | None) -> Crop:
    """The region with its margin; the whole image where that is None."""
    lo, shape = ((0, 0, 0), roi.frame.shape) if margin_mm is None else roi.box(margin_mm)
    width, height, depth = shape
    part = x[lo[2] : lo[2] + depth, lo[1] : lo[1] + height, lo[0] : lo[0] + width]
    made = (width, height, depth)
    return Crop(x=part, inside=roi.within(lo, made), frame=cropped(roi.frame, lo, made), sequence="T2")
