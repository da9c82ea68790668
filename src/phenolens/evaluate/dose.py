"""How far predictions move when their images are spoiled: the same test units, undisturbed and under a fault."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from phenolens.core.predictions import PREDICTION_KEYS, Predictions
from phenolens.core.store import key_of
from phenolens.evaluate import interval as limits
from phenolens.evaluate.score import estimates

TRUE_CLASS, CHANGE, KEPT, AUC = "true_class", "change", "kept", "macro_auc"
"""Mean probability of the true class; its mean change from the undisturbed one; share of units that keep their
predicted class; macro AUC, mean over folds."""
COLUMNS = ("model", "measure", "value", "low", "high", "n_patients", "note")


def under_fault(before: Predictions, after: Predictions) -> pd.DataFrame:
    """One row a model and measure, columns as in COLUMNS, over the test units of `after`.

    `before` holds the undisturbed prediction of every row of `after`. Limits are those of a bootstrap of patients;
    where every unit keeps its class and patients have one unit each Wilson's, since a bootstrap would have no width;
    of the macro AUC those of `evaluate.score`. A measure without a value says why in `note`.
    """
    keys, columns = list(PREDICTION_KEYS), list(after.columns)
    rows: list[dict[str, Any]] = []
    for model, table in after.table[after.table["part"] == "test"].groupby("model", sort=True):
        both = table.merge(before.table[[*keys, *columns]], on=keys, suffixes=("", "_before"), validate="1:1")
        now = both[columns].to_numpy(dtype=np.float64)
        then = both[[f"{c}_before" for c in columns]].to_numpy(dtype=np.float64)
        truth = np.array([after.classes.index(t) for t in both["truth"].astype(str)], dtype=np.intp)
        at = np.arange(len(both))
        values = {
            TRUE_CLASS: now[at, truth],
            CHANGE: now[at, truth] - then[at, truth],
            KEPT: (now.argmax(1) == then.argmax(1)).astype(np.float64),
        }
        patients = pd.factorize(both["patient"], sort=True)[0].astype(np.int64)
        rows += [{"model": model, **row} for row in [*_means(values, patients), _area(table, after)]]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _means(values: dict[str, npt.NDArray[np.float64]], patients: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    def statistics(rows: npt.NDArray[np.intp]) -> dict[Hashable, float]:
        return {name: float(x[rows].mean()) for name, x in values.items()}

    seed = int(key_of(["dose", len(patients)]), 16) % 2**63
    drawn = limits.patient_bootstrap(statistics, patients, seed=seed)
    count = len(np.unique(patients))
    made = []
    for name, x in values.items():
        found = limits.percentile_interval(drawn[name])
        low, high = (None, None) if found is None else (found.low, found.high)
        if found is None and name == KEPT and count == len(x):
            low, high = limits.wilson(int(x.sum()), len(x))
        note = "" if low is not None else "no interval: all units are alike"
        made.append({"measure": name, "value": float(x.mean()), "low": low, "high": high, "n_patients": count} | {
            "note": note
        })  # fmt: skip
    return made


def _area(table: pd.DataFrame, of: Predictions) -> dict[str, Any]:
    found = estimates(Predictions(table=table, classes=of.classes), ("macro_auc",))
    row = found[found["subgroup"] == "all"].iloc[0]
    value, low, high = (None if pd.isna(row[c]) else float(row[c]) for c in ("value", "low", "high"))
    count, note = int(row["n_patients"]), str(row["note"])
    return {"measure": AUC, "value": value, "low": low, "high": high, "n_patients": count, "note": note}
