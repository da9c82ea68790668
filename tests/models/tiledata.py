"""Sets of small tiles made on the spot: textures that differ by class in their direction, not in their colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from phenolens.core.types import Example, Frame, Part, TileSet

CLASSES = ("A", "B")
SIDE = 32
FRAME = Frame(shape=(4000, 4000), spacing=(0.5, 0.5), origin=(0.0, 0.0), unit="um")
QUICK: dict[str, Any] = {
    "backbone": "test_resnet",
    "weights": "none",
    "width": 16,
    "dropout": 0.0,
    "learning_rate": 0.003,
    "backbone_rate": 0.003,
    "stem_share": 1.0,
    "epochs": 3,
    "batch": 16,
    "tiles_per_epoch": 192,
    "tune_tiles": 8,
    "workers": 1,
}
"""Parameters of `tile_cnn` for tests: a tiny network from random weights, in seconds."""


@dataclass(frozen=True)
class Encoded:
    """Pictures in memory."""

    data: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.data)

    def read(self, rows: Sequence[int]) -> list[bytes]:
        return [self.data[r] for r in rows]


@dataclass(frozen=True)
class InMemory:
    """Tiles as a source."""

    held: TileSet

    def load(self) -> TileSet:
        return self.held


def tileset(pixels: npt.NDArray[np.uint8], name: str = "tiles") -> TileSet:
    """Tiles (n, s, s, 3) in a row, each 16 um wide."""
    data = tuple(bytes(imagecodecs.png_encode(np.ascontiguousarray(p))) for p in pixels)
    coords = np.column_stack([np.arange(len(data)) * 16.0, np.zeros(len(data))])
    side = pixels.shape[1]
    return TileSet(
        data=Encoded(data), outlines=None, coords=coords, extent=16.0, size_px=side, frame=FRAME, recipe=name
    )


def stripes(rng: np.random.Generator, n: int, coarse: bool, side: int = SIDE) -> npt.NDArray[np.uint8]:
    """Noisy waves in any direction, of a period of 16 px (coarse) or 4 px: the colours of both are alike."""
    y, x = np.mgrid[:side, :side]
    angle, phase = rng.uniform(0, np.pi, (n, 1, 1)), rng.uniform(0, 2 * np.pi, (n, 1, 1))
    wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / (16 if coarse else 4) + phase)
    grey = 150 + 50 * wave + rng.normal(0, 20, wave.shape)
    return np.clip(grey[..., None] + np.array([30, -20, 20]), 0, 255).astype(np.uint8)


def example(patient: str, label: str | None, *sets: TileSet, unit: str = "", **targets: Any) -> Example:
    """One unit with a part a set."""
    who = unit or patient
    parts = tuple(Part(name=f"{who}-{i}", image=f"{who}-{i}", source=InMemory(s)) for i, s in enumerate(sets))
    known = targets if label is None else {"subtype": label, **targets}
    return Example(patient=patient, unit_id=who, parts=parts, covariates={"site": "one"}, targets=known)


def textured(n: int, *, tiles: int = 10, seed: int = 0) -> list[Example]:
    """Patients of two classes in turn, each with one slide of textured tiles."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        held = tileset(stripes(rng, tiles, coarse=i % 2 == 0), f"recipe {seed} {i}")
        made.append(example(f"p{i:03d}", CLASSES[i % 2], held))
    return made
