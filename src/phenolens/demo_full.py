"""The four-phase study of sarcoma subtypes on a synthetic cohort, small enough for a workstation without a GPU."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from phenolens.core.progress import Progress
from phenolens.core.store import atomic
from phenolens.demo_backbones import SMALL, make_backbones
from phenolens.experiments import merged
from phenolens.recipes import folder_of
from phenolens.study import EXPERIMENTS, FILE

RECIPE = "sts-subtypes"
PUBLIC, TEST = 5, 3
"""Patients of a class in the public cohort, and in the test set of the archive."""
PATIENTS = 15
"""Patients of a class."""
SLIDE_PX = 2400
_FINE, _COARSE, _LOW = {"mpp": 1.0}, {"mpp": 2.5}, {"mpp": 8.0, "size_px": 32}
_TILES = {"size_px": 64, "max_per_patient": 40}
_MIL = {"epochs": 40, "patience": 8}
_CNN = {
    "epochs": 6,
    "patience": 3,
    "batch": 32,
    "tiles_per_epoch": 1024,
    "tune_tiles": 24,
    "width": 64,
    "learning_rate": 0.003,
    "backbone_rate": 0.003,
    "stem_share": 1.0,
    "stain": 0.3,
}


def overrides(weights: dict[str, Path], home: Path) -> dict[str, Any]:
    """What to change in the recipe's study file: small tiles, small networks, few epochs."""
    encoders = [
        {"timm": {"architecture": name, "weights": str(file.relative_to(home)), "tile_px": _TILES["size_px"]}}
        for name, file in weights.items()
    ]
    trained = {"backbone": {"best_of": "compare"}, **_CNN}
    cnn, held = [{"tile_cnn": trained}], {"holdout": "set == 'test'"}
    of = {
        "compare": {"features": {"encoder": encoders}, "models": [{"tile_head": {}}]},
        "mil": {"models": ["tile_head", *({name: _MIL} for name in ("abmil", "clam", "transmil"))], "validation": held},
        "finetune": {"models": cnn},
        "segment": {
            "tiles": {"mpp": 5.0, "size_px": 64, "step_px": 64},
            "models": [
                {"tile_unet": {"backbone": {"best_of": "compare"}, "epochs": 12, "tiles": 12, "learning_rate": 0.001}}
            ],
            "validation": {"folds": 3},
        },
        "automatic": {"models": cnn},
        "accelerate": {"tiles": _COARSE, "models": cnn},
        "distil": {"tiles": _COARSE, "models": [{"tile_cnn": {**trained, "distill": 1.0, "temperature": 1.0}}]},
        "fastest": {"tiles": _LOW, "models": cnn},
    }
    return {
        "quality": {"min_tissue_mm2": 0.02},
        "tiles": {**_TILES, **_FINE},
        "explain": {"slides": 3},
        EXPERIMENTS: of,
    }


def complete(folder: Path, *, workers: int | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """Give a synthetic cohort in `folder` its two cohorts and its test set, and backbones; returns the study file."""
    path = folder / "patients.csv"
    table = pd.read_csv(path, dtype=str)
    with atomic(path) as part:
        parted(table).to_csv(part, index=False, lineterminator="\n")
    weights = make_backbones(folder / "backbones", SMALL, workers=workers, progress=progress)
    template = yaml.safe_load((folder_of(RECIPE) / "full" / FILE).read_text("utf-8"))
    return merged(template, overrides(weights, folder))


def parted(patients: pd.DataFrame) -> pd.DataFrame:
    """The table with the columns cohort and set: of each class the first PUBLIC patients are public, the last TEST of
    the others are the test set. Ids were dealt at random, so this is random too."""
    of, total = Counter[str](), Counter(patients["subtype"])
    rows = []
    for label in patients["subtype"]:
        of[label] += 1
        public = of[label] <= PUBLIC
        last = of[label] > total[label] - TEST
        rows.append(("public" if public else "archive", "" if public else "test" if last else "train"))
    return patients.assign(cohort=[r[0] for r in rows], set=[r[1] for r in rows])
