"""Grey level zone sizes (IBSI 3.8, 9SAK; Thibault et al., 2014)."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from phenolens.features.radiomics._emphasis import of_pairs
from phenolens.features.radiomics._grid import averaged
from phenolens.features.radiomics._zones import Zones, zones
from phenolens.features.radiomics.names import named


def glszm(levels: npt.NDArray[Any], dims: str = "3d", *, found: Zones | None = None) -> dict[str, float]:
    """The 16 measures of levels (z, y, x), 0 outside; `found` saves the search where `zones` was called before.

    Slices without a voxel of the region are left out of averages. FeatureError on an empty region.
    """
    all_zones = zones(levels, dims) if found is None else found
    rows = [of_pairs(all_zones.level[at], all_zones.size[at], n)[:16] for at, n in all_zones.parts()]
    return named("glszm", averaged(rows))
