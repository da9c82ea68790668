"""Logistic regression on the features of every part, told apart by name; parts may be absent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy.typing as npt

from phenolens.core.types import Example
from phenolens.models.columns import TableModel
from phenolens.tasks._contract import Task

if TYPE_CHECKING:
    from phenolens.models.contract import Fitted


@dataclass(frozen=True, kw_only=True)
class Logistic(TableModel):
    """Standardised features of every part, then multinomial logistic regression; see TableModel for absent parts.

    The penalty is L2, or with `l1_ratio` above 0 an elastic net (1 is the lasso); its strength is chosen on the tune
    split. Coefficients are those of standardised features.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Features of named parts side by side, standardised, logistic regression."
    needs_tune: ClassVar[bool] = True
    cheap: ClassVar[bool] = True

    l1_ratio: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.l1_ratio <= 1:
            raise ValueError(f"l1_ratio must lie between 0 and 1, not {self.l1_ratio}")

    def fit(self, train: Sequence[Example], tune: Sequence[Example], task: Task, *, seed: int) -> Fitted:
        """As in `models.contract.Model`; nothing is drawn at random, so `seed` changes nothing."""
        from phenolens.models.regression import fit_regression

        del seed
        return fit_regression(self, train, tune, task, l1_ratio=self.l1_ratio)

    def restore(self, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Fitted:
        from phenolens.models.regression import FittedRegression

        return FittedRegression.restore(self, weights, config)


plugin = Logistic
