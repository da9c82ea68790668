"""What a network says of the tiles of one unit, and the names of the votes that are made of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phenolens.core.types import FloatArray

MEAN, MAJORITY, ATTENTION = "mean", "majority", "attention"


@dataclass(frozen=True, kw_only=True)
class Read:
    """For each image its id, the corners (n, 2) of its tiles in its frame's unit, probabilities (n, k) and the hidden
    layer (n, width)."""

    images: tuple[str, ...]
    coords: tuple[npt.NDArray[np.float64], ...]
    p: tuple[npt.NDArray[np.float64], ...]
    hidden: tuple[FloatArray, ...]

    def every(self) -> npt.NDArray[np.float64]:
        """The probabilities of all tiles, (n, k)."""
        return np.concatenate(self.p)
