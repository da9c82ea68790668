"""A synthetic study small enough for a test: real files, seconds to run."""

from __future__ import annotations

from pathlib import Path

import yaml

from phenolens.core.progress import Progress
from phenolens.synth.cohort import design_for, make

QUIET = Progress("quiet")


def write_study(folder: Path, **changes: object) -> Path:
    """study.yaml for `write_cohort`; `changes` replace top-level keys, None takes one out."""
    content: dict[str, object] = {
        "study": "small",
        "region": {"annotation": "Tumor", "min_annotation_share": 0.35},
        "tiles": {"size_px": 128, "mpp": 0.5, "max_per_patient": 12},
        "features": {"encoder": "pathomics"},
        "task": {"target": "subtype"},
        "models": ["mean_pool", {"abmil": {"epochs": 5}}],
        "validation": {"folds": 2},
        "explain": {"slides": 2, "tiles": 2},
        **changes,
    }
    (folder / "study.yaml").write_text(
        yaml.safe_dump({k: v for k, v in content.items() if v is not None}, sort_keys=False)
    )
    return folder


def write_cohort(folder: Path, *, patients: int = 3, slide_px: int = 700, signal: float = 1.0, seed: int = 0) -> Path:
    """Slides, annotations and tables of a four-class cohort, with the planted faults of the demo."""
    design = design_for("sts-subtypes", patients_per_class=patients, slide_px=slide_px, signal=signal, seed=seed)
    make(folder, design, workers=0, progress=QUIET)
    return folder
