"""A study over a feature table, small enough for a test: tables only, seconds to run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import yaml


def write_table_study(
    folder: Path, *, patients: int = 60, features: int = 12, seed: int = 0, **changes: object
) -> Path:
    """patients.csv (dx, site, age, sex, dates), features.csv and study.yaml; `changes` replace keys of the study.

    Features are noise with a weak signal in the first; sites and sexes do not depend on the label.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    ids = [f"P{i:03d}" for i in range(patients)]
    dx = ["ab"[i % 2] for i in range(patients)]
    people = {
        "patient": ids,
        "dx": dx,
        "site": [f"S{i // 2 % 3}" for i in range(patients)],
        "age": rng.integers(30, 85, patients),
        "sex": ["fm"[i // 2 % 2] for i in range(patients)],
        "t0": [f"2020-{1 + i % 12:02d}-10" for i in range(patients)],
        "relapse_on": ["2021-06-01" if i % 2 else "" for i in range(patients)],
    }
    pd.DataFrame(people).to_csv(folder / "patients.csv", index=False)
    x = rng.normal(size=(patients, features))
    x[:, 0] += [0.8 * (label == "b") for label in dx]
    table = pd.DataFrame(x, columns=[f"texture_{j}" for j in range(features)])
    table.insert(0, "patient", ids)
    table.to_csv(folder / "features.csv", index=False)
    content: dict[str, object] = {
        "study": "small-table",
        "features": {"table": "features.csv"},
        "task": {"target": "dx"},
        "models": ["logistic"],
        "validation": {"folds": 3},
        **changes,
    }
    (folder / "study.yaml").write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))
    return folder


def edit(path: Path, **columns: object) -> None:
    """Replace or add columns of a table, each given as a function of the table or as values."""
    table = pd.read_csv(path, dtype={"patient": str})
    table.assign(**columns).to_csv(path, index=False)
