"""Where the body is: a threshold on the logarithm of the intensities, the largest component, holes filled."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.filters import threshold_otsu

from phenolens.core.errors import ImageError
from phenolens.core.types import FloatArray
from phenolens.scans.geometry import Mask

AIR_HU = -500.0
_FLOOR = 0.05
_PADDED = 0.05
_DARK_TISSUE = 0.25
_DARKEST_TISSUE = 0.1


def in_hu(x: FloatArray, unit: str) -> bool:
    """Whether intensities are Hounsfield units: said by the file, or 1% of them below -500, which nothing else has."""
    if unit:
        return unit == "HU"
    finite = x[np.isfinite(x)]
    return bool(finite.size and np.percentile(finite, 1) <= AIR_HU)


def body_threshold(x: FloatArray, unit: str = "") -> float:
    """The intensity that parts body from background.

    In HU it is -500. Elsewhere it is that of Otsu (IEEE Trans SMC 9, 1979) on the logarithm of the intensities, since
    on the intensities themselves bright fat is parted from muscle. Where the darker class is brighter than a quarter of
    the other it is tissue too (a crop that the body fills); then a tenth of the 99th percentile is taken. A lowest
    value that many voxels share (padding, a masked image) is background and has no say.
    Raises ImageError where all intensities are equal or none is finite.
    """
    if in_hu(x, unit):
        return AIR_HU
    values = x[np.isfinite(x)].astype(np.float64)
    base, top = (float(v) for v in np.percentile(values, (0.5, 99))) if values.size else (0.0, 0.0)
    base = min(base, 0.0)
    if not (values.size and values.min() < values.max() and top > base):
        some = f"all {values.size} finite intensities within {base:g} to {top:g}" if values.size else "no finite value"
        raise ImageError(
            some,
            expected="an image with a body in it",
            todo="look at the image, or leave it out; no normalisation over the body is possible",
        )
    lowest = values == values.min()
    if _PADDED < lowest.mean() < 1 - _PADDED:
        values = values[~lowest]
    height = (np.clip(values, base, top) - base) / (top - base)
    at = float(np.exp(threshold_otsu(np.log(height + _FLOOR)))) - _FLOOR
    dark, bright = height[height <= at], height[height > at]
    if not (dark.size and bright.size) or dark.mean() > _DARK_TISSUE * bright.mean():
        at = _DARKEST_TISSUE
    return base + at * (top - base)


def body(x: FloatArray, unit: str = "") -> Mask:
    """The body in an image (z, y, x), usually a `sample` of it: everything above `body_threshold` in the largest
    26-connected component, with the holes of each plane (lungs, dark bone) filled.
    """
    above: Mask = np.nan_to_num(x, nan=-np.inf) > body_threshold(x, unit)
    labels, count = ndimage.label(above, structure=np.ones((3, 3, 3)))
    if count > 1:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        above = labels == sizes.argmax()
    return _filled(above)


def _filled(mask: Mask) -> Mask:
    plane: npt.NDArray[np.bool_] = np.zeros((3, 3, 3), dtype=np.bool_)
    plane[1] = ndimage.generate_binary_structure(2, 1)
    outside, _ = ndimage.label(np.pad(~mask, ((0, 0), (1, 1), (1, 1)), constant_values=True), structure=plane)
    rim = outside[:, :1, :1]
    filled: Mask = (outside != rim)[:, 1:-1, 1:-1]
    return filled
