"""A study over features that TRIDENT made: no slide is needed, and what the study cannot use is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml

from phenolens.core.errors import StudyError
from phenolens.run import check, run_study
from phenolens.study import Study
from tests.small_study import QUIET

WITHOUT = "slide-05"


def asked(folder: Path, **changes: object) -> Path:
    content = {
        "study": "elsewhere",
        "features": {"folder": "features"},
        "task": {"target": "dx"},
        "models": ["mean_pool", {"abmil": {"epochs": 2}}],
        "validation": {"folds": 2},
        "explain": {"slides": 2},
        **changes,
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    return folder


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Twelve patients with files as TRIDENT writes them, one without; the slides are in an archive far away."""
    rng = np.random.default_rng(0)
    (tmp_path / "features").mkdir()
    names = [f"slide-{i:02d}" for i in range(12)]
    labels = ["AB"[i % 2] for i in range(12)]
    for name, label in zip(names, labels, strict=True):
        if name == WITHOUT:
            continue
        n = int(rng.integers(4, 9))
        with h5py.File(tmp_path / "features" / f"{name}.h5", "w") as file:
            file["features"] = rng.normal(size=(n, 8)).astype("f4") + (label == "A")
            coords = file.create_dataset("coords", data=np.stack([np.arange(n) * 448, np.zeros(n, int)], 1))
            coords.attrs.update(patch_size_level0=448, level0_magnification=40)
    patients = [f"P{i:02d}" for i in range(12)]
    pd.DataFrame({"patient": patients, "dx": labels}).to_csv(tmp_path / "patients.csv", index=False)
    paths = [f"/archive/{name}.svs" for name in names]
    pd.DataFrame({"patient": patients, "path": paths}).to_csv(tmp_path / "images.csv", index=False)
    return asked(tmp_path)


def test_a_study_over_features_runs_to_its_end_without_a_slide(study: Path) -> None:
    assert run_study(study, workers=0, progress=QUIET).finished
    images = pd.read_csv(study / "results" / "images.csv").set_index("image")
    assert set(images.index[images["status"] != "used"]) == {WITHOUT}
    assert images.loc[WITHOUT, "status"] == "missing"
    assert (images.drop(WITHOUT)["tiles_used"] >= 4).all()
    test = pd.read_csv(study / "results" / "predictions.csv").query("part == 'test'")
    assert test["patient"].nunique() == 11
    manifest = json.loads((study / "results" / "manifest.json").read_text())
    assert [step["n"] for step in manifest["flow"]][-3:] == [11, 11, 11]
    assert "tiles" not in manifest["study"]
    maps = json.loads((study / "results" / "maps" / "index.json").read_text())
    assert maps
    assert all(m["picture"] == "" for m in maps)


def test_check_names_the_image_without_features_and_asks_for_no_slide(study: Path) -> None:
    found = check(study, workers=0, progress=QUIET)
    (missing,) = [f for f in found.findings if f.rule == "image-unusable"]
    assert f"{WITHOUT}.h5" in missing.what
    assert not any(f.rule == "file-not-found" for f in found.findings)
    assert any("11 images" in line for line in found.summary)


def test_a_feature_file_copied_under_another_patient_is_an_error_that_names_both(study: Path) -> None:
    shutil.copy(study / "features" / "slide-00.h5", study / "features" / "slide-07.h5")
    found = {f.rule: f for f in check(study, workers=0, progress=QUIET).findings}["one-person-twice"]
    assert (found.severity, found.who) == ("error", ("P00", "P07"))
    assert "slide-00.h5 (P00), slide-07.h5 (P07) have equal content" in found.what


def test_another_content_of_a_feature_file_is_fitted_again(study: Path) -> None:
    asked(study, models=["mean_pool"])
    run_study(study, workers=0, until="models", progress=QUIET)
    before = (study / "results" / "predictions.csv").read_bytes()
    with h5py.File(study / "features" / "slide-00.h5", "r+") as file:
        file["features"][...] = file["features"][...] + 3
    run_study(study, workers=0, until="models", progress=QUIET)
    assert (study / "results" / "predictions.csv").read_bytes() != before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tiles": {"mpp": 0.5}}, "tiles beside features.folder"),
        ({"region": {"annotation": "Tumor"}}, "region beside features.folder"),
        ({"features": {"folder": "features", "tile_size": 224}}, "did you mean 'tile_um'"),
        ({"features": {"folder": "features", "tile_um": "wide"}}, "the side of a tile"),
    ],
)
def test_what_features_made_elsewhere_cannot_obey_is_refused(
    study: Path, change: dict[str, object], words: str
) -> None:
    with pytest.raises(StudyError, match=words):
        Study.load(asked(study, **change))
