"""Input × gradient on volumes: how the log-odds would change if a voxel lost what it differs by from the mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import ndimage

from phenolens.core.types import Example
from phenolens.explain.contract import Scores
from phenolens.explain.volumes import part_volume, voxels_of_parts


@dataclass(frozen=True, kw_only=True)
class Gradient:
    """Standardised intensity × gradient of the log-odds of the class, summed over channels, smoothed by a Gaussian.

    It is the voxel's first-order share of the log-odds, beside an image of mean intensity; negative speaks against the
    class. `smooth_mm` is the σ in mm, 0 for none. Shrikumar, Greenside and Kundaje, Learning important features through
    propagating activation differences, ICML 2017, section 2.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Input times gradient of a class's log-odds, smoothed; networks on volumes."
    needs: ClassVar[str | None] = "gradients"
    signed: ClassVar[bool] = True
    reads: ClassVar[str] = "volume"
    smooth_mm: float = 3.0

    def __post_init__(self) -> None:
        if not 0 <= self.smooth_mm < np.inf:
            raise ValueError(f"smooth_mm must be 0 or more, not {self.smooth_mm}")

    def voxel_scores(self, fitted: Any, example: Example, part: str, target: int) -> Scores:
        """(z, y, x) on the grid of the part's volume."""
        volume = part_volume(example, part)
        shares = fitted.gradients(example, target).get(part)
        if shares is None:  # the model does not read this sequence
            return np.zeros(volume.x.shape[1:])
        flat = volume.x.shape[1] == 1
        total = np.asarray(shares, dtype=np.float64).sum(0)
        sigma = [self.smooth_mm / s for s in volume.frame.spacing[::-1]]
        if flat:
            sigma[0] = 0.0
        scores: Scores = ndimage.gaussian_filter(total, sigma, mode="constant") if self.smooth_mm else total
        return scores

    def scores(self, fitted: Any, example: Example, target: int) -> Scores:
        """Scores of the voxels of all parts that are there, one part after another, (n,)."""
        return voxels_of_parts(self, fitted, example, target)


plugin = Gradient
