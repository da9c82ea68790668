"""Volumes as they might also have been seen: flipped, a little turned and scaled, brighter, noisier; with MONAI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.transforms import (
    Compose,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandScaleIntensityd,
    RandShiftIntensityd,
)

X, MASK = "x", "mask"


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far a training volume is changed: flips along every axis, turns, zoom, and intensities that are standardised.

    Turns are about all axes where voxels are cubes and about z alone where they are not.
    """

    flip: bool = True
    turn_deg: float = 10.0
    zoom: float = 0.1
    intensity: float = 0.1
    noise: float = 0.05


class Augmenter:
    """Changes arrays (c, [z,] y, x) by chance; the chance is drawn from the key of a call alone."""

    def __init__(self, settings: Augmentation, spacing: Sequence[float], dims: int, *, mask: bool = False) -> None:
        keys = [X, MASK] if mask else [X]
        turn = np.deg2rad(settings.turn_deg)
        cubes = dims == 3 and np.allclose(spacing, spacing[0], rtol=0.05)
        turns = [turn] if dims == 2 else [turn] * 3 if cubes else [turn, 0.0, 0.0]
        flips = [RandFlipd(keys, prob=0.5, spatial_axis=a) for a in range(dims)] if settings.flip else []
        self.transform = Compose(
            [
                *flips,
                RandAffined(
                    keys,
                    prob=0.5,
                    rotate_range=turns,
                    scale_range=[settings.zoom] * dims,
                    mode=["bilinear", "nearest"][: len(keys)],
                    padding_mode="border",
                ),
                RandScaleIntensityd(X, factors=settings.intensity, prob=0.5),
                RandShiftIntensityd(X, offsets=settings.intensity, prob=0.5),
                RandGaussianNoised(X, prob=0.5, std=settings.noise),
            ]
        )

    def __call__(self, key: Sequence[int], x: torch.Tensor, mask: torch.Tensor | None = None) -> dict[str, Any]:
        """x, and mask where one is given, by those names; equal keys give equal results."""
        self.transform.set_random_state(seed=int(np.random.SeedSequence(list(key)).generate_state(1)[0]))
        held = {X: x} if mask is None else {X: x, MASK: mask}
        return {name: torch.as_tensor(value.as_tensor()) for name, value in self.transform(held).items()}
