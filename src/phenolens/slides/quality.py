"""Is a slide fit to be read: how much tissue, how sharp, how much pen, how much colour, how much scanner black."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from phenolens.core.errors import ImageError
from phenolens.core.store import key_of
from phenolens.core.types import Box, FloatArray, Frame, Image, Rgb
from phenolens.slides.region import Tissue, mm2
from phenolens.slides.stain import glass_colour, least, mean, most, optical_density

_TILES = 12
_TILE_PX = 256
_BLUR_MPP = 1.0
_LEAST_DENSITY, _LEAST_CHANGE = 0.04, 0.01


@dataclass(frozen=True, kw_only=True)
class QualitySettings:
    """Thresholds a slide must meet; None switches one off.

    min_tissue_mm2: tissue area. max_blur: 0 sharp to 1 blurred (see `blur`). max_pen: share of the tissue and pen area
    that is pen. min_saturation: mean HSV saturation of the tissue. max_dark: share of the picture that is scanner
    black.
    """

    min_tissue_mm2: float | None = 0.005
    max_blur: float | None = 0.7
    max_pen: float | None = 0.5
    min_saturation: float | None = 0.04
    max_dark: float | None = 0.5

    def __post_init__(self) -> None:
        if self.min_tissue_mm2 is not None and self.min_tissue_mm2 < 0:
            raise ValueError(f"min_tissue_mm2 is {self.min_tissue_mm2}; it is not negative")
        for name in ("max_blur", "max_pen", "min_saturation", "max_dark"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; it lies between 0 and 1")


def measure(slide: Image, thumbnail: Rgb, tissue: Tissue, grid: npt.NDArray[np.int64], side: float) -> dict[str, float]:
    """The figures of one slide: tissue_mm2, blur, pen, saturation, dark.

    All but blur come from the thumbnail; blur is the median over up to 12 kept tiles (grid: (n, 2) corners, side: both
    in level-0 px), drawn in a fixed way and read at 1 um per px, or at the slide's own where that is coarser; it is
    absent where no tile holds enough stain to tell.
    """
    shown = tissue.mask.sum() + tissue.ink.pen.sum()
    seen = thumbnail[tissue.mask]
    highest, lowest = (f(seen).astype(np.float64) for f in (most, least))
    saturation = np.where(highest > 0, (highest - lowest) / np.maximum(highest, 1), 0)
    white = glass_colour(thumbnail)
    sharpness = [blur(tile, white) for tile in _sample(slide, grid, side)]
    known = [value for value in sharpness if value is not None]
    figures = {
        "tissue_mm2": mm2(tissue.area, slide.frame),
        **({"blur": float(np.median(known))} if known else {}),
        "pen": float(tissue.ink.pen.sum() / shown) if shown else 0.0,
        "saturation": float(saturation.mean()) if saturation.size else 0.0,
        "dark": float(tissue.ink.dark.mean()),
    }
    return {name: round(value, 6) for name, value in figures.items()}


def blur(tile: Rgb, white: tuple[float, float, float] = (255.0, 255.0, 255.0)) -> float | None:
    """How blurred stained structure is, 0 (sharp) to 1; None where a tile holds too little stain to tell.

    A sharp picture loses much of its pixel-to-pixel change when it is blurred again, a blurred one hardly any; this is
    the share that is left, the larger of the two directions (Crété and colleagues, SPIE 6492, 2007, "The blur effect",
    window 9). It is a ratio within the tile, taken in optical density, so it does not change with the strength or the
    colour of the stain, as the variance of the Laplacian does. At 1 um per px, sharp H&E lies at 0.2 to 0.4; a Gaussian
    blur of 2 um gives about 0.58, of 3 um (nuclei no longer told apart) about 0.72, of 6 um 0.8 and more.
    """
    density = mean(optical_density(tile, white))
    if density.mean() < _LEAST_DENSITY or density.std() < _LEAST_CHANGE:
        return None
    return max(_left_after_blur(density, 0), _left_after_blur(density, 1))


def _left_after_blur(density: FloatArray, axis: int) -> float:
    again = ndimage.uniform_filter1d(density, 9, axis=axis, mode="nearest")
    before = np.abs(np.diff(density, axis=axis))
    after = np.abs(np.diff(again, axis=axis))
    lost = np.maximum(before - after, 0).sum()
    return float(1 - lost / max(float(before.sum()), 1e-9))


def judge(figures: dict[str, float], settings: QualitySettings, where: str) -> None:
    """Raise ImageError for the first figure beyond its threshold, with both numbers and the setting to change."""
    rules = (
        ("tissue_mm2", settings.min_tissue_mm2, "min_tissue_mm2", "mm2 of tissue"),
        ("blur", settings.max_blur, "max_blur", "blur (0 sharp, 1 blurred)"),
        ("pen", settings.max_pen, "max_pen", "of the stained area is pen"),
        ("saturation", settings.min_saturation, "min_saturation", "colour saturation in the tissue"),
        ("dark", settings.max_dark, "max_dark", "of the picture is black"),
    )
    for name, limit, setting, words in rules:
        if limit is None or name not in figures:
            continue
        least = setting.startswith("min")
        if figures[name] < limit if least else figures[name] > limit:
            raise ImageError(
                f"{figures[name]:.3g} {words}",
                expected=f"at {'least' if least else 'most'} {limit:g} (quality.{setting})",
                todo=f"look at the slide and scan it again, or change quality.{setting} (null switches it off)",
                where=where,
            )


def _sample(slide: Image, grid: npt.NDArray[np.int64], side: float) -> list[Rgb]:
    """Up to 12 tiles of 256 px, centred on kept tiles and moved inside the slide."""
    frame = slide.frame
    spacing = max(_BLUR_MPP, frame.mpp)
    count = min(_TILES, len(grid))
    rng = np.random.default_rng(int(key_of(["quality", len(grid), list(frame.shape)]), 16))
    chosen = np.sort(rng.choice(len(grid), size=count, replace=False))
    return [slide.read(_inside(grid[i] + side / 2, spacing, frame), spacing) for i in chosen]


def _inside(centre: Any, spacing: float, frame: Frame) -> Box:
    size = [
        min(_TILE_PX * spacing / step, float(shape)) for step, shape in zip(frame.spacing, frame.shape, strict=True)
    ]
    corner = [min(max(0.0, c - s / 2), shape - s) for c, s, shape in zip(centre, size, frame.shape, strict=True)]
    return Box(corner[0], corner[1], size[0], size[1])
