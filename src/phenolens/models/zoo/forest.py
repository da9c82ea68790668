"""Random forest on the features of every part, told apart by name; parts may be absent."""

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
class Forest(TableModel):
    """Breiman, Random forests, 2001: `trees` trees of at least `leaf` units a leaf; see TableModel for absent parts.

    Coefficients are impurity importances: no sign, the same for every class.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Features of named parts side by side, random forest."
    needs_tune: ClassVar[bool] = False
    cheap: ClassVar[bool] = False

    trees: int = 300
    leaf: int = 2
    depth: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("trees", "leaf", "depth"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")

    def fit(self, train: Sequence[Example], tune: Sequence[Example], task: Task, *, seed: int) -> Fitted:
        """As in `models.contract.Model`; the tune split is not looked at."""
        from phenolens.models.forest import fit_forest

        del tune
        return fit_forest(self, train, task, seed=seed, trees=self.trees, leaf=self.leaf, depth=self.depth)

    def restore(self, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Fitted:
        from phenolens.models.forest import FittedForest

        return FittedForest.restore(self, weights, config)


plugin = Forest
