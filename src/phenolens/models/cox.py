"""Cox regression on a table: a ridge penalty chosen on the tune split, a baseline hazard, a cut of the risk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.core.types import Example
from phenolens.models.columns import Matrix, TableModel
from phenolens.models.risk import Risk, fit_risk
from phenolens.models.tabular import Reader, fit_table
from phenolens.tasks._contract import Task


@dataclass(frozen=True, kw_only=True)
class FittedCox:
    """Standardise the row of the table, then a log hazard ratio."""

    reader: Reader
    risk: Risk
    search: Mapping[str, Any]

    def predict(self, examples: Sequence[Example]) -> Matrix:
        """Risk (log hazard ratio), group (1: above the median of training) and survival (n, 2 + t), rows alone."""
        made = np.empty((len(examples), 2 + len(self.risk.hazard)))
        for i, example in enumerate(examples):
            row = self.reader.row(example)
            assert row is not None, "a Cox model has no fallback"
            made[i] = self.risk.told(row)
        return made

    def coefficients(self) -> dict[str, Matrix]:
        """Of each column, (1,): the change of the log hazard with one standard deviation of the training units."""
        return dict(zip(self.reader.names, self.risk.coef[:, None].copy(), strict=True))

    def flags(self, examples: Sequence[Example]) -> list[str]:
        """What is to be said of each example's set of parts; empty where training had it."""
        return self.reader.flags(examples)

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        return {**self.reader.weights(), **self.risk.weights()}

    def config(self) -> dict[str, Any]:
        """The table as training saw it, and the search of the penalty."""
        return {"table": self.reader.config(), "search": dict(self.search)}

    @classmethod
    def restore(
        cls, settings: TableModel, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]
    ) -> FittedCox:
        """From what `weights()` and `config()` gave."""
        reader = Reader.restore(settings, weights, config["table"])
        return cls(reader=reader, risk=Risk.restore(weights), search=config["search"])


def fit_cox(
    settings: TableModel, train: Sequence[Example], tune: Sequence[Example], task: Task, *, screen: int | None
) -> FittedCox:
    """Fit on `train`, with the penalty chosen on `tune`, as `risk.fit_risk` does.

    Raises ModelError when there is nothing to choose on, or when a fit does not converge.
    """
    table = fit_table(settings, train, task)
    tune_x, tuned = table.rows(tune)
    risk, search = fit_risk((table.x, tune_x), (table.kept, tuned), task, screen=screen)
    return FittedCox(reader=table.reader, risk=risk, search=search)
