"""Time of one full evaluation: 1,400 patients, 10 sites, 4 classes, 3 models, 5 folds repeated 5 times, a holdout.

Estimates with intervals, curves, calibration, the decision curve of one class, and every comparison of two models.

python benchmarks/evaluate.py
"""

from __future__ import annotations

import time
from functools import partial

import numpy as np
import pandas as pd

from phenolens.core.predictions import Predictions
from phenolens.evaluate.calibration import smooth, summary
from phenolens.evaluate.compare import compare
from phenolens.evaluate.curves import calibration, confusion, roc
from phenolens.evaluate.decision import decision_curves
from phenolens.evaluate.score import estimates

CLASSES = ("A", "B", "C", "D")


def predictions(patients: int = 1400, repeats: int = 5, folds: int = 5) -> Predictions:
    """A table of random predictions with a little signal, tune rows included."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, len(CLASSES), patients)
    site = rng.integers(0, 10, patients)
    parts = []
    for scheme, r, k in (("patient_kfold", repeats, folds), ("leave_one_site_out", 1, 10), ("holdout", 1, 1)):
        for repeat in range(r):
            fold = site if scheme == "leave_one_site_out" else rng.permutation(patients) % k
            for model in ("abmil", "mean_pool", "sampler"):
                for f in range(k):
                    rows = [("test", np.flatnonzero(fold == f)), ("tune", np.flatnonzero(fold == (f + 1) % k)[:150])]
                    for name, i in rows[: min(k, 2)]:
                        parts.append(part(scheme, repeat, f, model, name, i, truth, site, rng))
    return Predictions(table=pd.concat(parts, ignore_index=True), classes=CLASSES)


def part(scheme, repeat, fold, model, name, i, truth, site, rng) -> pd.DataFrame:  # type: ignore[no-untyped-def]
    logits = rng.normal(size=(len(i), len(CLASSES))) + np.eye(len(CLASSES))[truth[i]]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    ids = [f"P{j:04d}" for j in i]
    key = {"experiment": "main", "scheme": scheme, "target": "type", "model": model, "repeat": repeat, "fold": fold}
    rest = {"part": name, "patient": ids, "unit": "patient", "unit_id": ids, "site": [f"S{s}" for s in site[i]]}
    columns = {f"p_{c}": p[:, k] for k, c in enumerate(CLASSES)}
    return pd.DataFrame({**key, **rest, "split_hash": "x", "truth": [CLASSES[t] for t in truth[i]], **columns})


if __name__ == "__main__":
    table = predictions()
    decided = partial(decision_curves, positive="B")
    parts = {f.__name__: f for f in (estimates, roc, confusion, calibration, smooth, summary, compare)}
    total = 0.0
    for name, function in {**parts, "decision_curves": decided}.items():
        start, on_cpu = time.perf_counter(), time.process_time()
        made = function(table)
        spent, busy = time.perf_counter() - start, time.process_time() - on_cpu
        total += spent
        print(f"{name}: {len(table.table)} predictions to {len(made)} rows in {spent:.1f} s ({busy:.1f} s of one core)")
    print(f"together: {total:.1f} s")
