"""Quantiles of each feature over the instances, standardised, then logistic regression."""

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
class Sampler:
    """The distribution of each feature over all instances, as `quantiles` quantiles; multinomial logistic regression.

    In the manner of SAMPLER, which encodes the empirical distribution function of every tile feature: Mukashyaka,
    Sheridan, Foroughi pour and Chuang, SAMPLER: unsupervised representations for rapid analysis of whole slide tissue
    images, eBioMedicine 2024 (PMC10733087). Ours, not theirs: one scale, levels 0.05, 0.15 … 0.95 by default (the
    middles of `quantiles` equal parts), and the penalty chosen on the tune split.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Quantiles of each feature over the instances, standardised, logistic regression."
    reads: ClassVar[str] = "bag"
    offers: ClassVar[tuple[str, ...]] = ()
    accepts_missing: ClassVar[bool] = False
    needs_tune: ClassVar[bool] = True
    cheap: ClassVar[bool] = True

    quantiles: int = 10

    def __post_init__(self) -> None:
        if not 2 <= self.quantiles <= 100:
            raise ValueError(f"quantiles must lie between 2 and 100, not {self.quantiles}")

    @property
    def pool_key(self) -> str:
        return f"quantiles-{self.quantiles}"

    def pool(self, example: Example) -> npt.NDArray[np.float64]:
        """Quantiles of each feature over all instances, interpolated linearly, (quantiles · d,)."""
        ordered = np.sort(example.instances().T, axis=1)
        levels = (np.arange(self.quantiles) + 0.5) / self.quantiles
        place = levels * (ordered.shape[1] - 1)
        below = np.floor(place).astype(np.intp)
        above = np.minimum(below + 1, ordered.shape[1] - 1)
        low, high = ordered[:, below].astype(np.float64), ordered[:, above].astype(np.float64)
        values: npt.NDArray[np.float64] = (low + (high - low) * (place - below)).ravel()
        return values

    def fit(self, train: Sequence[Example], tune: Sequence[Example], task: Task, *, seed: int) -> Fitted:
        """As in `models.contract.Model`; nothing is drawn at random, so `seed` changes nothing."""
        from phenolens.models.linear import fit_linear

        del seed
        return fit_linear(self, train, tune, task)

    def restore(self, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Fitted:
        from phenolens.models.linear import FittedLinear

        return FittedLinear.restore(weights, config, model=self)


plugin = Sampler
