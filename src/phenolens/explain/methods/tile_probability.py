"""Tile probability: how likely the class is in every tile, of a model that judges tiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from phenolens.core.types import Example
from phenolens.explain.contract import Scores


@dataclass(frozen=True, kw_only=True)
class TileProbability:
    """What the prediction is the mean of: the probability of the class in each tile."""

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Probability of the class in every tile, of which the prediction is the mean."
    needs: ClassVar[str | None] = "tile_probability"
    signed: ClassVar[bool] = False

    def scores(self, fitted: Any, example: Example, target: int) -> Scores:
        """The probabilities of class number `target`."""
        p: Scores = np.asarray(fitted.tile_probability(example), dtype=np.float64)[:, target]
        return p


plugin = TileProbability
