"""A closed-form model of a small table, fitted in every fold for a thousand relabellings at once.

Ridge regression on one-hot labels is linear in the labels: in each fold one matrix turns training labels into test
scores, so that a refit on permuted labels is a product of matrices. Columns are encoded, standardised and cut by the
training rows of the fold alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata

from phenolens.core.types import Split

Matrix = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Rows = npt.NDArray[np.intp]

FEW = 8
"""Up to this many distinct values a number is also read as a category; above, by the quarter it lies in."""
CLIP = 5.0
DIGITS = 9
"""Scores are rounded here before they are ranked: equal rows are ties."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A fold as row numbers: `train` (tune rows included, since nothing is chosen) and `test`."""

    train: Rows
    test: Rows


def places_of(patients: Sequence[str], folds: Sequence[Split]) -> list[Place]:
    """Folds as row numbers of units whose patients these are; folds without test units are left out."""
    found = []
    for fold in folds:
        train = np.array([p in fold.train or p in fold.tune for p in patients], dtype=np.bool_)
        test = np.array([p in fold.test for p in patients], dtype=np.bool_)
        if test.any() and train.any():
            found.append(Place(train=np.flatnonzero(train), test=np.flatnonzero(test)))
    return found


@dataclass(frozen=True, kw_only=True)
class Refit:
    """A fold's matrix (n_test, n_train) from centred training labels to test scores."""

    place: Place
    hat: Matrix

    def scores(self, labels: Matrix) -> Matrix:
        """Test scores (draws, n_test) of labels (draws, n) in 0 to 1, as a linear probability."""
        train = labels[:, self.place.train]
        mean = train.mean(1, keepdims=True)
        made: Matrix = np.round((train - mean) @ self.hat.T + mean, DIGITS)
        return made


def encode(table: pd.DataFrame, place: Place) -> tuple[Matrix, Matrix]:
    """Standardised columns of the training and the test rows, as learnt from the training rows; (n, m) each.

    A text column becomes a column for each of its levels; a number its standardised value, and columns for its levels
    (up to FEW) or quarters. What is missing is a level of its own. Columns without spread in training fall away.
    """
    blocks: list[Matrix] = []
    for name in table.columns:
        column = table[name]
        blocks += _number(column, place) if pd.api.types.is_numeric_dtype(column) else _text(column, place)
    if not blocks:
        return np.empty((len(place.train), 0)), np.empty((len(place.test), 0))
    return standard(np.column_stack(blocks), place)


def standard(x: Matrix, place: Place) -> tuple[Matrix, Matrix]:
    """Columns in standard deviations of the training rows, cut at ±CLIP; those without spread fall away."""
    train = x[place.train]
    mean, spread = train.mean(0), train.std(0)
    kept = spread > 1e-6 * np.abs(mean) + 1e-12
    z = np.clip((x[:, kept] - mean[kept]) / spread[kept], -CLIP, CLIP)
    return z[place.train], z[place.test]


def _text(column: pd.Series, place: Place) -> list[Matrix]:
    values = column.astype("string").fillna("").to_numpy(dtype=object)
    levels = sorted(set(values[place.train]))
    return [(values == level).astype(np.float64) for level in levels] if len(levels) > 1 else []


def _number(column: pd.Series, place: Place) -> list[Matrix]:
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    known = values[place.train][np.isfinite(values[place.train])]
    if not len(known):
        return []
    missing = ~np.isfinite(values)
    filled = np.where(missing, np.median(known), values)
    made = [filled, *([missing.astype(np.float64)] if missing.any() else [])]
    levels = np.unique(known)
    if 2 < len(levels) <= FEW:
        made += [((filled == level) & ~missing).astype(np.float64) for level in levels]
    elif len(levels) > FEW:
        quarter = np.searchsorted(np.quantile(known, (0.25, 0.5, 0.75)), filled)
        made += [((quarter == q) & ~missing).astype(np.float64) for q in range(4)]
    return made


def refit(z_train: Matrix, z_test: Matrix, place: Place) -> Refit:
    """The matrix of a ridge regression; its penalty is the mean eigenvalue of the training rows' Gram matrix.

    That shrinks a few columns of many rows hardly and many columns of few rows by about half; nothing is chosen.
    """
    n, m = z_train.shape
    centred = z_train - z_train.mean(0)
    shifted = z_test - z_train.mean(0)
    if not m:
        return Refit(place=place, hat=np.zeros((len(z_test), n)))
    if m <= n:
        gram = centred.T @ centred
        penalty = max(float(np.trace(gram)) / n, 1e-9)
        solved = np.linalg.solve(gram + penalty * np.eye(m), centred.T)
        return Refit(place=place, hat=shifted @ solved)
    gram = centred @ centred.T
    penalty = max(float(np.trace(gram)) / n, 1e-9)
    return Refit(place=place, hat=np.linalg.solve(gram + penalty * np.eye(n), centred @ shifted.T).T)


def refits(table: pd.DataFrame, places: Sequence[Place]) -> list[Refit]:
    """The matrix of each fold for the columns of a table with one row a unit."""
    return [refit(*encode(table, place), place) for place in places]


def auc_by_row(scores: Matrix, positive: npt.NDArray[np.bool_]) -> Matrix:
    """Area under the ROC curve of each row, (draws,); NaN where a row has one class only."""
    ranks = rankdata(scores, axis=1)
    m = positive.sum(1)
    n = positive.shape[1] - m
    with np.errstate(invalid="ignore", divide="ignore"):
        area: Matrix = ((ranks * positive).sum(1) - m * (m + 1) / 2) / (m * n)
    return area


def fold_mean_auc(fitted: Sequence[Refit], truth: Codes, classes: int) -> Matrix:
    """The mean over classes of the fold-mean one-vs-rest AUC for each row of `truth` (draws, n), (draws,).

    A fold without, or with nothing but, a class has no area of it and is left out of its mean; a class without any
    area is left out of the mean over classes.
    """
    shown = range(1, 2) if classes == 2 else range(classes)
    means = []
    for c in shown:
        areas = []
        for one in fitted:
            own = truth == c
            areas.append(auc_by_row(one.scores(own.astype(np.float64)), own[:, one.place.test]))
        means.append(finite_mean(np.stack(areas)))
    return finite_mean(np.stack(means))


def finite_mean(values: Matrix) -> Matrix:
    """The mean over the first axis of what is finite; NaN where nothing is."""
    there = np.isfinite(values)
    counts = there.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Matrix = np.where(there, values, 0.0).sum(0) / counts
    return mean


def p_of(statistics: Matrix) -> float:
    """(1 + draws that reach the real value) / (1 + draws); the first is the real one. 1 where it has none."""
    observed, drawn = statistics[0], statistics[1:]
    if not np.isfinite(observed):
        return 1.0
    reached = int((np.where(np.isfinite(drawn), drawn, np.inf) >= observed - 1e-12).sum())
    return (1 + reached) / (1 + len(drawn))
