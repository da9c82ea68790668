"""Neighbouring grey level dependence (IBSI 3.11, REK0; Sun and Wee, 1983)."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from phenolens.features.radiomics._around import around
from phenolens.features.radiomics._emphasis import of_matrix
from phenolens.features.radiomics._grid import averaged
from phenolens.features.radiomics.names import named


def ngldm(levels: npt.NDArray[Any], dims: str = "3d") -> dict[str, float]:
    """The 17 measures of levels (z, y, x), 0 outside, at Chebyshev distance 1 and coarseness 0.

    Slices without a voxel of the region are left out of averages. FeatureError on an empty region.
    """
    rows = [of_matrix(look.alike, int(look.alike.sum())) for look in around(levels, dims)]
    return named("ngldm", averaged(rows))
