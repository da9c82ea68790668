"""A study that normalises its slides: other features, and a stored model that normalises what it is given."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from phenolens.predict import predict_images
from phenolens.run import run_study
from tests.small_study import QUIET, write_cohort, write_study


@pytest.mark.slow
def test_features_are_made_of_normalised_tiles_and_predict_does_the_same(tmp_path: Path) -> None:
    folder = write_cohort(tmp_path)
    asked = {"size_px": 128, "mpp": 0.5, "max_per_patient": 12}
    changes = {"models": ["mean_pool"], "explain": {"slides": 0}}
    found = {}
    for stain in ("none", "macenko"):
        write_study(folder, tiles={**asked, "stain": stain}, **changes)
        assert run_study(folder, workers=1, progress=QUIET, new_splits=stain != "none").finished
        found[stain] = json.loads((folder / "results/models/mean_pool/final/config.json").read_text())
    assert "normalised" not in found["none"]["context"]
    assert found["macenko"]["context"]["normalised"] == "macenko"
    made = {}
    for file in (folder / "artefacts" / "features").rglob("*.h5"):
        with h5py.File(file) as held:
            made.setdefault(held.attrs["image"], []).append(held["features"][...])
    assert all(len(two) == 2 and not np.allclose(*two) for two in made.values())
    model = folder / "results" / "models" / "mean_pool" / "final"
    predict_images(model, [folder / "slides" / "P003-A.svs"], tmp_path / "out", workers=1, progress=QUIET)
    (written,) = (tmp_path / "out" / "artefacts" / "features").rglob("*.json")
    assert "macenko" in written.read_text()
    assert pd.read_csv(tmp_path / "out" / "predictions.csv").loc[0, "tiles"] > 0
