"""Intensity-volume histogram (IBSI 3.5, P88C)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import FeatureError
from phenolens.features.radiomics._distribution import percentile
from phenolens.features.radiomics.names import named

MAX_STEPS = 1_000_000
"""A total range of more steps than this is refused."""


def ivh(
    values: npt.NDArray[Any], *, lowest: float | None = None, highest: float | None = None, step: float = 1.0
) -> dict[str, float]:
    """The seven measures of the discretised intensities of a region's voxels, any shape.

    `values` lie on the grid lowest, lowest + step, …, highest, which is the total range G of the standard (its ends
    are the region's own where None). What to hand over, by kind of image:
    whole HU: values as they are, G the re-segmentation range if there is one, step 1;
    calibrated and continuous (SUV): centres of bins of width w, lowest + (level - 0.5) w, G the range drawn in by
    w / 2 on both sides, step w; arbitrary units: levels of 1000 bins, G = (1, 1000), step 1.
    The intensity at a volume that no intensity of G comes down to is one step above G. Of a single intensity the area
    is 0 and both volumes 1. Errors are FeatureError.
    """
    ascending = np.sort(np.asarray(values, dtype=np.float64), axis=None)
    low, high = _range(ascending, lowest, highest, step)
    at: npt.NDArray[np.float64] = low + step * np.arange(round((high - low) / step) + 1, dtype=np.float64)
    share = 1.0 - np.searchsorted(ascending, at - step / 2, "left") / len(ascending)
    fraction = np.linspace(0.0, 1.0, len(at)) if len(at) > 1 else np.ones(1)
    v10, v90 = (float(share[np.searchsorted(fraction, x - 1e-9)]) for x in (0.1, 0.9))
    i10, i90 = (_intensity(at, share, x, step) for x in (0.1, 0.9))
    single = ascending[0] == ascending[-1]
    area = 0.0 if single or len(at) < 2 else float((share[1:] + share[:-1]).mean() / 2)
    return named("ivh", [v10, v90, i10, i90, v10 - v90, i10 - i90, area])


def _intensity(at: npt.NDArray[np.float64], share: npt.NDArray[np.float64], most: float, step: float) -> float:
    """The lowest intensity present in at most a share of the volume."""
    low = np.flatnonzero(share <= most + 1e-12)
    return float(at[low[0]]) if len(low) else float(at[-1] + step)


def _range(values: npt.NDArray[np.float64], low: float | None, high: float | None, step: float) -> tuple[float, float]:
    if not len(values) or not np.isfinite(values[[0, -1]]).all() or not step > 0:
        raise FeatureError(
            f"{len(values)} intensities with step {step}",
            expected="at least one voxel, finite intensities, a step above 0",
            todo="look at the mask and the image",
        )
    start = float(values[0]) if low is None else low
    end = float(values[-1]) if high is None else high
    if values[0] < start - step / 2 or values[-1] > end + step / 2:
        raise FeatureError(
            f"intensities from {values[0]:g} to {values[-1]:g} (median {percentile(values, 50):g})",
            expected=f"all within {start:g} to {end:g}",
            todo="re-segment to that range",
        )
    if (end - start) / step > MAX_STEPS:
        raise FeatureError(
            f"a range of {(end - start) / step:.3g} steps", expected=f"at most {MAX_STEPS}", todo="widen the step"
        )
    return start, end
