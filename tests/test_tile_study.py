"""Slow test: one small study of a network on tiles, from slides to report, maps and predictions of a new slide."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from phenolens.audit.study import audit_study
from phenolens.predict import predict_images
from phenolens.report.build import build
from phenolens.run import run_study
from tests.small_study import QUIET, write_cohort, write_study

pytestmark = pytest.mark.slow

NETWORK = {"backbone": "test_resnet", "weights": "none", "epochs": 2, "tiles_per_epoch": 64, "width": 16, "workers": 1}
VOTES = ["tile_cnn", "tile_cnn (attention)", "tile_cnn (majority)"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_study(
        write_cohort(tmp_path_factory.mktemp("study")),
        tiles={"size_px": 64, "mpp": 1.0, "max_per_patient": 12},
        features={"encoder": "pixels"},
        models=[{"tile_cnn": NETWORK}],
        explain={"slides": 2, "tiles": 2, "methods": ["tile_probability", "attention"]},
    )
    assert run_study(folder, workers=0, progress=QUIET).finished
    return folder


def test_every_vote_reaches_predictions_estimates_comparison_and_the_page(finished: Path) -> None:
    results = finished / "results"
    for file in ("predictions.csv", "estimates.csv"):
        assert sorted(set(pd.read_csv(results / file)["model"])) == VOTES
    build(finished)
    page = (finished / "report.html").read_text("utf-8")
    assert all(vote in page for vote in VOTES)
    assert [p.name for p in (results / "models").iterdir()] == ["tile_cnn"]
    assert not (finished / "artefacts" / "checkpoints").exists() or not list(
        (finished / "artefacts" / "checkpoints").rglob("*.safetensors")
    )


def test_maps_show_each_tile_s_probability_and_attention(finished: Path) -> None:
    index = json.loads((finished / "results" / "maps" / "index.json").read_text("utf-8"))
    assert {m["method"] for m in index} == {"tile_probability", "attention"}
    assert all((finished / m["picture"]).exists() and m["tiles"] for m in index)


def test_a_new_slide_is_predicted_with_its_maps(finished: Path, tmp_path: Path) -> None:
    images = pd.read_csv(finished / "results" / "images.csv")
    used = images[images["status"] == "used"].iloc[0]
    table = pd.read_csv(finished / "images.csv")
    slide = finished / table[table["patient"] == used["patient"]].iloc[0]["path"]
    model = finished / "results" / "models" / "tile_cnn" / "final"
    told = predict_images(model, [slide], tmp_path / "out", workers=0, progress=QUIET)
    row = pd.read_csv(tmp_path / "out" / "predictions.csv").iloc[0]
    assert told.refused == 0, told.lines
    assert row["tiles"] > 1
    maps = row["maps"].split()
    assert {Path(m).stem.rpartition("-")[2] for m in maps} == {"attention", "occlusion", "tile_probability"}
    for name in maps:
        with Image.open(tmp_path / "out" / name) as picture:
            assert min(picture.size) > 100


def test_an_audit_says_that_refits_on_tiles_were_not_run(finished: Path) -> None:
    audit_study(finished, permutations=19, workers=0, progress=QUIET)
    (told,) = json.loads((finished / "results" / "audit.json").read_text("utf-8"))["permutation"]
    assert told["p"] is None
    assert "whose refits on tiles take minutes each" in told["why"]
