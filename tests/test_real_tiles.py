"""Slow tests: real tiles of four sarcomas through the path of a study; four cases allow folds and no claim."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from phenolens.core.errors import CohortError
from phenolens.run import run_study
from tests.small_study import QUIET
from tests.test_real import write

pytestmark = pytest.mark.slow

NETWORK = {
    "backbone": "test_resnet",
    "weights": "none",
    "width": 16,
    "learning_rate": 0.002,
    "backbone_rate": 0.002,
    "epochs": 2,
    "tiles_per_epoch": 128,
    "batch": 16,
    "workers": 1,
}


def sarcomas(folder: Path, place: Path, cases: Sequence[str], count: int) -> Path:
    """A study of the tissue of 60 pictures of 1,024 px of four cases, or of those of some, in so many folds."""
    known = pd.read_csv(place / "labels.csv")
    known = known[known["case_from_filename"].isin(cases)]
    rows: list[dict[str, object]] = [
        {"patient": r.case_from_filename, "path": str(place / str(r.file)), "tissue": r.label, "mpp": 1.0}
        for r in known.itertuples()
    ]
    return write(
        folder,
        rows,
        dict.fromkeys(cases, "unused"),
        region={"tissue": "none"},
        quality={"min_saturation": None, "max_blur": None},
        tiles={"size_px": 64, "mpp": 4.0},
        features={"encoder": "pixels"},
        task={"target": "tissue", "unit": "image"},
        models=[{"tile_cnn": NETWORK}],
        validation={"folds": count},
    )


def test_four_cases_of_osteosarcoma_run_by_tiles_and_claim_nothing(tmp_path: Path, real_data: Path) -> None:
    cases = ("Case-3", "Case-4", "Case-48", "P9")
    folder = sarcomas(tmp_path, real_data / "tiles" / "osteosarcoma", cases, 4)
    run_study(folder, workers=0, progress=QUIET)
    predictions = pd.read_csv(folder / "results" / "predictions.csv").query("part == 'test' and model == 'tile_cnn'")
    assert len(predictions) == 60
    assert (predictions.groupby("patient")["fold"].nunique() == 1).all()
    made = pd.read_csv(folder / "results" / "estimates.csv")
    auc = made[made["metric"].isin(["auc", "macro_auc"])]
    assert auc["value"].isna().all()
    assert auc["note"].str.contains("10 needed").all()
    assert set(made["n_patients"]) == {4}
    by_tile = pd.read_csv(folder / "results" / "tile_estimates.csv")
    assert set(by_tile["n_patients"]) == {4}


def test_cases_that_allow_no_fold_are_named_with_the_reason(tmp_path: Path, real_data: Path) -> None:
    place = real_data / "tiles" / "osteosarcoma"
    folder = sarcomas(tmp_path / "five", place, ("Case-3", "Case-4", "Case-48", "P9"), 5)
    with pytest.raises(CohortError, match=r"4 patients for 5 folds.*set validation.folds to 4 or fewer"):
        run_study(folder, workers=0, progress=QUIET)
    folder = sarcomas(tmp_path / "three", place, ("Case-3", "Case-48", "P9"), 3)
    alone = r"each class has one patient left, Non-Viable-Tumor \(Case-3\), Viable \(Case-48\)"
    with pytest.raises(CohortError, match=alone):
        run_study(folder, workers=0, progress=QUIET)
