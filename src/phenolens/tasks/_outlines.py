"""How well an outline that was found on a slide agrees with the one that was drawn, within the tissue."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

Mask = npt.NDArray[np.bool_]
"""Shape (h, w)."""
Floats = npt.NDArray[np.float64]


def outline_agreement(
    found: Mask, drawn: Mask, tissue: Mask, um: float, *, tolerance_um: float
) -> dict[str, float | None]:
    """dice, surface_dice, boundary_um and boundary95_um of two masks on one grid with pixels of `um` micrometres.

    Both are looked at within the tissue, since nobody is asked what glass is. A boundary is made of the pixels of a
    mask beside other tissue; where a mask ends with the tissue there is nothing to agree on. surface_dice: the share of
    both boundaries within the tolerance of the other (normalised surface distance; Nikolov et al., J Med Internet Res
    2021;23(7):e26151), 1 where neither mask has a boundary, 0 where one has. boundary_um: the mean over the pixels of
    both of the distance to the other; boundary95_um: the larger of the 95th percentiles of either side (as in
    Maier-Hein et al., Nat Methods 2024;21:195-212); None where a mask has no boundary.
    """
    found, drawn = found & tissue, drawn & tissue
    a, b = boundary(found, tissue) * um, boundary(drawn, tissue) * um
    total = int(np.count_nonzero(found)) + int(np.count_nonzero(drawn))
    agreed: dict[str, float | None] = {"dice": 2 * int(np.count_nonzero(found & drawn)) / total if total else 1.0}
    if not len(a) or not len(b):
        return {**agreed, "surface_dice": float(len(a) == len(b)), "boundary_um": None, "boundary95_um": None}
    away = _nearest(a, b), _nearest(b, a)
    every = np.concatenate(away)
    return {
        **agreed,
        "surface_dice": float(np.mean(every <= tolerance_um + 1e-9)),
        "boundary_um": float(every.mean()),
        "boundary95_um": float(max(np.percentile(side, 95) for side in away)),
    }


def boundary(mask: Mask, tissue: Mask) -> Floats:
    """Centres (n, 2) of the pixels of a mask with a side on tissue outside it, as row and column."""
    other = tissue & ~mask
    beside = np.zeros_like(mask)
    beside[1:] |= other[:-1]
    beside[:-1] |= other[1:]
    beside[:, 1:] |= other[:, :-1]
    beside[:, :-1] |= other[:, 1:]
    return np.argwhere(mask & beside).astype(np.float64)


def _nearest(points: Floats, others: Floats) -> Floats:
    return np.asarray(cKDTree(others).query(points)[0], dtype=np.float64)
