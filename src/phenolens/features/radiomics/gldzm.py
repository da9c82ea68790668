"""Grey level distance zones (IBSI 3.9, VMDZ; Thibault et al., 2014)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.features.radiomics._emphasis import of_pairs
from phenolens.features.radiomics._grid import averaged
from phenolens.features.radiomics._zones import Zones, zones
from phenolens.features.radiomics.names import named


def gldzm(
    levels: npt.NDArray[Any],
    dims: str = "3d",
    *,
    shape: npt.NDArray[np.bool_] | None = None,
    found: Zones | None = None,
) -> dict[str, float]:
    """The 16 measures of levels (z, y, x), 0 outside; distances are to the edge of the morphological mask `shape`
    (the region itself where None). `found` saves the search where `zones` was called before with that mask.

    Slices without a voxel of the region are left out of averages. Errors are FeatureError.
    """
    all_zones = zones(levels, dims, shape=shape) if found is None else found
    rows = [of_pairs(all_zones.level[at], all_zones.distance[at], n)[:16] for at, n in all_zones.parts()]
    return named("gldzm", averaged(rows))
