"""Selective prediction: what is gained by answering only where the model is sure.

Confidence is the largest probability. Confidences of different folds are never ranked together: every curve and area is
the mean over folds of the folds' own, and its limits are those of a bootstrap of patients that keeps the folds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from phenolens.core.predictions import Predictions
from phenolens.core.store import key_of
from phenolens.evaluate.folds import GROUP, Fold, Group, groups
from phenolens.evaluate.metric import predicted

Floats = npt.NDArray[np.float64]

DRAWS = 500
STATED = (1.0, 0.9, 0.8, 0.7, 0.5)
"""Coverages at which errors per 100 are told."""
GRID = np.linspace(0.1, 1, 46)
"""Coverages of the curve; under a tenth of a fold there is hardly anyone."""
_BLOCK = 200


@dataclass(frozen=True, kw_only=True)
class _Ranked:
    """One test set, most confident first: wrong (n,), patient (n,), and where each run of equal confidence ends."""

    wrong: Floats
    patient: npt.NDArray[np.int64]
    ends: npt.NDArray[np.intp]


def augrc(confidence: Floats, wrong: npt.NDArray[np.bool_]) -> float:
    """Area under the generalised risk-coverage curve of one test set, 0 to 0.5; lower is better.

    The generalised risk at a threshold is the share of all units that are both accepted and wrong; the area is over the
    share accepted, by the trapezoid rule, equal confidences together. Traub, Bungert, Lüth, Baumgartner, Maier-Hein,
    Maier-Hein and Jaeger, Overcoming common flaws in the evaluation of selective classification systems, 2024. Shuffled
    confidence gives half the error rate.
    """
    ranked = _ranked(confidence, wrong, np.arange(len(wrong)))
    share, risk = _curves(ranked, np.ones((1, len(wrong))))
    return float(_area(share, risk)[0])


def selective(predictions: Predictions) -> pd.DataFrame:
    """AUGRC and errors per 100 answers, one row a group and measure.

    Columns: those of GROUP, measure ("augrc", "errors_at_100", "errors_at_90", ...), value, low, high, patients, folds.
    `errors_at_90` are the errors among 100 answers when the least sure tenth is not answered. Limits are the middle 95%
    of a patient bootstrap (DRAWS resamples). `errors_at_100` is the error rate itself.
    """
    rows = []
    for group, value, drawn in _measured(predictions, np.array(STATED)):
        names = ["augrc", *(f"errors_at_{round(100 * c)}" for c in STATED)]
        scale = np.array([1.0] + [100.0] * len(STATED))
        low, high = np.quantile(drawn * scale, [0.025, 0.975], axis=0)
        for i, name in enumerate(names):
            told = {"measure": name, "value": float(value[i] * scale[i]), "low": float(low[i]), "high": float(high[i])}
            rows.append({**group.key, **told, "patients": group.n_patients, "folds": len(group.folds)})
    return pd.DataFrame(rows, columns=[*GROUP, "measure", "value", "low", "high", "patients", "folds"])


def risk_coverage(predictions: Predictions) -> pd.DataFrame:
    """The share of errors among the answers over the share answered: GROUP, coverage, risk, low, high (pointwise 95%).

    `coverage` runs over GRID; between two units of a fold the generalised risk is read on the line between them.
    """
    parts = []
    for group, value, drawn in _measured(predictions, GRID):
        low, high = np.quantile(drawn[:, 1:], [0.025, 0.975], axis=0)
        columns = {"coverage": GRID, "risk": value[1:], "low": low, "high": high}
        parts.append(pd.DataFrame({**group.key, **columns}))
    names = [*GROUP, "coverage", "risk", "low", "high"]
    return pd.concat(parts, ignore_index=True)[names] if parts else pd.DataFrame(columns=names)


def _measured(predictions: Predictions, at: Floats) -> Iterator[tuple[Group, Floats, Floats]]:
    """Of each group AUGRC and selective risk at m coverages, (1 + m,), and those of the bootstrap, (DRAWS, 1 + m)."""
    for group in groups(predictions):
        folds = [_of(fold) for fold in group.folds]
        patients = np.unique(np.concatenate([f.patient for f in folds]))
        value = _mean([_values(f, np.ones((1, len(f.wrong))), at) for f in folds])[0]
        seed = int(key_of(["selective", {k: v for k, v in group.key.items() if k != "model"}]), 16) % 2**63
        rng = np.random.default_rng(seed)
        drawn = []
        for start in range(0, DRAWS, _BLOCK):
            count = min(_BLOCK, DRAWS - start)
            weights = rng.multinomial(len(patients), np.full(len(patients), 1 / len(patients)), size=count)
            drawn.append(_mean([_values(f, _weights(f, weights, patients), at) for f in folds]))
        yield group, value, np.concatenate(drawn)


def _weights(fold: _Ranked, drawn: npt.NDArray[Any], patients: npt.NDArray[np.int64]) -> Floats:
    weights: Floats = drawn[:, np.searchsorted(patients, fold.patient)].astype(np.float64)
    return weights


def _mean(values: Iterable[Floats]) -> Floats:
    """The mean over folds, (draws, m); a fold of which a resample drew nobody is left out of it."""
    stacked = np.stack(list(values))
    there = np.isfinite(stacked)
    mean: Floats = np.where(there, stacked, 0).sum(0) / np.maximum(there.sum(0), 1)
    return mean


def _of(fold: Fold) -> _Ranked:
    return _ranked(fold.p.max(1), predicted(fold.p) != fold.truth, fold.patient)


def _ranked(confidence: Floats, wrong: npt.NDArray[np.bool_], patient: npt.NDArray[np.int64]) -> _Ranked:
    order = np.argsort(-confidence, kind="stable")
    ordered = confidence[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    return _Ranked(wrong=wrong[order].astype(np.float64), patient=patient[order], ends=ends)


def _curves(ranked: _Ranked, weights: Floats) -> tuple[Floats, Floats]:
    """Share accepted and generalised risk, (draws, runs + 1) each, from (0, 0) on; NaN where nobody was drawn."""
    total = weights.sum(1, keepdims=True)
    total = np.where(total > 0, total, np.nan)
    start = np.zeros((len(weights), 1))
    share = np.cumsum(weights, axis=1)[:, ranked.ends] / total
    risk = np.cumsum(weights * ranked.wrong, axis=1)[:, ranked.ends] / total
    return np.concatenate([start, share], axis=1), np.concatenate([start, risk], axis=1)


def _area(share: Floats, risk: Floats) -> Floats:
    area: Floats = (np.diff(share, axis=1) * (risk[:, 1:] + risk[:, :-1]) / 2).sum(1)
    return area


def _values(ranked: _Ranked, weights: Floats, at: Floats) -> Floats:
    """AUGRC and the selective risk at each coverage, (draws, 1 + m)."""
    share, risk = _curves(ranked, weights)
    rows = [np.interp(at, s, r) / at if np.isfinite(s).all() else np.full(len(at), np.nan)
            for s, r in zip(share, risk, strict=True)]  # fmt: skip
    return np.concatenate([_area(share, risk)[:, None], np.stack(rows)], axis=1)
