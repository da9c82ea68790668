"""Small SurvivalPredictions tables made from a known hazard."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from phenolens.core.predictions import SurvivalPredictions, survival_columns

TIMES = (6.0, 12.0, 18.0, 24.0, 30.0, 36.0)
HORIZONS = (12.0, 24.0)
RATE = 1 / 40


def followed(n: int, seed: int = 0, strength: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Time, event and the covariate x of n patients: hazard RATE * exp(strength * x), uniform censoring."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    own = rng.exponential(1 / (RATE * np.exp(strength * x)))
    until = rng.uniform(3, 80, size=n)
    return np.minimum(own, until), own <= until, x


def curves(hazard: np.ndarray, times: Sequence[float] = TIMES) -> np.ndarray:
    """Survival (n, m) of patients with these constant hazards."""
    return np.exp(-np.outer(hazard, np.array(times)))


def rows(
    time: np.ndarray,
    event: np.ndarray,
    risk: np.ndarray,
    curve: np.ndarray,
    *,
    fold: Sequence[int] | np.ndarray | int = 0,
    repeat: int = 0,
    scheme: str = "patient_kfold",
    model: str = "m",
    site: Sequence[str] | str = "S1",
    part: str = "test",
    patient: Sequence[str] | None = None,
    group: Sequence[str] | None = None,
    times: Sequence[float] = TIMES,
) -> pd.DataFrame:
    """One row a unit; the risk group is cut at the median of the patients outside the unit's fold."""
    units = [f"U{i:04d}" for i in range(len(time))]
    folds = np.broadcast_to(fold, len(time))
    cuts = {f: np.median(risk[folds != f]) if (folds != f).any() else 0.0 for f in set(folds.tolist())}
    own = group if group is not None else np.where(risk > [cuts[f] for f in folds.tolist()], "high", "low")
    return pd.DataFrame(
        {
            "experiment": "main", "scheme": scheme, "target": "os", "model": model, "repeat": repeat, "fold": folds,
            "part": part, "patient": patient if patient is not None else [u.replace("U", "P") for u in units],
            "unit": "patient", "unit_id": units, "site": site, "split_hash": "h", "time": time,
            "event": event.astype(int), "risk": risk, "group": own,
            **dict(zip(survival_columns(times), curve.T, strict=True)),
        }
    )  # fmt: skip


def table(
    frames: Sequence[pd.DataFrame], times: Sequence[float] = TIMES, horizons: Sequence[float] = HORIZONS
) -> SurvivalPredictions:
    whole = pd.concat(frames, ignore_index=True)
    return SurvivalPredictions(table=whole, times=tuple(times), horizons=tuple(horizons))


def cross_validated(
    n: int = 120,
    *,
    folds: int = 5,
    repeats: int = 1,
    strength: float = 1.0,
    seed: int = 0,
    model: str = "m",
    sites: int = 1,
    noise: float = 0.0,
    times_hazard: float = 1.0,
    scheme: str = "patient_kfold",
) -> SurvivalPredictions:
    """A cross-validation of a model that knows the true hazard, but for `noise` in x and a factor `times_hazard`."""
    time, event, x = followed(n, seed, strength)
    rng = np.random.default_rng(seed + 1)
    site = np.array([f"S{i % sites}" for i in range(n)])
    frames = []
    for repeat in range(repeats):
        fold = rng.permutation(n) % folds if scheme == "patient_kfold" else np.arange(n) % sites
        seen = x + noise * np.random.default_rng(seed + 77 + repeat).normal(size=n)
        hazard = times_hazard * RATE * np.exp(strength * seen)
        frames.append(
            rows(time, event, seen, curves(hazard), fold=fold, repeat=repeat, model=model, site=site, scheme=scheme)
        )
    return table(frames)


def pick(estimates: pd.DataFrame, metric: str, subgroup: str = "all", **more: str) -> pd.Series:
    """The one row of this metric and subgroup."""
    chosen = (estimates["metric"] == metric) & (estimates["subgroup"] == subgroup)
    for column, value in more.items():
        chosen &= estimates[column] == value
    found = estimates[chosen]
    assert len(found) == 1, found
    return found.iloc[0]
