"""Time of one survival evaluation: 1,400 patients, 10 sites, 3 models, 5 x 5 folds, sites left out, a holdout.

python benchmarks/evaluate_survival.py
"""

from __future__ import annotations

import time

import numpy as np
import pandas as pd

from phenolens.core.predictions import SurvivalPredictions, survival_columns
from phenolens.evaluate.compare import compare_survival
from phenolens.evaluate.survival_score import survival_estimates

TIMES = tuple(float(t) for t in range(3, 61, 3))
HORIZONS = (12.0, 36.0, 60.0)


def predictions(patients: int = 1400, repeats: int = 5, folds: int = 5) -> SurvivalPredictions:
    """A table of three models with a little signal each."""
    rng = np.random.default_rng(0)
    x, site = rng.normal(size=patients), rng.integers(0, 10, patients)
    own, until = rng.exponential(60 * np.exp(-x)), rng.uniform(6, 120, patients)
    seen = pd.DataFrame({"time": np.minimum(own, until), "event": (own <= until).astype(int)})
    parts = []
    for scheme, r in (("patient_kfold", repeats), ("leave_one_site_out", 1), ("holdout", 1)):
        for repeat in range(r):
            fold = {"patient_kfold": rng.permutation(patients) % folds, "leave_one_site_out": site}.get(
                scheme, 0 * site
            )
            for model in ("cox", "forest", "sampler"):
                chosen = np.flatnonzero(site < 3) if scheme == "holdout" else np.arange(patients)
                risk = x + rng.normal(size=patients)
                parts.append(part(scheme, repeat, fold, model, risk, site, seen).iloc[chosen])
    return SurvivalPredictions(table=pd.concat(parts, ignore_index=True), times=TIMES, horizons=HORIZONS)


def part(scheme, repeat, fold, model, risk, site, seen) -> pd.DataFrame:  # type: ignore[no-untyped-def]
    ids = [f"P{j:04d}" for j in range(len(risk))]
    curve = np.exp(-np.outer(np.exp(0.5 * risk), np.array(TIMES) / 60))
    key = {"experiment": "main", "scheme": scheme, "target": "os", "model": model, "repeat": repeat, "fold": fold}
    rest = {"part": "test", "patient": ids, "unit": "patient", "unit_id": ids, "site": [f"S{s}" for s in site]}
    own = {"split_hash": "x", "risk": risk, "group": np.where(risk > 0, "high", "low")}
    columns = dict(zip(survival_columns(TIMES), curve.T, strict=True))
    return pd.DataFrame({**key, **rest, **own, **seen.to_dict("series"), **columns})


if __name__ == "__main__":
    table = predictions()
    folds = SurvivalPredictions(
        table=table.table[table.table["scheme"] == "patient_kfold"], times=TIMES, horizons=HORIZONS
    )
    for title, function, given in (
        ("survival_estimates, cross-validation", survival_estimates, folds),
        ("compare_survival, cross-validation", compare_survival, folds),
        ("survival_estimates, all three schemes", survival_estimates, table),
    ):
        start = time.perf_counter()
        made = function(given)
        spent = time.perf_counter() - start
        print(f"{title}: {len(given.table)} predictions to {len(made)} rows in {spent:.1f} s")
