"""A study of scans small enough for a test: NIfTI files with a planted difference, seconds to run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK
import yaml

from phenolens.core.types import FloatArray

SEQUENCES = ("T1", "T2")
SHAPE = (10, 20, 20)
"""z, y, x."""
SPACING = (2.0, 2.0, 3.0)


def lesion(rng: np.random.Generator) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A ball of 3 to 5 voxels somewhere in the middle."""
    z, y, x = np.indices(SHAPE)
    at = np.array([4.5, 9.5, 9.5]) + rng.uniform(-1.5, 1.5, 3)
    radius = rng.uniform(3.2, 4.5)
    inside = ((z - at[0]) * 1.5) ** 2 + (y - at[1]) ** 2 + (x - at[2]) ** 2 < radius**2
    return inside.astype(np.uint8)


def scan(rng: np.random.Generator, inside: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], rough: float) -> FloatArray:
    """Noise around 100; inside the lesion brighter, and rougher by `rough`."""
    x = rng.normal(100, 5, SHAPE) + inside * (30 + rng.normal(0, 5 + rough, SHAPE))
    return x.astype(np.float32)


def save(array: np.ndarray[tuple[int, ...], np.dtype[np.float32 | np.uint8]], path: Path, shift: float = 0.0) -> Path:
    """Write a NIfTI with SPACING and an origin moved by `shift` mm."""
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    image.SetOrigin((shift, shift, shift))
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(path))
    return path


def write_scans(folder: Path, *, patients: int = 12, missing: float = 0.2, rough: float = 25.0, seed: int = 0) -> Path:
    """Images, masks and tables of a two-class cohort: in T2 the lesions of class 'rough' have more texture.

    About `missing` of the T1 images are not there; one mask is empty, one image is broken off.
    """
    rng = np.random.default_rng(seed)
    people, rows = [], []
    for i in range(2 * patients):
        name, label = f"P{i:02d}", ("rough", "smooth")[i % 2]
        people.append({"patient": name, "site": f"S{i % 3}", "kind": label})
        inside = lesion(rng)
        for sequence in SEQUENCES:
            x = scan(rng, inside, rough if (label, sequence) == ("rough", "T2") else 0.0)
            gone = sequence == "T1" and rng.random() < missing
            if gone and i > 1:
                continue
            image = save(x, folder / "scans" / name / f"{sequence}.nii.gz")
            mask = save(inside, folder / "scans" / name / f"{sequence}_mask.nii.gz")
            where = {"path": image.relative_to(folder), "mask": mask.relative_to(folder)}
            rows.append({"patient": name, "kind": "scan", "sequence": sequence, **where, "image": f"{name}-{sequence}"})
    save(np.zeros(SHAPE, np.uint8), folder / "scans" / "P00" / "T1_mask.nii.gz")
    broken = folder / "scans" / "P01" / "T1.nii.gz"
    broken.write_bytes(broken.read_bytes()[:200])
    pd.DataFrame(people).to_csv(folder / "patients.csv", index=False)
    pd.DataFrame(rows).to_csv(folder / "images.csv", index=False)
    return folder


def write_scan_study(folder: Path, **changes: object) -> Path:
    """study.yaml for `write_scans`; `changes` replace top-level keys, None takes one out."""
    content: dict[str, object] = {
        "study": "small-scans",
        "scan": {"sequences": list(SEQUENCES), "intensity": {"scale": "zscore", "over": "body"}},
        "features": {"encoder": "radiomics", "spacing_mm": 2.0, "bins": 16},
        "task": {"target": "kind"},
        "models": [{"logistic": {"missing": "impute"}}],
        "validation": {"folds": 3},
        **changes,
    }
    (folder / "study.yaml").write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))
    return folder
