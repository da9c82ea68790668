"""A random search over radiomics workflows inside the fold, and the mean of the best."""

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
class Search(TableModel):
    """`workflows` drawn at random, ranked on `inner_folds` folds of the training patients; the mean of the best ones.

    In the manner of WORC (Starmans et al. 2021): scaling, selection of columns, principal components, class weights and
    one of seven classifiers with its settings. The best `ensemble` are averaged, and one temperature of their mean is
    fitted on the tune split. See TableModel for absent parts and harmonisation.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Radiomics workflows searched at random inside the fold; the mean of the best."
    offers: ClassVar[tuple[str, ...]] = ()
    needs_tune: ClassVar[bool] = True
    cheap: ClassVar[bool] = False

    workflows: int = 200
    inner_folds: int = 5
    ensemble: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.workflows < 1 or self.ensemble < 1:
            raise ValueError("workflows and ensemble must be at least 1")
        if self.ensemble > self.workflows:
            raise ValueError(f"ensemble ({self.ensemble}) must not be above workflows ({self.workflows})")
        if self.inner_folds < 2:
            raise ValueError(f"inner_folds must be at least 2, not {self.inner_folds}")

    def fit(self, train: Sequence[Example], tune: Sequence[Example], task: Task, *, seed: int) -> Fitted:
        """As in `models.contract.Model`."""
        from phenolens.models.search.fit import fit_search

        return fit_search(
            self,
            train,
            tune,
            task,
            seed=seed,
            workflows=self.workflows,
            inner_folds=self.inner_folds,
            ensemble=self.ensemble,
        )

    def restore(self, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Fitted:
        from phenolens.models.search.fit import FittedSearch

        return FittedSearch.restore(self, weights, config)


plugin = Search
