"""Neighbourhood grey tone differences (IBSI 3.10, IPET; Amadasun and King, 1989)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.features.radiomics._around import Around, around
from phenolens.features.radiomics._grid import LARGE, averaged, ratio
from phenolens.features.radiomics.names import named


def ngtdm(levels: npt.NDArray[Any], dims: str = "3d") -> dict[str, float]:
    """The 5 measures of levels (z, y, x), 0 outside; neighbours are all voxels of the region at Chebyshev distance 1.

    Without any difference coarseness is 1e6 and strength 0; with one level contrast and busyness are 0 (IBSI). A
    busyness whose denominator vanishes although levels differ is 1e6. Slices without neighbours are left out of
    averages; where nothing has a neighbour, coarseness is 1e6 and the rest 0. FeatureError on an empty region.
    """
    rows = [_measures(look) for look in around(levels, dims) if look.voxels.any()]
    return named("ngtdm", averaged(rows or [[LARGE, 0.0, 0.0, 0.0, 0.0]]))


def _measures(look: Around) -> list[float]:
    i = np.flatnonzero(look.voxels)
    total = float(look.voxels.sum())
    p, s = look.voxels[i] / total, look.gap[i]
    ps, ip, present = p * s, p * i, len(i)
    square = np.square(i[:, None] - i[None, :]).astype(np.float64)
    contrast = float(p @ square @ p) / (present * (present - 1)) * float(s.sum()) / total if present > 1 else 0.0
    spread = float(np.abs(ip[:, None] - ip[None, :]).sum())
    both = p[:, None] + p[None, :]
    return [
        ratio(1.0, float(ps.sum())),
        contrast,
        ratio(float(ps.sum()), spread) if present > 1 else 0.0,
        float((np.sqrt(square) * (ps[:, None] + ps[None, :]) / both).sum()) / total,
        ratio(float((both * square).sum()), float(s.sum()), otherwise=0.0),
    ]
