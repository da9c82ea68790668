"""Encoder `pathomics`: named features of colour, nuclei, arrangement, spaces and texture; no weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from phenolens.core.errors import FeatureError
from phenolens.core.types import FloatArray, Rgb
from phenolens.features.pathomics import arrangement, colour, population, shape, spaces, texture
from phenolens.features.pathomics.nuclei import segment
from phenolens.features.pathomics.scene import make_scene


@dataclass(frozen=True, kw_only=True)
class Pathomics:
    """Measures each tile in micrometres and optical density; see the modules of `features/pathomics` for definitions.

    The four nuclear features that soft-tissue-tumour work measures with QuPath are `cell_count`,
    `nucleus_cell_area_ratio_mean`, `nucleus_haematoxylin_mean` and `nucleus_max_caliper_um_mean`.
    """

    version: ClassVar[int] = 2
    summary: ClassVar[str] = "named colour, nuclear, arrangement and texture features; no weights, runs on the CPU"
    reads: ClassVar[str] = "slide"
    makes: ClassVar[str] = "bag"
    licence: ClassVar[str] = "Apache-2.0 (this package)"
    place: ClassVar[str] = "cpu"
    mpp: ClassVar[float | None] = None
    size_px: ClassVar[int | None] = None
    names: ClassVar[tuple[str, ...]] = (
        *colour.NAMES,
        *population.NAMES,
        *arrangement.NAMES,
        *spaces.NAMES,
        *texture.NAMES,
    )

    def load(self, device: str) -> Callable[[Rgb, float], FloatArray]:
        """A function from (n, s, s, 3) tiles and their mpp to (n, d) features; `device` makes no difference."""
        del device
        return encode


def encode(tiles: Rgb, mpp: float) -> FloatArray:
    """Features of (n, s, s, 3) uint8 tiles at `mpp` micrometres per pixel, (n, d) float32, always finite.

    Raises FeatureError when `tiles` is not such an array or `mpp` not a positive number.
    """
    if tiles.ndim != 4 or tiles.shape[-1] != 3 or tiles.dtype != np.uint8:
        raise FeatureError(
            f"tiles of shape {tiles.shape} and type {tiles.dtype}",
            expected="(n, height, width, 3) of type uint8",
            todo="pass RGB tiles",
        )
    if not 0 < mpp < np.inf:
        raise FeatureError(f"mpp {mpp}", expected="micrometres per pixel above 0", todo="declare the mpp of the image")
    out = np.empty((len(tiles), len(Pathomics.names)), np.float32)
    for row, tile in zip(out, tiles, strict=True):
        measured = measure_tile(tile, mpp)
        row[:] = [measured[name] for name in Pathomics.names]
    return out


def measure_tile(tile: Rgb, mpp: float) -> dict[str, float]:
    """All features of one (h, w, 3) tile by name."""
    scene = make_scene(tile, mpp)
    labels = segment(scene)
    nuclei = shape.measure(labels, scene)
    return {
        **colour.measure(scene),
        **population.summarise(nuclei, int(np.count_nonzero(labels)), scene),
        **arrangement.measure(nuclei, scene.tissue_mm2),
        **spaces.measure(scene, nuclei),
        **texture.measure(scene),
    }


plugin = Pathomics
