"""How well risks are ordered, until `evaluate/survival_score.py` measures it and more: to be replaced by it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from phenolens.core.predictions import SurvivalPredictions
from phenolens.evaluate.folds import GROUP
from phenolens.evaluate.score import COLUMNS

Floats = npt.NDArray[np.float64]
FLOOR = 10


def survival_estimates(predictions: SurvivalPredictions, metrics: Sequence[str] | None = None) -> pd.DataFrame:
    """The fold-mean of Uno's C up to tau of every model and scheme; columns as in `evaluate.score.COLUMNS`.

    Uno et al., On the C-statistics for evaluating overall adequacy of risk prediction procedures, 2011. Weights for
    censoring come from all patients of the table, each once.
    """
    if metrics is not None and list(metrics) != ["uno_c"]:
        raise ValueError(f"only uno_c is measured here, not {list(metrics)}")
    whole = predictions.table[predictions.table["part"] == "test"]
    once = predictions.table.drop_duplicates("unit_id")
    rows = []
    for key, group in whole.groupby(GROUP, sort=True):
        values = [_uno(fold, once, predictions.tau) for _, fold in group.groupby(["repeat", "fold"], sort=True)]
        people = group.drop_duplicates("patient")
        events = int(((people["event"] == 1) & (people["time"] < predictions.tau)).sum())
        found = [v for v in values if v is not None]
        value = float(np.mean(found)) if found and events >= FLOOR else None
        note = "" if value is not None else f"not estimable: {events} patients with the event ({FLOOR} needed)"
        told = (*key, "uno_c", "all", value, None, None, f"mean of {len(found)} folds", len(people), events, note)
        rows.append(told)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    floats = {name: table[name].astype("float64") for name in ("value", "low", "high")}
    return table.assign(**floats, **{name: table[name].astype("Int64") for name in ("n_patients", "n_events")})


def _uno(fold: pd.DataFrame, once: pd.DataFrame, tau: float) -> float | None:
    time, event = fold["time"].to_numpy(dtype=float), fold["event"].to_numpy(dtype=float) == 1
    risk = fold["risk"].to_numpy(dtype=float)
    first = np.flatnonzero(event & (time < tau))
    weights = _uncensored(once, time[first]) ** -2.0
    later = time[None, :] > time[first, None]
    right = (risk[first, None] > risk[None, :]) + 0.5 * (risk[first, None] == risk[None, :])
    total = float((weights[:, None] * later).sum())
    return float((weights[:, None] * later * right).sum()) / total if total else None


def _uncensored(once: pd.DataFrame, at: Floats) -> Floats:
    """The Kaplan-Meier chance of not being censored before each time."""
    time, censored = once["time"].to_numpy(dtype=float), once["event"].to_numpy(dtype=float) == 0
    times = np.unique(time[censored])
    at_risk = np.array([((time > t) | ((time == t) & censored)).sum() for t in times])
    left = np.array([(censored & (time == t)).sum() for t in times])
    curve = np.concatenate([[1.0], np.cumprod(1 - left / at_risk)]) if len(times) else np.ones(1)
    found: Floats = curve[np.searchsorted(times, at, side="left")]
    return found
