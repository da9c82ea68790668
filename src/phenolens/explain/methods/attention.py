"""Attention: the weight an attention model gave to every instance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from phenolens.core.types import Example
from phenolens.explain.contract import Scores


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Where the model looked, whichever class it chose; attention is not evidence for a class."""

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Weight an attention model gave to every tile."
    needs: ClassVar[str | None] = "attention"
    signed: ClassVar[bool] = False

    def scores(self, fitted: Any, example: Example, target: int) -> Scores:  # noqa: ARG002 - same for all classes
        """Attention weights, summing to one over all parts of the example."""
        weights: Scores = np.asarray(fitted.attention(example), dtype=np.float64)
        return weights


plugin = Attention
