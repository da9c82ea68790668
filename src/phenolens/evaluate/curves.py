"""Plain tables behind the report's figures: ROC curves, confusion counts and calibration bins."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from phenolens.core.predictions import Predictions
from phenolens.core.registry import METRICS
from phenolens.evaluate.folds import GROUP, groups, once
from phenolens.evaluate.interval import wilson
from phenolens.evaluate.metric import floor_of, predicted

ROC_NOTE = (
    "Each curve is the mean over folds of the folds' own curves, read at the same false-positive rates (vertical "
    "averaging, Fawcett 2006); scores of different folds are never ranked together."
)
CONFUSION_NOTE = (
    "Every patient (or image) counts once: the first test prediction of each, which is repeat 0 where every repeat "
    "tests everyone. Counts are summed over folds."
)
CALIBRATION_NOTE = (
    "Bins of about equal size over each unit's first out-of-fold prediction, with Wilson intervals of the observed "
    "share; no smooth curve is drawn under 200 patients. Where patients have several images the intervals are too "
    "narrow."
)

_GRID = np.linspace(0, 1, 101)


def roc(predictions: Predictions) -> pd.DataFrame:
    """One-vs-rest ROC curves: experiment, scheme, target, model, class, fpr, tpr, folds.

    One test set: its own curve. Several: `ROC_NOTE`, at 101 false-positive rates. A class with too few patients for an
    AUC has no curve.
    """
    floor = floor_of(METRICS.create("auc"))
    parts = []
    for group in groups(predictions):
        for i, name in enumerate(group.classes):
            both = [fold for fold in group.folds if 0 < int((fold.truth == i).sum()) < len(fold.truth)]
            if not both or group.patients_with()[:, i].min() < floor:
                continue
            curves = [roc_points(fold.p[:, i], fold.truth == i) for fold in both]
            if len(curves) == 1:
                fpr, tpr = curves[0]
            else:
                fpr = np.concatenate(([0.0], _GRID))
                tpr = np.concatenate(([0.0], np.mean([_upper(*curve) for curve in curves], axis=0)))
            parts.append(pd.DataFrame({**group.key, "class": name, "fpr": fpr, "tpr": tpr, "folds": len(curves)}))
    return _stack(parts, ["class", "fpr", "tpr", "folds"])


def roc_points(
    scores: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """False- and true-positive rates at every distinct score from (0, 0) to (1, 1); the trapezoid below is the AUC."""
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], positive[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    tpr = np.concatenate(([0.0], np.cumsum(hits)[last] / hits.sum()))
    fpr = np.concatenate(([0.0], np.cumsum(~hits)[last] / (~hits).sum()))
    return fpr, tpr


def _upper(fpr: npt.NDArray[np.float64], tpr: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The curve at the grid's rates; where it rises straight up, the upper end."""
    top = np.append(fpr[1:] != fpr[:-1], True)
    x, y = fpr[top], tpr[top]
    after = np.searchsorted(x, _GRID, side="right")
    found: npt.NDArray[np.float64] = np.interp(_GRID, x, y)
    # Between two rates the curve leaves from the upper end of the left one and arrives at the lower end of the right.
    bottom = tpr[np.append(True, fpr[1:] != fpr[:-1])]
    inside = (after < len(x)) & (x[np.maximum(after - 1, 0)] < _GRID)
    left, right = np.maximum(after - 1, 0)[inside], after[inside]
    share = (_GRID[inside] - x[left]) / (x[right] - x[left])
    found[inside] = y[left] + share * (bottom[right] - y[left])
    return found


def confusion(predictions: Predictions) -> pd.DataFrame:
    """Counts: experiment, scheme, target, model, truth, predicted, units, patients; k * k rows a model.

    `CONFUSION_NOTE` says which predictions are counted.
    """
    parts = []
    for group in groups(predictions):
        fold = once(group)
        guess = predicted(fold.p)
        cells = [
            (t, g, (fold.truth == i) & (guess == j))
            for i, t in enumerate(group.classes)
            for j, g in enumerate(group.classes)
        ]
        columns = {
            "truth": [t for t, _, _ in cells],
            "predicted": [g for _, g, _ in cells],
            "units": [int(rows.sum()) for _, _, rows in cells],
            "patients": [len(np.unique(fold.patient[rows])) for _, _, rows in cells],
        }
        parts.append(pd.DataFrame({**dict.fromkeys(GROUP, ""), **columns}).assign(**group.key))
    return _stack(parts, ["truth", "predicted", "units", "patients"])


def calibration(predictions: Predictions, *, most: int = 10) -> pd.DataFrame:
    """Reliability of each class's probability: experiment, scheme, target, model, class, bin, predicted, observed, low,
    high, units, patients (`CALIBRATION_NOTE`).

    `predicted` is the mean probability in the bin, `observed` the share of units of the class. At most `most` bins of
    at least ten units; equal probabilities stay together.
    """
    rows = []
    for group in groups(predictions):
        fold = once(group)
        for i, name in enumerate(group.classes):
            for number, chosen in enumerate(_bins(fold.p[:, i], most)):
                positive = int((fold.truth[chosen] == i).sum())
                low, high = wilson(positive, len(chosen))
                rows.append(
                    {
                        **group.key,
                        "class": name,
                        "bin": number,
                        "predicted": float(fold.p[chosen, i].mean()),
                        "observed": positive / len(chosen),
                        "low": low,
                        "high": high,
                        "units": len(chosen),
                        "patients": len(np.unique(fold.patient[chosen])),
                    }
                )
    names = ["class", "bin", "predicted", "observed", "low", "high", "units", "patients"]
    return pd.DataFrame(rows, columns=[*GROUP, *names])


def _bins(p: npt.NDArray[np.float64], most: int) -> list[npt.NDArray[np.intp]]:
    count = int(np.clip(len(p) // 10, 1, most))
    edges = np.unique(np.quantile(p, np.linspace(0, 1, count + 1)[1:-1]))
    place = np.searchsorted(edges, p, side="left")
    return [np.flatnonzero(place == i) for i in range(len(edges) + 1) if (place == i).any()]


def _stack(parts: list[pd.DataFrame], names: list[str]) -> pd.DataFrame:
    columns = [*GROUP, *names]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)
