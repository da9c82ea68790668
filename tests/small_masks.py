"""A segmentation study small enough for a test: bright balls in noise on two grids, seconds to fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import SimpleITK
import yaml

SHAPES = ((12, 24, 22), (20, 20, 24))
"""z, y, x, of the scans of every other patient."""
SPACINGS = ((2.0, 2.0, 3.0), (2.5, 2.5, 2.0))
QUICK = {"patch": 16, "width": 6, "levels": 2, "patches": 2, "augment": False, "epochs": 16, "learning_rate": 0.01}


def _save(array: np.ndarray[Any, np.dtype[np.float32 | np.uint8]], path: Path, spacing: tuple[float, ...]) -> None:
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin((-20.0, 10.0, 5.0))
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(path))


def write_balls(folder: Path, *, patients: int = 9, first: int = 0, seed: int = 0) -> Path:
    """Scans, masks and tables: a bright ball of 7 to 10 mm; the label `kind` is whether its inside is rough."""
    people, rows = [], []
    for i in range(first, first + patients):
        rng = np.random.default_rng([seed, i])
        name, rough = f"P{i:02d}", bool(i % 2)
        shape, spacing = SHAPES[i % 2], SPACINGS[i % 2]
        at = [np.arange(n) * s for n, s in zip(shape, spacing[::-1], strict=True)]
        centre = [(a[-1] / 2) + rng.uniform(-5, 5) for a in at]
        z, y, x = np.meshgrid(*at, indexing="ij")
        inside = (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 < rng.uniform(7, 10) ** 2
        values = rng.normal(100, 6, shape) + inside * (60 + rng.normal(0, 20 if rough else 1, shape))
        _save(values.astype(np.float32), folder / "scans" / f"{name}.nii.gz", spacing)
        _save(inside.astype(np.uint8), folder / "scans" / f"{name}_mask.nii.gz", spacing)
        people.append({"patient": name, "site": f"S{i % 3}", "kind": "rough" if rough else "smooth"})
        where = {"path": f"scans/{name}.nii.gz", "mask": f"scans/{name}_mask.nii.gz"}
        rows.append({"patient": name, "kind": "scan", "sequence": "CT", **where, "image": f"{name}-CT"})
    pd.DataFrame(people).to_csv(folder / "patients.csv", index=False)
    pd.DataFrame(rows).to_csv(folder / "images.csv", index=False)
    return folder


def write_mask_study(folder: Path, **changes: object) -> Path:
    """study.yaml of a segmentation of `write_balls`; `changes` replace top-level keys, None takes one out."""
    content: dict[str, object] = {
        "study": "small-masks",
        "scan": {"intensity": {"scale": "zscore", "over": "body"}},
        "features": {"encoder": "volume", "size": None, "spacing_mm": 3.0},
        "task": {"kind": "segmentation"},
        "models": [{"unet": QUICK}],
        "validation": {"folds": 3},
        **changes,
    }
    (folder / "study.yaml").write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))
    return folder
