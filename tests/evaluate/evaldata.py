"""Small Predictions tables with known contents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from phenolens.core.predictions import Predictions


def rows(
    truth: Sequence[str],
    p: np.ndarray,
    classes: Sequence[str],
    *,
    fold: Sequence[int] | int = 0,
    repeat: int = 0,
    scheme: str = "patient_kfold",
    model: str = "m",
    site: Sequence[str] | str = "S1",
    patient: Sequence[str] | None = None,
    part: str = "test",
    split_hash: str = "h",
) -> pd.DataFrame:
    """Test rows (by default), one a unit; patients are named P000... unless given."""
    units = [f"U{i:03d}" for i in range(len(truth))]
    key = {"experiment": "main", "scheme": scheme, "target": "type", "model": model, "repeat": repeat}
    columns = {
        "fold": fold,
        "part": part,
        "patient": patient if patient is not None else [u.replace("U", "P") for u in units],
        "unit": "patient" if patient is None else "image",
        "unit_id": units,
        "site": site,
        "split_hash": split_hash,
        "truth": list(truth),
    }
    scores = {f"p_{c}": p[:, i] for i, c in enumerate(classes)}
    return pd.DataFrame({"unit_id": units} | {**key, **columns} | scores)


def table(frames: Sequence[pd.DataFrame], classes: Sequence[str]) -> Predictions:
    return Predictions(table=pd.concat(frames, ignore_index=True), classes=tuple(classes))


def random_p(n: int, k: int, seed: int, truth: np.ndarray | None = None, signal: float = 0.0) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(size=(n, k))
    if truth is not None:
        logits += signal * np.eye(k)[truth]
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def cross_validated(
    n: int = 60,
    classes: Sequence[str] = ("A", "B"),
    *,
    folds: int = 5,
    repeats: int = 1,
    signal: float = 1.0,
    seed: int = 0,
    model: str = "m",
    sites: int = 1,
    scheme: str = "patient_kfold",
) -> Predictions:
    """A stratified, repeated cross-validation of a model with the given signal; classes take turns."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % len(classes)
    frames = []
    for repeat in range(repeats):
        fold = np.empty(n, dtype=int)
        for c in range(len(classes)):
            mine = rng.permutation(np.flatnonzero(truth == c))
            fold[mine] = np.arange(len(mine)) % folds
        p = random_p(n, len(classes), seed + 1000 * repeat, truth, signal)
        site = [f"S{i // len(classes) % sites}" for i in range(n)]
        names = [classes[t] for t in truth]
        frames.append(rows(names, p, classes, fold=fold, repeat=repeat, model=model, site=site, scheme=scheme))
    return table(frames, classes)


def pick(estimates: pd.DataFrame, metric: str, subgroup: str = "all", **more: str) -> pd.Series:
    """The one row of this metric and subgroup."""
    chosen = (estimates["metric"] == metric) & (estimates["subgroup"] == subgroup)
    for column, value in more.items():
        chosen &= estimates[column] == value
    found = estimates[chosen]
    assert len(found) == 1, found
    return found.iloc[0]
