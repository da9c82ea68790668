"""Three ways of evaluating that leak through the fitting procedure, as they are found in published pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

KEPT = 20
VARIANTS = 50


def _table(task: Any, examples: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    x = np.stack([e.instances().mean(0) for e in examples]).astype(float)
    return x, np.array([task.truth(e) for e in examples], dtype=np.int64)


def _ridge(x: np.ndarray, y: np.ndarray, new: np.ndarray, penalty: float = 10.0) -> np.ndarray:
    """Probabilities (n, 2) of new rows, by least squares with an L2 penalty."""
    centre = x.mean(0)
    inner = x - centre
    if x.shape[1] < len(x):
        weights = np.linalg.solve(inner.T @ inner + penalty * np.eye(x.shape[1]), inner.T @ (y - y.mean()))
    else:
        weights = inner.T @ np.linalg.solve(inner @ inner.T + penalty * np.eye(len(x)), y - y.mean())
    p = 1 / (1 + np.exp(-4 * ((new - centre) @ weights)))
    return np.column_stack([1 - p, p])


def _rows(examples: Sequence[Any], patients: Any) -> np.ndarray:
    return np.flatnonzero([e.patient in patients for e in examples])


def _auc(positive: np.ndarray, score: np.ndarray) -> float:
    m = int(positive.sum())
    return float((rankdata(score)[positive].sum() - m * (m + 1) / 2) / (m * (len(score) - m)))


def outer_selection(model: Any, task: Any, folds: Sequence[Any], examples: Sequence[Any], seed: int) -> list[Any]:
    """The features that go best with the label in ALL patients are chosen once, before the folds."""
    x, y = _table(task, examples)
    z = (x - x.mean(0)) / x.std(0)
    chosen = np.argsort(-np.abs(z.T @ (y - y.mean())))[:KEPT]
    made = []
    for fold in folds:
        train, test = _rows(examples, fold.train | fold.tune), _rows(examples, fold.test)
        made.append((y[test], _ridge(x[np.ix_(train, chosen)], y[train], x[np.ix_(test, chosen)])))
    return made


def oversampling_before_the_split(
    model: Any, task: Any, folds: Sequence[Any], examples: Sequence[Any], seed: int
) -> list[Any]:
    """Rows of the smaller class are drawn again until classes are even, and only then dealt out to folds."""
    x, y = _table(task, examples)
    draw = np.random.default_rng(seed)
    few = int(np.bincount(y, minlength=2).argmin())
    more = draw.choice(np.flatnonzero(y == few), size=abs(int((y == 1).sum() - (y == 0).sum())))
    rows = draw.permutation(np.concatenate([np.arange(len(y)), more]))
    made = []
    for places in np.array_split(np.arange(len(rows)), len(folds)):
        test, train = rows[places], np.delete(rows, places)
        made.append((y[test], _ridge(x[train], y[train], x[test])))
    return made


def best_of_fifty(model: Any, task: Any, folds: Sequence[Any], examples: Sequence[Any], seed: int) -> list[Any]:
    """Fifty models on features of their own; the one that does best on the TEST fold is reported."""
    x, y = _table(task, examples)
    draw = np.random.default_rng(seed)
    made = []
    for fold in folds:
        train, test = _rows(examples, fold.train | fold.tune), _rows(examples, fold.test)
        best = (-1.0, np.empty((0, 2)))
        for _ in range(VARIANTS):
            own = draw.choice(x.shape[1], size=10, replace=False)
            p = _ridge(x[np.ix_(train, own)], y[train], x[np.ix_(test, own)])
            best = max(best, (_auc(y[test] == 1, p[:, 1]), p), key=lambda pair: pair[0])
        made.append((y[test], best[1]))
    return made
