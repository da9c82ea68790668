"""Which features a model weighs, and whether the folds agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

Coefficients = Mapping[str, npt.NDArray[np.float64]]
"""Feature -> (k,): of a linear model each class's weight of the standardised feature, else an importance."""

COLUMNS = ("feature", "class", "mean", "sd", "share_used", "share_sign", "rank_mean", "folds")


def stability(folds: Sequence[Coefficients], classes: Sequence[str]) -> pd.DataFrame:
    """One row a feature and class over the fold models, most weighty first (by the mean of the absolute values).

    `share_used` is the share of folds in which the feature has any weight, `share_sign` the share of those with the
    sign of the mean, `rank_mean` the mean rank of its absolute weight in a fold (1: the largest).
    """
    names = sorted({name for fold in folds for name in fold})
    if not names:
        return pd.DataFrame(columns=[*COLUMNS])
    zero = np.zeros(len(classes))
    weights = np.array([[np.asarray(fold.get(name, zero), dtype=float) for name in names] for fold in folds])
    ranks = (-np.abs(weights)).argsort(axis=1, kind="stable").argsort(axis=1, kind="stable") + 1
    rows = []
    for j, name in enumerate(names):
        for c, label in enumerate(classes):
            values = weights[:, j, c]
            used = values != 0
            mean = float(values.mean())
            agree = float((np.sign(values[used]) == np.sign(mean)).mean()) if used.any() else 0.0
            rank = float(ranks[:, j, c].mean())
            spread = float(values.std(ddof=1)) if len(folds) > 1 else float("nan")
            rows.append((name, label, mean, spread, float(used.mean()), agree, rank, len(folds)))
    table = pd.DataFrame(rows, columns=[*COLUMNS])
    order = np.abs(weights).mean(axis=(0, 2))
    place = {name: i for i, name in enumerate(sorted(names, key=lambda n: (-order[names.index(n)], n)))}
    table = table.assign(place=table["feature"].map(place))
    return table.sort_values(["place", "class"], kind="stable").drop(columns="place").reset_index(drop=True)
