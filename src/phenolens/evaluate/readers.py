"""Readers beside models on the very same patients: shares of right calls, their difference and a paired test."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from phenolens.core.predictions import Predictions
from phenolens.core.store import key_of
from phenolens.evaluate.folds import GROUP
from phenolens.evaluate.interval import patient_bootstrap, wilson

COLUMNS = (
    *GROUP,
    "reader",
    "measure",
    "class",
    "reader_value",
    "reader_low",
    "reader_high",
    "model_value",
    "difference",
    "low",
    "high",
    "p",
    "n_patients",
    "n_events",
    "note",
)
FLOOR = 10
"""Patients of a class below which its sensitivity is not compared."""
_Flags = npt.NDArray[np.bool_]


def readers(predictions: Predictions) -> pd.DataFrame:
    """Each reader (columns `r_NAME`) beside each model and scheme: accuracy, and the sensitivity for every class.

    Units are those with a call, each by its first test prediction, the model's call its most probable class. Limits of
    the reader's share are Wilson's, those of the difference (model minus reader) a bootstrap of whole patients; p is
    the exact McNemar test on units, given where every patient has one unit. A class with under 10 patients is "not
    estimable". Deterministic.
    """
    names = [c for c in predictions.table.columns if c.startswith("r_")]
    rows: list[dict[str, Any]] = []
    test = predictions.table[predictions.table["part"] == "test"]
    test = test.sort_values(["repeat", "fold"], kind="stable").drop_duplicates([*GROUP, "patient", "unit_id"])
    for key, group in test.groupby(GROUP, sort=True):
        for column in names:
            called = group[group[column].astype(str) != ""]
            if len(called):
                about = dict(zip(GROUP, map(str, key), strict=True)) | {"reader": column.removeprefix("r_")}
                rows += _beside(called.sort_values(["patient", "unit_id"]), column, predictions, about)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _beside(
    rows: pd.DataFrame, column: str, predictions: Predictions, about: Mapping[str, str]
) -> list[dict[str, Any]]:
    p = rows[list(predictions.columns)].to_numpy(dtype=float)
    model = np.array(predictions.classes, dtype=object)[p.argmax(1)]
    truth, call = rows["truth"].to_numpy(dtype=object), rows[column].to_numpy(dtype=object)
    patient = pd.factorize(rows["patient"], sort=True)[0].astype(np.int64)
    measures: list[tuple[str, str, _Flags]] = [("accuracy", "", np.ones(len(rows), dtype=bool))]
    measures += [("sensitivity", c, truth == c) for c in predictions.classes]
    made = []
    for name, of, chosen in measures:
        right, by = model == truth, call == truth
        facts = _measured(right[chosen], by[chosen], patient[chosen], [*about.values(), name, of])
        made.append({**about, "measure": name, "class": of, **facts})
    return made


def _measured(model: _Flags, reader: _Flags, patient: npt.NDArray[np.int64], seed: Sequence[str]) -> dict[str, Any]:
    patients = len(np.unique(patient))
    facts: dict[str, Any] = {"n_patients": patients, "n_events": len(model), "note": ""}
    if patients < FLOOR:
        return {**facts, "note": f"not estimable: {patients} patients ({FLOOR} needed)"}
    low, high = wilson(int(reader.sum()), len(reader))
    difference = model.astype(float) - reader

    def statistic(rows: npt.NDArray[np.intp]) -> dict[Hashable, float]:
        return {"difference": float(difference[rows].mean())}

    drawn = patient_bootstrap(statistic, patient, seed=int(key_of(["readers", *seed]), 16) % 2**63)["difference"]
    limits = np.quantile(drawn, [0.025, 0.975])
    facts |= {"reader_value": float(reader.mean()), "reader_low": low, "reader_high": high}
    facts |= {"model_value": float(model.mean()), "difference": float(difference.mean())}
    if limits[0] == limits[1]:
        facts["note"] = "no interval: model and reader were right on the same units"
    else:
        facts |= {"low": float(limits[0]), "high": float(limits[1])}
    if patients == len(patient):
        facts["p"] = mcnemar(int((model & ~reader).sum()), int((~model & reader).sum()))
    else:
        facts["note"] = "; ".join([n for n in (facts["note"], "no test: patients with several units") if n])
    return facts


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided McNemar test (McNemar 1947): the discordant units are a fair coin's throws."""
    total = only_first + only_second
    if not total:
        return 1.0
    return float(stats.binomtest(only_first, total, 0.5).pvalue)
