"""From the table of found masks to estimates: agreement with the drawn masks, by patient, with intervals.

A patient's value is the mean over the patient's images. Agreement is a figure of one image, not a rank among others, so
that values of different folds may stand side by side: medians and sites are of all test patients. How an interval is
made depends on the scheme, as in `evaluate.score`: over folds Nadeau-Bengio; on one test set, for medians and within a
site a bootstrap of patients; with `leave_one_site_out` the row "all" is the random-effects mean over sites.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from phenolens.core.store import key_of
from phenolens.core.types import Interval
from phenolens.evaluate import interval as limits
from phenolens.evaluate.folds import HOLDOUT, LEAVE_ONE_SITE_OUT
from phenolens.evaluate.score import COLUMNS

METRICS = ("dice", "surface_dice")
DISTANCES = ("boundary_um", "boundary95_um")
"""Of outlines on slides; a mask without a boundary has none."""
_LEAST = 2
_BOUNDS = {**dict.fromkeys(METRICS, (0.0, 1.0)), **dict.fromkeys(DISTANCES, (0.0, math.inf))}
Floats = npt.NDArray[np.float64]
Statistic = Callable[[Floats], float]


def overlap_estimates(table: pd.DataFrame, *, target: str, ratio: Mapping[str, float]) -> pd.DataFrame:
    """Mean and median Dice, surface Dice and distances of every model and scheme, over all patients and by site.

    `table` has the columns model, scheme, repeat, fold, patient, site, parts_pred and METRICS, one row a test image, of
    slides also DISTANCES; `ratio` is test over training patients by scheme. The result has the columns of
    `score.COLUMNS`: `metric` is dice, surface_dice, … or their median_dice, …, `n_events` counts patients on whom
    anything was found. Values of fewer than two patients have no interval; patients without a distance are left out of
    the distances, and counted in the note.
    """
    rows: list[dict[str, Any]] = []
    for (scheme, model), held in table.groupby(["scheme", "model"], sort=True):
        key = {"experiment": "main", "scheme": str(scheme), "target": target, "model": str(model)}
        for metric in (m for m in (*METRICS, *DISTANCES) if m in held):
            there = held[held[metric].notna()]
            people = _by_patient(there, metric)
            sites = sorted({str(s) for s in people["site"]})
            lost = held["patient"].nunique() - there["patient"].nunique()
            own = _rows(key, people, metric, sites, ratio.get(str(scheme), 0.0)) if len(there) else []
            rows += [{**row, "note": "; ".join(filter(None, [row["note"], _without(lost)]))} for row in own]
    made = pd.DataFrame(rows, columns=list(COLUMNS))
    floats = {name: made[name].astype("float64") for name in ("value", "low", "high")}
    return made.assign(**floats, **{name: made[name].astype("Int64") for name in ("n_patients", "n_events")})


def _without(lost: int) -> str:
    return f"without {lost} patients of whom nothing has a boundary" if lost else ""


def _by_patient(held: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One row a patient, repeat and fold: the means over the patient's images."""
    keys = ["repeat", "fold", "patient", "site"]
    found = held.assign(found=held["parts_pred"] > 0)
    return found.groupby(keys, as_index=False, sort=True).agg({metric: "mean", "found": "max"})


def _rows(
    key: Mapping[str, str], people: pd.DataFrame, metric: str, sites: list[str], ratio: float
) -> list[dict[str, Any]]:
    scheme = key["scheme"]
    made = []
    whole = _over_sites(people, metric, sites) if scheme == LEAVE_ONE_SITE_OUT else None
    if whole is None:
        folds = people.groupby(["repeat", "fold"], sort=True)[metric].mean()
        over_folds = scheme != HOLDOUT and len(folds) > 1
        whole = (
            _over_folds(folds.to_numpy(dtype=float), ratio, _BOUNDS[metric])
            if over_folds
            else _drawn(people, metric, np.mean, key)
        )
    made.append(_row(key, metric, "all", whole, people))
    made.append(_row(key, f"median_{metric}", "all", _drawn(people, metric, np.median, key), people))
    for site in sites if len(sites) > 1 else ():
        own = people[people["site"] == site]
        made.append(_row(key, metric, f"site={site}", _drawn(own, metric, np.mean, key), own))
    return made


Estimate = tuple[float, Interval | None, str, str]
"""Value, interval, how the value was made, and a note."""


def _over_folds(values: Floats, ratio: float, bounds: tuple[float, float]) -> Estimate:
    made = limits.nadeau_bengio(list(values), ratio, bounds)
    note = "" if made else "no interval: all folds have this value"
    return float(values.mean()), made, f"mean of {len(values)} folds", note


def _drawn(people: pd.DataFrame, metric: str, statistic: Statistic, key: Mapping[str, str]) -> Estimate:
    """A statistic over patients (each one's mean over repeats), with a bootstrap of patients."""
    values = people.groupby("patient", sort=True)[metric].mean().to_numpy(dtype=float)
    value, how = float(statistic(values)), f"over {len(values)} patients"
    if len(values) < _LEAST:
        return value, None, how, "no interval: one patient"
    seed = int(key_of(["overlap", dict(key), metric, sorted(set(people["site"]))]), 16) % 2**63

    def drawn(rows: npt.NDArray[np.intp]) -> dict[Hashable, float]:
        return {metric: float(statistic(values[rows]))}

    found = limits.patient_bootstrap(drawn, np.arange(len(values)), seed=seed)
    made = limits.percentile_interval(found[metric])
    if made is None:
        return value, None, how, "no interval: all patients have this value"
    method = f"{how}, patient bootstrap ({limits.BOOTSTRAP} resamples)"
    return value, Interval(low=made.low, high=made.high, method=method), how, ""


def _over_sites(people: pd.DataFrame, metric: str, sites: list[str]) -> Estimate | None:
    """Random-effects mean over sites with two patients or more; None where fewer than two sites have them."""
    first = people[people["repeat"] == people["repeat"].min()]
    values, variances = [], []
    for site in sites:
        own = first[first["site"] == site][metric].to_numpy(dtype=float)
        if len(own) >= _LEAST:
            values.append(float(own.mean()))
            variances.append(max(float(own.var(ddof=1)) / len(own), 1e-6))
    if len(values) < _LEAST:
        return None
    effects = limits.random_effects(values, variances, _BOUNDS[metric])
    low, high = effects.confidence
    method = f"random-effects mean over {len(values)} sites (DerSimonian–Laird)"
    note = f"95% confidence interval of the mean {low:.3f} to {high:.3f} (Hartung–Knapp); tau {effects.tau:.3f}"
    if effects.prediction is None:
        return effects.mean, None, method, f"{note}; no prediction interval: 3 sites needed"
    low, high = effects.prediction
    made = Interval(low=low, high=high, method=f"{method}, prediction interval for a new site")
    return effects.mean, made, method, note


def _row(key: Mapping[str, str], metric: str, subgroup: str, made: Estimate, people: pd.DataFrame) -> dict[str, Any]:
    value, interval, method, note = made
    by_patient = people.groupby("patient")["found"].max()
    return {
        **key,
        "metric": metric,
        "subgroup": subgroup,
        "value": value,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "method": interval.method if interval else method,
        "n_patients": len(by_patient),
        "n_events": int(by_patient.sum()),
        "note": note,
    }
