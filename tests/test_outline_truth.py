"""Slow: on a synthetic cohort whose tumour differs in texture, held-out patients are outlined well."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from phenolens.run import run_study
from tests.small_slides import QUICK, write_outline_study
from tests.small_study import QUIET, write_cohort


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_mean_dice_of_held_out_patients_is_at_least_085(tmp_path: Path, seed: int) -> None:
    folder = write_cohort(tmp_path, patients=3, slide_px=2000, seed=seed)
    model = {**QUICK, "width": 16, "tiles": 8, "epochs": 20, "patience": 6, "smooth_um": 15.0}
    write_outline_study(
        folder,
        where="subtype != 'none'",
        tiles={"size_px": 96, "mpp": 2.5, "step_px": 48},
        region={"min_overlap": 0.3},
        quality={"min_tissue_mm2": 0.02},
        task={"kind": "segmentation", "target": "Tumor", "tolerance_um": 100},
        models=[{"tile_unet": model}],
        validation={"folds": 2, "tune": 0.25, "seed": seed},
    )
    assert run_study(folder, workers=0, progress=QUIET).finished
    made = pd.read_csv(folder / "results" / "estimates.csv")
    whole = made[made["subgroup"] == "all"].set_index("metric")["value"]
    assert whole["dice"] >= 0.85, whole.to_dict()
