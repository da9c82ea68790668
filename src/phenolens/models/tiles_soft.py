"""What a teacher at high resolution says of tiles at a lower one: the mean over the fine tiles that lie under each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import ModelError
from phenolens.core.tileset import TileSet

_AT_ONCE = 2**24
"""Most pairs of tiles in one piece."""


def soft_targets(
    fine: TileSet, p_fine: npt.NDArray[np.float64], coarse: TileSet
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Rows (m,) of `coarse` over which some fine tile lies, and probabilities (m, k) for them.

    Both sets are of one slide. Each is the mean of p_fine (n, k) over the fine tiles, weighted by the area that each
    shares with the coarse tile; a coarse tile without any is left out. Raises ModelError where p_fine is not one row
    a fine tile.
    """
    if p_fine.ndim != 2 or len(p_fine) != len(fine):
        raise ModelError(
            f"probabilities of shape {p_fine.shape} for {len(fine)} tiles",
            expected="one row a tile",
            todo="predict these tiles again",
        )
    rows, soft = [], []
    step = max(1, _AT_ONCE // max(len(fine), 1))
    for first in range(0, len(coarse), step):
        corners = coarse.coords[first : first + step]
        shared = np.prod(
            [_overlap(corners[:, axis], coarse.extent, fine.coords[:, axis], fine.extent) for axis in (0, 1)], axis=0
        )
        total = shared.sum(1)
        there = np.flatnonzero(total > 0)
        made = shared[there] @ p_fine / total[there, None]
        rows.append(there + first)
        soft.append(made / made.sum(1, keepdims=True))
    if not rows:
        return np.zeros(0, dtype=np.intp), np.zeros((0, p_fine.shape[1]))
    return np.concatenate(rows), np.concatenate(soft)


def _overlap(
    a: npt.NDArray[np.float64], a_side: float, b: npt.NDArray[np.float64], b_side: float
) -> npt.NDArray[np.float64]:
    """The shared length of intervals that begin at a (m,) and b (n,), (m, n)."""
    low, high = np.maximum(a[:, None], b[None]), np.minimum(a[:, None] + a_side, b[None] + b_side)
    shared: npt.NDArray[np.float64] = np.maximum(high - low, 0)
    return shared
