"""Intensity-based statistics of a region (IBSI 3.3, UHIW)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import FeatureError
from phenolens.features.radiomics._distribution import distribution
from phenolens.features.radiomics.names import named


def statistics(values: npt.NDArray[Any]) -> dict[str, float]:
    """The 18 measures of the intensities of a region's voxels, any shape, in the units of the image.

    Kurtosis is excess, variance has no bias correction. Errors are FeatureError: no values, or some not finite.
    """
    ascending = np.sort(np.asarray(values, dtype=np.float64), axis=None)
    if not len(ascending) or not np.isfinite(ascending[[0, -1]]).all():
        raise FeatureError(
            "no intensities" if not len(ascending) else "intensities that are not finite",
            expected="at least one voxel, all intensities finite",
            todo="look at the mask and the image",
        )
    energy = float(ascending @ ascending)
    return named("stat", [*distribution(ascending), energy, (energy / len(ascending)) ** 0.5])
