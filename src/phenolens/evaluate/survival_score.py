"""From the SurvivalPredictions table to estimates: one row a model, scheme, metric and subgroup.

How an estimate is made depends on the scheme, as in `score`: the mean over folds with the Nadeau–Bengio interval
(risks of different folds are never ranked together), a patient bootstrap on one test set, and the random-effects mean
over sites with the interval for a new one. The weights for censoring come from every patient of the experiment that the
table shows, each once, and stay fixed in the bootstrap.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from phenolens.core.predictions import SurvivalPredictions
from phenolens.evaluate.metric import metrics_reading
from phenolens.evaluate.score import estimated
from phenolens.evaluate.survival_folds import survival_groups


def survival_estimates(predictions: SurvivalPredictions, metrics: Sequence[str] | None = None) -> pd.DataFrame:
    """Estimates of every metric (default: all that read survival) for every model, scheme, horizon and site.

    Columns as in `score.COLUMNS`. `subgroup` is "all", "horizon=T", "site=X" or "horizon=T;site=X"; `value`, `low` and
    `high` are empty (NaN) where not estimable: under 10 patients with the event by tau, or by the horizon, or under 10
    followed beyond the horizon. `n_patients` counts distinct test patients, `n_events` those whose event was seen by
    the horizon or by tau. Only test rows are measured. Deterministic.

    Raises:
        ModelError: a patient with two follow-ups. PluginError: an unknown metric, or one that reads probabilities.
    """
    return estimated(survival_groups(predictions), metrics_reading("survival", metrics))
