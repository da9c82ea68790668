"""One tile made ready to be measured: brought to the working resolution, stains separated, tissue found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage as ndi

from phenolens.core.types import FloatArray, Rgb
from phenolens.slides.stain import optical_density, stain_matrix

Mask = npt.NDArray[np.bool_]

WORKING_MPP = 0.5
"""Micrometres per pixel that finer tiles are averaged to, so that 40x and 20x tiles give comparable features."""

_TISSUE_SMOOTH_UM = 2.5
_TISSUE_STRENGTH = 0.11


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A tile at its working resolution.

    haematoxylin, eosin and density (mean of the channels) are (h, w) float32 in optical density units (log10), never
    negative; residual is what the two stains do not explain, with a sign: above 0 where more blue light is taken up
    (DAB, melanin, haemosiderin), below 0 where more red light is; saturation is (h, w) in 0 to 1 (as in HSV); tissue is
    (h, w) boolean; mpp is in micrometres per pixel.
    """

    haematoxylin: FloatArray
    eosin: FloatArray
    residual: FloatArray
    density: FloatArray
    saturation: FloatArray
    tissue: Mask
    mpp: float

    @property
    def tissue_mm2(self) -> float:
        """Area of tissue in mm²."""
        return float(np.count_nonzero(self.tissue)) * self.mpp**2 / 1e6


def make_scene(tile: Rgb, mpp: float) -> Scene:
    """The scene of one (h, w, 3) tile at `mpp` micrometres per pixel.

    A tile finer than about 0.5 mpp is averaged over whole blocks of pixels (2 × 2 at 0.25 mpp), as a scanner at the
    coarser resolution would have done; a coarser tile stays as it is. Rows and columns that fill no block are dropped.
    Tissue is what absorbs or is coloured: after smoothing, mean optical density plus the difference between the
    densest and the lightest channel exceeds 0.11, which grey glass (pixel values above about 200) does not reach.
    Haematoxylin and eosin are the least-squares amounts for the directions of Ruifrok and Johnston (2001), residual the
    optical density along the unit vector at right angles to both.
    """
    factor = max(1, int(WORKING_MPP / mpp + 0.25))
    rgb = np.rint(block_mean(tile, factor)).astype(np.uint8) if factor > 1 else tile
    red, green, blue = planes = np.ascontiguousarray(np.moveaxis(optical_density(rgb), -1, 0))
    haematoxylin, eosin, residual = (_unmixing() @ planes.reshape(3, -1)).reshape(planes.shape)
    density = (red + green + blue) / np.float32(3)
    range_ = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    strength = ndi.uniform_filter(density + range_, odd(_TISSUE_SMOOTH_UM / (mpp * factor)), mode="reflect")
    return Scene(
        haematoxylin=np.maximum(haematoxylin, 0, out=haematoxylin),
        eosin=np.maximum(eosin, 0, out=eosin),
        residual=residual,
        density=density,
        saturation=1 - np.exp(np.float32(-np.log(10)) * range_),
        tissue=strength > _TISSUE_STRENGTH,
        mpp=mpp * factor,
    )


def _unmixing() -> FloatArray:
    """From optical density to haematoxylin, eosin and residual, a row each, (3, 3)."""
    stains = stain_matrix()[:2]
    across = np.cross(*stains)
    rows: FloatArray = np.vstack([np.linalg.pinv(stains).T, across / np.linalg.norm(across)]).astype(np.float32)
    return rows


def block_mean(image: npt.NDArray[np.generic], factor: int) -> FloatArray:
    """(h // factor, w // factor, ...) float32 means over blocks of factor × factor pixels; leftovers are dropped."""
    height, width = image.shape[0] // factor, image.shape[1] // factor
    total = np.zeros((height, width, *image.shape[2:]), np.float32)
    for row in range(factor):
        for column in range(factor):
            total += image[row : height * factor : factor, column : width * factor : factor]
    total /= factor * factor
    return total


def odd(pixels: float) -> int:
    """The odd whole number nearest to `pixels`, at least 1."""
    return max(1, 2 * round((pixels - 1) / 2) + 1)


def smooth(image: FloatArray, sigma_px: float) -> FloatArray:
    """`image` after a Gaussian of `sigma_px` pixels, cut at three sigma, mirrored at the border."""
    out: FloatArray = ndi.gaussian_filter(image, sigma_px, truncate=3.0) if sigma_px > 0 else image
    return out


def local_mean(image: FloatArray, within: Mask, side_px: int) -> FloatArray:
    """Mean of `image` over the pixels of `within` in a square of `side_px` around each pixel, or 0 without any."""
    inside = within.astype(np.float32)
    total = ndi.uniform_filter(image * inside, side_px, mode="reflect")
    share = ndi.uniform_filter(inside, side_px, mode="reflect")
    out: FloatArray = np.where(share > 1e-4, total / np.maximum(share, 1e-4), np.float32(0)).astype(np.float32)
    return out
