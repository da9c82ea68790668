"""Intensity histogram of discretised levels (IBSI 3.4, ZVCW)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.features.radiomics._distribution import distribution
from phenolens.features.radiomics._grid import tight
from phenolens.features.radiomics.names import named


def histogram(levels: npt.NDArray[Any], inside: npt.NDArray[np.bool_] | None = None) -> dict[str, float]:
    """The 23 measures of levels 1 to Ng within the region (where `inside`, or where levels are not 0).

    Of several modes the one nearest the mean counts, the lower of two equally near. Gradients are central differences
    of the counts of levels 1 to Ng, one-sided at the ends; of several extremes the lowest level counts; with one level
    they are 0 at level 1. FeatureError on an empty region.
    """
    mask = levels != 0 if inside is None else inside
    tight(mask)
    counts = np.bincount(levels[mask].astype(np.int64))[1:]
    level = np.arange(1, len(counts) + 1)
    share = counts / counts.sum()
    seen = share[share > 0]
    mean = float(share @ level)
    modes = level[counts == counts.max()]
    slope = np.gradient(counts.astype(np.float64)) if len(counts) > 1 else np.zeros(1)
    return named(
        "ih",
        [
            *distribution(np.repeat(level, counts).astype(np.float64)),
            float(modes[np.argmin(np.abs(modes - mean))]),
            abs(float(seen @ np.log2(seen))),
            float(share @ share),
            float(slope.max()),
            float(level[slope.argmax()]),
            float(slope.min()),
            float(level[slope.argmin()]),
        ],
    )
