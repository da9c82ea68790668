"""Cox regression on the features of every part, told apart by name; parts may be absent."""

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
class Cox(TableModel):
    """Standardised features of every part, then Cox regression with Efron's ties; see TableModel for absent parts.

    The penalty is L2; its strength is chosen on the tune split. `screen` keeps only as many features, those that tell
    most by themselves in the training units (default: all). Coefficients are those of standardised features.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Features of named parts side by side, standardised, Cox regression (survival)."
    task: ClassVar[str] = "survival"
    needs_tune: ClassVar[bool] = True
    cheap: ClassVar[bool] = True

    balanced: bool = False
    screen: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.balanced:
            raise ValueError("balanced is for classes: in a Cox regression every patient counts the same")
        if self.fallback == "prior":
            raise ValueError("fallback: prior is for classes: choose missing: impute, or leave incomplete units out")
        if self.screen is not None and self.screen < 1:
            raise ValueError(f"screen must be 1 or more, or null for all features, not {self.screen}")

    def fit(self, train: Sequence[Example], tune: Sequence[Example], task: Task, *, seed: int) -> Fitted:
        """As in `models.contract.Model`; nothing is drawn at random, so `seed` changes nothing."""
        from phenolens.models.cox import fit_cox

        del seed
        return fit_cox(self, train, tune, task, screen=self.screen)

    def restore(self, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Fitted:
        from phenolens.models.cox import FittedCox

        return FittedCox.restore(self, weights, config)


plugin = Cox
