"""Occlusion of volumes: what the prediction loses when a block of voxels is replaced by what surrounds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from phenolens.core.types import Example
from phenolens.explain.contract import Scores, log_odds
from phenolens.explain.volumes import blocks_of, part_volume, surroundings, voxels_of_parts, with_x


@dataclass(frozen=True, kw_only=True)
class VoxelOcclusion:
    """Fall of the log-odds of the class when a block of voxels is replaced by the mean around it.

    Negative speaks against the class. At most `blocks` blocks a volume, cubes in mm as nearly as its voxels allow; each
    channel is replaced by its own mean over the shell of half a block's side. After Zeiler and Fergus, ECCV 2014.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Fall of a class's log-odds when a block of voxels takes the mean around it; any model."
    needs: ClassVar[str | None] = None
    signed: ClassVar[bool] = True
    reads: ClassVar[str] = "volume"
    blocks: int = 216

    def __post_init__(self) -> None:
        if self.blocks < 8:
            raise ValueError("blocks must be at least 8")

    def voxel_scores(self, fitted: Any, example: Example, part: str, target: int) -> Scores:
        """(z, y, x) on the grid of the part's volume; all voxels of a block share its score."""
        volume = part_volume(example, part)
        block = blocks_of(volume.frame, self.blocks)
        whole = log_odds(fitted.predict([example])[:, target])[0]
        fall = np.empty(int(block.max()) + 1)
        for b in range(len(fall)):
            hidden = surroundings(volume.x, block == b)
            fall[b] = whole - log_odds(fitted.predict([with_x(example, part, hidden)])[:, target])[0]
        scores: Scores = fall[block]
        return scores

    def scores(self, fitted: Any, example: Example, target: int) -> Scores:
        """Scores of the voxels of all parts that are there, one part after another, (n,)."""
        return voxels_of_parts(self, fitted, example, target)


plugin = VoxelOcclusion
