"""Intensities to grey levels: a fixed number of bins or a fixed width of bins (IBSI 2.7)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import FeatureError
from phenolens.features.radiomics._grid import Levels


def discretise(
    x: npt.NDArray[Any],
    inside: npt.NDArray[np.bool_],
    *,
    method: str,
    bins: int | None = None,
    width: float | None = None,
    lowest: float | None = None,
) -> Levels:
    """Levels 1 to Ng (z, y, x) of intensities (z, y, x) within the region, 0 outside; int32.

    `fbn` (K15C): `bins` bins from the region's lowest to its highest intensity; a constant region is level 1.
    `fbs` (Q3RU): bins of `width` from `lowest`, or from the region's lowest intensity where None.
    Errors are FeatureError: an empty region, intensities that are not finite, or below `lowest`.
    """
    values = x[inside].astype(np.float64)
    _check(values, x.shape)
    if method == "fbn" and bins is not None and bins >= 1 and width is None and lowest is None:
        found = _fixed_number(values, bins)
    elif method == "fbs" and width is not None and 0 < width < np.inf and bins is None:
        found = _fixed_width(values, width, lowest)
    else:
        raise FeatureError(
            f"discretisation '{method}' with bins {bins}, width {width}, lowest {lowest}",
            expected="'fbn' with bins (a whole number from 1), or 'fbs' with a width above 0 and perhaps lowest",
            todo="set one of the two",
        )
    levels = np.zeros(x.shape, dtype=np.int32)
    levels[inside] = found
    return levels


def _fixed_number(values: npt.NDArray[np.float64], bins: int) -> npt.NDArray[np.float64]:
    low, high = values.min(), values.max()
    if low == high:
        return np.ones_like(values)
    found: npt.NDArray[np.float64] = np.minimum(np.floor(bins * ((values - low) / (high - low))) + 1, bins)
    return found


def _fixed_width(values: npt.NDArray[np.float64], width: float, lowest: float | None) -> npt.NDArray[np.float64]:
    start = float(values.min()) if lowest is None else lowest
    if values.min() < start:
        raise FeatureError(
            f"an intensity of {values.min():g}",
            expected=f"none below the lowest bin, which starts at {start:g}",
            todo="re-segment to that range, or leave the lowest bin to the region",
        )
    found: npt.NDArray[np.float64] = np.floor((values - start) / width) + 1
    if found.max() > np.iinfo(np.int32).max:
        raise FeatureError(
            f"{found.max():.3g} bins of width {width:g}", expected="a number of levels in reach", todo="widen the bins"
        )
    return found


def _check(values: npt.NDArray[np.float64], shape: tuple[int, ...]) -> None:
    if not len(values):
        raise FeatureError(
            f"an empty region in a crop of shape {shape}",
            expected="at least one voxel",
            todo="look at the mask and at the re-segmentation range",
        )
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise FeatureError(
            f"{bad} of {len(values)} intensities of the region that are not finite",
            expected="finite numbers",
            todo="repair or drop the image",
        )
