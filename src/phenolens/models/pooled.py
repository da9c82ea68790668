"""Models of one pooled vector a unit, for classes or for survival: what the baselines of size are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import ModelError
from phenolens.core.types import Example
from phenolens.models.bags import Pool, in_order, pooled
from phenolens.models.linear import FittedLinear, fit_linear
from phenolens.models.partial_likelihood import Matrix
from phenolens.models.risk import Risk, fit_risk
from phenolens.tasks._contract import Task

if TYPE_CHECKING:
    from phenolens.models.contract import Fitted

_SURVIVAL = "survival"


@dataclass(frozen=True, kw_only=True)
class FittedPooledCox:
    """Cox regression on the pooled vector; `search` says how the penalty was chosen."""

    pool: Pool
    pool_key: str
    risk: Risk
    search: Mapping[str, Any]

    def predict(self, examples: Sequence[Example]) -> Matrix:
        """Risk (log hazard ratio), group (1: above the median of training) and survival (n, 2 + t), rows alone."""
        if not examples:
            return np.empty((0, 2 + len(self.risk.hazard)))
        return np.stack([self.risk.told(pooled(e, self.pool_key, self.pool)) for e in examples])

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        return self.risk.weights()

    def config(self) -> dict[str, Any]:
        """The search of the penalty: C chosen and the tune loss of each C tried."""
        return dict(self.search)


def fit_pooled(model: Any, train: Sequence[Example], tune: Sequence[Example], task: Task) -> Fitted:
    """Logistic regression on `model.pool` of each unit, or Cox regression where survival is predicted.

    Raises ModelError when there is nothing to choose the penalty on, or when a fit does not converge.
    """
    if task.kind != _SURVIVAL:
        return fit_linear(model, train, tune, task)
    if not tune:
        raise ModelError(
            "no tune unit to choose the penalty on",
            expected="an inner tune split",
            todo="raise validation.tune, or give the patients of the tune part images that can be read",
        )
    units = (in_order(train), in_order(tune))
    x, tune_x = (np.stack([pooled(e, model.pool_key, model.pool) for e in part]) for part in units)
    risk, search = fit_risk((x, tune_x), units, task, screen=None)
    return FittedPooledCox(pool=model.pool, pool_key=model.pool_key, risk=risk, search=search)


def restore_pooled(model: Any, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Fitted:
    """The model of classes or of survival again, told apart by what it has learnt."""
    if "hazard" not in weights:
        return FittedLinear.restore(weights, config, model=model)
    return FittedPooledCox(pool=model.pool, pool_key=model.pool_key, risk=Risk.restore(weights), search=config)
