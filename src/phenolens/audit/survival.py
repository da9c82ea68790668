"""The statistic of refits on permuted follow-up: how well risks are ordered, measured as the estimates measure it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from phenolens.core.errors import ModelError
from phenolens.core.predictions import PREDICTION_KEYS, SurvivalPredictions
from phenolens.core.types import Example, Split
from phenolens.evaluate.survival_score import survival_estimates

METRIC = "uno_c"


def risk_order(model: Any, task: Any, examples: Sequence[Example], folds: Sequence[Split], seed: int) -> float:
    """The fold-mean of Uno's C of a model fitted on every fold; raises ModelError where it is not estimable."""
    tables = []
    for fold in folds:
        train, tune, test = ([e for e in examples if e.patient in part] for part in (fold.train, fold.tune, fold.test))
        if test:
            fitted = model.fit(train, tune, task, seed=seed)
            p = np.asarray(fitted.predict([replace(e, targets={}) for e in test]), dtype=np.float64)
            tables.append(_table(task, fold, test, p))
    table = task.checked(pd.concat(tables, ignore_index=True))
    told = survival_estimates(SurvivalPredictions(table=table, times=task.times, horizons=task.horizons), [METRIC])
    row = told[told["subgroup"] == "all"].iloc[0]
    value = float(row["value"])
    if math.isnan(value):
        raise ModelError(
            f"Uno's C {row['note']}",
            expected="enough events to tell an order of risks",
            todo="audit the study when more events have been seen",
        )
    return value


def _table(task: Any, fold: Split, test: Sequence[Example], p: np.ndarray[Any, Any]) -> pd.DataFrame:
    """The test rows of one fold as a table of predictions."""
    keys = ("audit", fold.scheme, task.target, "refit", fold.repeat, fold.fold, "test")
    rows = [
        (*keys, e.patient, "patient", e.unit_id, str(e.covariates["site"]), fold.hash, *task.facts(e), *row)
        for e, row in zip(test, p.tolist(), strict=True)
    ]
    return pd.DataFrame(rows, columns=[*PREDICTION_KEYS, "site", "split_hash", *task.known, *task.columns])
