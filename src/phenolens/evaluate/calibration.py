"""Is a stated probability what really happens? Recalibration coefficients, and a smooth curve with what it is off by.

One probability column at a time, its class against the rest. Slopes and intercepts are logistic recalibrations
(Cox 1958; Van Calster et al. 2016). The curve is `lowess` over the probabilities (Cleveland 1979; span 2/3, no
robustness iterations), as `val.prob` of the R package rms draws it; ICI, E50 and E90 are the mean, the median and the
90th percentile of the distance between probability and curve over the units (Austin & Steyerberg 2019), there called
Eavg and E90.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from phenolens.core.predictions import Predictions
from phenolens.core.registry import METRICS
from phenolens.core.store import key_of
from phenolens.evaluate import interval as limits
from phenolens.evaluate.folds import GROUP, ONE_CLASS_EACH, Fold, Group, groups, once
from phenolens.evaluate.logistic import Floats, Logistic, fit
from phenolens.evaluate.lowess import Lowess, lowess
from phenolens.evaluate.metric import NotEstimable, advised_of, floor_of

Positive = npt.NDArray[np.bool_]

CURVE_FROM = 200
"""Patients below which no smooth curve is drawn and nothing is measured on one."""

CURVE_NOTE = (
    "Every patient (or image) counts once, with its first test prediction. The curve is lowess over the stated "
    "probabilities (span 2/3, no robustness iterations, as rms::val.prob), its band the middle 95% of 2,000 resamples "
    "of whole patients, point by point; ICI, E50 and E90 are the mean, median and 90th percentile of the distance "
    "between probability and curve. A perfect model has intercept 0, slope 1 and an ICI that is small and never 0. "
    "The models of the folds are not refitted, so all of these intervals are too narrow for the procedure as a whole."
)

SUMMARY = ("class", "measure", "value", "low", "high", "n_patients", "n_events", "note")
"""Columns of `summary` behind those of the group."""


def log_odds(p: Floats) -> Floats:
    """ln(p / (1 - p)). Raises NotEstimable where a probability is exactly 0 or 1: it has none, clipped or not."""
    certain = int(((p <= 0) | (p >= 1)).sum())
    if certain:
        raise NotEstimable(
            f"{certain} of {len(p)} probabilities are exactly 0 or 1 and have no log odds",
            of_folds="they hold probabilities of exactly 0 or 1",
        )
    found: Floats = np.log(p) - np.log1p(-p)
    return found


def intercept(p: Floats, positive: Positive) -> Logistic:
    """Calibration in the large: the one coefficient a of logit P(positive) = a + logit p; 0 is perfect.

    Above 0 the probabilities are too low on the whole, below 0 too high. p and positive have shape (n,).

    Raises:
        NotEstimable: no positive or no negative, or a probability of exactly 0 or 1.
    """
    _refuse_one_kind(positive)
    return fit(np.ones((len(p), 1)), positive, log_odds(p))


def slope(p: Floats, positive: Positive) -> Logistic:
    """Logistic recalibration: the coefficients a and b of logit P(positive) = a + b logit p; b = 1 is perfect.

    Below 1 the probabilities are too extreme, above 1 too timid. p and positive have shape (n,).

    Raises:
        NotEstimable: as `intercept`; all probabilities equal; or no overlap, where the slope is infinite.
    """
    _refuse_one_kind(positive)
    x = log_odds(p)
    with_it, without = x[positive], x[~positive]
    if x.max() - x.min() <= 1e-9:
        raise NotEstimable("all probabilities are equal", of_folds="all probabilities are equal in them")
    if with_it.min() >= without.max() or without.min() >= with_it.max():
        raise NotEstimable(
            "the probabilities separate the class from the rest completely: the slope is infinite",
            of_folds="their probabilities separate the class completely (the slope is infinite)",
        )
    return fit(np.column_stack([np.ones(len(x)), x]), positive)


def _refuse_one_kind(positive: Positive) -> None:
    if positive.all() or not positive.any():
        raise NotEstimable("the test set has no patient with, or none without, the class")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The smooth curve over the probabilities p (n,) of a class, of units that are it (`y` 1) or not (0).

    `heights` (m,) is the curve at the smoother's places, `errors` (n,) each unit's distance between probability and
    curve.
    """

    smoother: Lowess
    y: Floats
    heights: Floats
    errors: Floats

    @property
    def ici(self) -> float:
        """Integrated calibration index: the mean distance."""
        return float(self.errors.mean())

    def quantile(self, share: float) -> float:
        """E50 and E90: the distance that this share of the units does not exceed."""
        return float(np.quantile(self.errors, share))

    def drawn(self, counts: Floats) -> Floats:
        """The heights (draws, m) in each resample; `counts` (draws, n) says how often a unit is drawn."""
        return self.smoother.fit(self.y, counts)

    def ici_drawn(self, counts: Floats) -> Floats:
        """The ICI (draws,) in each resample."""
        p, found = self.smoother.x, []
        for part in np.array_split(counts, max(1, counts.size // 200_000)):
            away = np.abs(p - self.smoother.at(self.drawn(part), p))
            found.append(np.einsum("ij,ij->i", part, away) / part.sum(1))
        return np.concatenate(found)


def curve(p: Floats, positive: Positive) -> Curve:
    """The curve of one probability column (n,) over units that are the class or not; n of two or more."""
    smoother, y = lowess(p), positive.astype(np.float64)
    heights = smoother.fit(y)
    return Curve(smoother=smoother, y=y, heights=heights, errors=np.abs(p - smoother.at(heights, p)))


def recalibrated(predictions: Predictions) -> Predictions | None:
    """The predictions with the probabilities that the guard of each fold recalibrated (`q_CLASS`) as the stated ones.

    None where the table does not hold one for every test row.
    """
    table = predictions.table
    if not all(f"q_{c}" in table.columns for c in predictions.classes):
        return None
    made = {f"p_{c}": table[f"q_{c}"].astype(float).fillna(table[f"p_{c}"]) for c in predictions.classes}
    tested = table.loc[table["part"] == "test", [f"q_{c}" for c in predictions.classes]]
    return (
        None if tested.isna().to_numpy().any() else Predictions(table=table.assign(**made), classes=predictions.classes)
    )


def smooth(predictions: Predictions) -> pd.DataFrame:
    """Smooth curves: experiment, scheme, target, model, class, predicted, observed, low, high (`CURVE_NOTE`).

    None for a class with under `CURVE_FROM` patients in the scheme, or with fewer than the floor of an AUC with or
    without it. Heights are cut at 0 and 1 here and only here.
    """
    parts = []
    for group in groups(predictions):
        fold = once(group)
        counts = limits.patient_counts(fold.patient, seed=seed_of(group))
        for i, name in enumerate(group.classes):
            if _too_few(group, i):
                continue
            made = curve(fold.p[:, i], fold.truth == i)
            low, high = np.quantile(made.drawn(counts), [0.025, 0.975], axis=0).clip(0, 1)
            drawn = {"predicted": made.smoother.places, "observed": made.heights.clip(0, 1), "low": low, "high": high}
            parts.append(pd.DataFrame({**group.key, "class": name, **drawn}))
    columns = [*GROUP, "class", "predicted", "observed", "low", "high"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def summary(predictions: Predictions) -> pd.DataFrame:
    """Intercept, slope, ICI, E50 and E90 of each class over the units' first test predictions (`CURVE_NOTE`).

    Columns: experiment, scheme, target, model and `SUMMARY`; `value` is empty (NaN) where not estimable, and `note`
    says why, or that a slope is exploratory. Intercept and slope have Wald intervals, ICI a patient bootstrap.
    """
    rows: list[dict[str, Any]] = []
    for group in groups(predictions):
        fold = once(group)
        with_it = group.patients_with()[0]
        counts = limits.patient_counts(fold.patient, seed=seed_of(group))
        for i, name in enumerate(group.classes):
            about = {**group.key, "class": name, "n_patients": group.n_patients, "n_events": int(with_it[i])}
            rows += [{**about, **row} for row in (*_coefficients(group, fold, i), *_distances(group, fold, i, counts))]
    return pd.DataFrame(rows, columns=[*GROUP, *SUMMARY])


def _coefficients(group: Group, fold: Fold, i: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for name, function in (("intercept", intercept), ("slope", slope)):
        metric = METRICS.create(f"calibration_{name}")
        row: dict[str, Any] = {"measure": name, "value": np.nan, "low": np.nan, "high": np.nan, "note": ""}
        short = ONE_CLASS_EACH if group.one_class_each else group.short_of(floor_of(metric), group.classes[i])
        try:
            found = None if short else function(fold.p[:, i], fold.truth == i)
        except NotEstimable as reason:
            found, short = None, str(reason)
        if found is None:
            rows.append({**row, "note": f"not estimable: {short}"})
            continue
        value = float(found.coefficients[-1])
        made = limits.wald(value, float(found.variances(fold.patient)[-1]))
        thin = group.short_of(advised_of(metric), group.classes[i])
        note = f"exploratory: {thin}" if thin else ""
        rows.append({**row, "value": value, "low": made.low, "high": made.high, "note": note})
    return rows


def _distances(group: Group, fold: Fold, i: int, counts: Floats) -> list[dict[str, Any]]:
    if short := _too_few(group, i):
        empty = {"value": np.nan, "low": np.nan, "high": np.nan, "note": f"not estimable: {short}"}
        return [{"measure": name, **empty} for name in ("ICI", "E50", "E90")]
    made = curve(fold.p[:, i], fold.truth == i)
    low, high = np.quantile(made.ici_drawn(counts), [0.025, 0.975])
    none = {"low": np.nan, "high": np.nan, "note": ""}
    return [
        {"measure": "ICI", "value": made.ici, "low": float(low), "high": float(high), "note": ""},
        {"measure": "E50", "value": made.quantile(0.5), **none},
        {"measure": "E90", "value": made.quantile(0.9), **none},
    ]


def _too_few(group: Group, i: int) -> str:
    if group.one_class_each:
        return ONE_CLASS_EACH
    if group.n_patients < CURVE_FROM:
        return f"{group.n_patients} patients ({CURVE_FROM} needed for a smooth curve)"
    return group.short_of(floor_of(METRICS.create("ici")), group.classes[i])


def seed_of(group: Group) -> int:
    """The seed of resamples of the units' first predictions: all models of a scheme meet the same resamples."""
    names = {k: v for k, v in group.key.items() if k != "model"}
    return int(key_of(["once", names]), 16) % 2**63
