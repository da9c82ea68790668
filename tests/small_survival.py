"""A synthetic cohort with a follow-up and a table of features, small enough for a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import yaml


def write_study(folder: Path, **changes: object) -> Path:
    """study.yaml for `write_cohort`; `changes` replace top-level keys, None takes one out."""
    content: dict[str, object] = {
        "study": "survivors",
        "features": {"table": "features.csv"},
        "task": {"kind": "survival", "target": "os", "time": "os_days", "event": "os_event", "horizons": [365, 1095]},
        "models": ["cox"],
        "validation": {"folds": 3},
        **changes,
    }
    (folder / "study.yaml").write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))
    return folder


def write_cohort(
    folder: Path, *, patients: int = 90, features: int = 8, effect: float = 1.0, seed: int = 0, sites: int = 3
) -> Path:
    """Tables of patients whose log hazard is `effect` times their first feature; days are whole, a third censored."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(patients, features))
    days = draw.exponential(900 / np.exp(effect * x[:, 0]))
    limit = draw.exponential(2000, patients)
    names = [f"S{i:03d}" for i in range(patients)]
    told = {"os_days": np.ceil(np.minimum(days, limit)).astype(int), "os_event": (days <= limit).astype(int)}
    site = [f"site-{'ABCDE'[i % sites]}" for i in range(patients)]
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame({"patient": names, "site": site, **told}).to_csv(folder / "patients.csv", index=False)
    table = pd.DataFrame(x, columns=[f"x{i}" for i in range(features)]).round(4)
    table.insert(0, "patient", names)
    table.to_csv(folder / "features.csv", index=False)
    return folder
