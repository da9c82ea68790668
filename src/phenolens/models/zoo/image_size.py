"""Size of the image alone, logistic or Cox regression; what cropping and scanner tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from phenolens.core.types import Example
from phenolens.models.baselines import log_image_size, mean_over_parts
from phenolens.tasks._contract import Task

if TYPE_CHECKING:
    from phenolens.models.contract import Fitted


@dataclass(frozen=True, kw_only=True)
class ImageSize:
    """A baseline beside which every other result is read: the mean over the images that are there, then logistic
    regression (of survival: Cox regression) with the penalty chosen on the tune split.
    """

    version: ClassVar[int] = 1
    task: ClassVar[tuple[str, ...]] = ("classification", "survival")
    summary: ClassVar[str] = "Size of the image alone, logistic or Cox regression; what cropping and scanner tell."
    reads: ClassVar[str] = "bag"
    offers: ClassVar[tuple[str, ...]] = ()
    accepts_missing: ClassVar[bool] = True
    needs_tune: ClassVar[bool] = True
    cheap: ClassVar[bool] = True
    baseline: ClassVar[bool] = True

    @property
    def pool_key(self) -> str:
        return "log-image-size"

    def pool(self, example: Example) -> npt.NDArray[np.float64]:
        """Log extents of the whole image, (2,) or (3,)."""
        return mean_over_parts(example, log_image_size)

    def fit(self, train: Sequence[Example], tune: Sequence[Example], task: Task, *, seed: int) -> Fitted:
        """As in `models.contract.Model`; nothing is drawn at random, so `seed` changes nothing."""
        from phenolens.models.pooled import fit_pooled

        del seed
        return fit_pooled(self, train, tune, task)

    def restore(self, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Fitted:
        from phenolens.models.pooled import restore_pooled

        return restore_pooled(self, weights, config)


plugin = ImageSize
