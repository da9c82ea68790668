"""Would deciding by the model do more good than harm? Net benefit over the thresholds of a decision.

Vickers & Elkin, Decision curve analysis, Med Decis Making 2006. At a threshold t everyone with a probability of t or
more is treated: the net benefit is TP / n - FP / n * t / (1 - t), in true positives per unit, where a false positive
costs what the threshold says it costs. Treating all is the same with everyone treated, treating none is 0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from phenolens.core.predictions import Predictions
from phenolens.core.registry import METRICS
from phenolens.evaluate import interval as limits
from phenolens.evaluate.calibration import seed_of
from phenolens.evaluate.folds import GROUP, Group, groups, once
from phenolens.evaluate.logistic import Floats
from phenolens.evaluate.metric import floor_of

THRESHOLDS = np.round(np.arange(0.01, 1.0, 0.01), 2)

DECISION_NOTE = (
    "Every patient (or image) counts once, with its first test prediction. Net benefit is the share of true positives "
    "minus the share of false positives weighed by the odds of the threshold (Vickers & Elkin 2006); bands are the "
    "middle 95% of 2,000 resamples of whole patients, point by point, and do not refit the models."
)

COLUMNS = (
    *("class", "threshold", "net_benefit", "low", "high", "treat_all", "treat_none", "standardised"),
    *("gain", "gain_low", "gain_high", "n_patients", "n_events"),
)


def positive_of(classes: tuple[str, ...], positive: str | None) -> str | None:
    """The class a decision is about: the named one, or the last of two; None where several are left."""
    if positive in classes:
        return positive
    return classes[-1] if len(classes) == 2 and positive is None else None


def net_benefit(
    p: Floats, positive: npt.NDArray[np.bool_], thresholds: Floats, counts: Floats | None = None
) -> tuple[Floats, Floats]:
    """Net benefit of the model and of treating all at each threshold (t,) above 0 and below 1.

    p and positive have shape (n,). With `counts` (draws, n), how often a unit is drawn, both have shape (draws, t).
    """
    rows = np.ones((1, len(p))) if counts is None else counts
    treated = (p[:, None] >= thresholds[None]).astype(np.float64)
    odds = thresholds / (1 - thresholds)
    total = rows.sum(1, keepdims=True)
    right, wrong = rows @ (treated * positive[:, None]), rows @ (treated * ~positive[:, None])
    of_model = (right - wrong * odds) / total
    share = rows @ positive[:, None] / total
    of_all = share - (1 - share) * odds
    return (of_model[0], of_all[0]) if counts is None else (of_model, of_all)


def decision_curves(predictions: Predictions, positive: str | None = None) -> pd.DataFrame:
    """The decision curve of the positive class of each model and scheme: the group and `COLUMNS`, a row a threshold.

    `positive` names the class, by default the last of two; with more classes and no name there is no decision and no
    row, nor is there in leave-one-out or with fewer patients with or without the class than an AUC needs.
    `standardised` is the net benefit over the share of the class, `gain` the net benefit above the better of treating
    all and none. Limits are those of `DECISION_NOTE`. Deterministic.
    """
    name = positive_of(predictions.classes, positive)
    parts = []
    for group in groups(predictions):
        if name is None or group.one_class_each:
            continue
        if not group.short_of(floor_of(METRICS.create("auc")), name):
            parts.append(_curve(group, name))
    columns = [*GROUP, *COLUMNS]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _curve(group: Group, name: str) -> pd.DataFrame:
    fold, i = once(group), group.classes.index(name)
    p, truth = fold.p[:, i], fold.truth == i
    of_model, of_all = net_benefit(p, truth, THRESHOLDS)
    counts = limits.patient_counts(fold.patient, seed=seed_of(group))
    drawn, drawn_all = net_benefit(p, truth, THRESHOLDS, counts)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    gain_low, gain_high = np.quantile(drawn - np.maximum(drawn_all, 0), [0.025, 0.975], axis=0)
    return pd.DataFrame(
        {
            **group.key,
            "class": name,
            "threshold": THRESHOLDS,
            "net_benefit": of_model,
            "low": low,
            "high": high,
            "treat_all": of_all,
            "treat_none": 0.0,
            "standardised": of_model / truth.mean(),
            "gain": of_model - np.maximum(of_all, 0),
            "gain_low": gain_low,
            "gain_high": gain_high,
            "n_patients": group.n_patients,
            "n_events": int(group.patients_with()[0][i]),
        }
    )
