"""Mean of the instances, standardised, then logistic regression: the baseline every other model must beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from phenolens.core.types import Example
from phenolens.tasks._contract import Task

if TYPE_CHECKING:
    from phenolens.models.contract import Fitted


@dataclass(frozen=True, kw_only=True)
class MeanPool:
    """The mean of each feature over all instances of an example; multinomial logistic regression with an L2 penalty.

    Means are standardised by those of the training examples; classes weigh the same; the penalty is chosen on the tune
    split.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Mean of the instances, standardised, logistic regression."
    reads: ClassVar[str] = "bag"
    offers: ClassVar[tuple[str, ...]] = ()
    accepts_missing: ClassVar[bool] = False
    needs_tune: ClassVar[bool] = True
    cheap: ClassVar[bool] = True

    @property
    def pool_key(self) -> str:
        return "mean"

    def pool(self, example: Example) -> npt.NDArray[np.float64]:
        """Mean of each feature over all instances, (d,)."""
        mean: npt.NDArray[np.float64] = example.instances().mean(0, dtype=np.float64)
        return mean

    def fit(self, train: Sequence[Example], tune: Sequence[Example], task: Task, *, seed: int) -> Fitted:
        """As in `models.contract.Model`; nothing is drawn at random, so `seed` changes nothing."""
        from phenolens.models.linear import fit_linear

        del seed
        return fit_linear(self, train, tune, task)

    def restore(self, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Fitted:
        from phenolens.models.linear import FittedLinear

        return FittedLinear.restore(weights, config, model=self)


plugin = MeanPool
