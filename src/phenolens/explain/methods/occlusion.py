"""Occlusion: what the prediction loses when a neighbourhood of instances is taken away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from phenolens.core.types import Example
from phenolens.explain.contract import Scores, log_odds


@dataclass(frozen=True, kw_only=True)
class Occlusion:
    """Fall of the log-odds of the class when a square neighbourhood is removed; negative speaks against the class.

    At most `blocks` neighbourhoods an example; up to that many instances, each is removed on its own.
    After Zeiler and Fergus, ECCV 2014, on instances of a bag instead of pixels.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Fall of a class's log-odds when tiles are taken away; works with every model."
    needs: ClassVar[str | None] = None
    signed: ClassVar[bool] = True
    blocks: int = 256

    def __post_init__(self) -> None:
        if self.blocks < 2:
            raise ValueError("blocks must be at least 2")

    def scores(self, fitted: Any, example: Example, target: int) -> Scores:
        """Score of every instance; zero when the example is a single instance, which cannot be taken away."""
        block = neighbourhoods(example, self.blocks)
        count = int(block.max()) + 1
        if count == 1:
            return np.zeros(len(block))
        whole = fitted.predict([example])[:, target]
        without = np.array([fitted.predict([example.keep(block != b)])[0, target] for b in range(count)])
        fall: Scores = (log_odds(whole) - log_odds(without))[block]
        return fall


def neighbourhoods(example: Example, most: int) -> npt.NDArray[np.intp]:
    """Number of the square neighbourhood of each instance (n,); at most `most`, numbered from 0 without gaps."""
    bags = example.bags()
    rows = sum(len(b.coords) for b in bags)
    if rows <= most:
        return np.arange(rows)
    cells = 2
    while True:
        place = np.concatenate(
            [np.column_stack([np.full(len(b.coords), i), b.coords // (b.extent * cells)]) for i, b in enumerate(bags)]
        )
        _, block = np.unique(place, axis=0, return_inverse=True)
        if block.max() < most:
            return np.asarray(block.reshape(-1), dtype=np.intp)
        cells *= 2


plugin = Occlusion
