"""A patient with few tiles is used with what there is, and named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.small_slides import blob, write_annotations, write_slides
from tests.small_study import QUIET, write_study

from phenolens.core.progress import Progress
from phenolens.run import check, run_study
from phenolens.slides.prepare import SlideJob
from phenolens.steps.desk import Desk
from phenolens.steps.slides import few_tiles
from phenolens.steps.states import ImageState, States
from phenolens.study import Study


def desk_of(folder: Path, unit: str = "patient", **tiles: object) -> Desk:
    write_study(folder, tiles={"size_px": 64, "mpp": 1.0, **tiles}, task={"target": "kind", "unit": unit})
    return Desk(study=Study.load(folder), workers=0, progress=Progress("quiet"))


def states(**tiles: int) -> States:
    """Image "P1_a" is of patient P1."""
    made = {}
    for image, n in tiles.items():
        job = SlideJob(patient=image.partition("_")[0], image=image, path=f"{image}.tif")
        made[image] = ImageState(job=job, site="S", tiles=n)
    return made


def test_a_slide_with_12_tiles_where_2000_are_asked_is_named_with_its_number(tmp_path: Path) -> None:
    (found,) = few_tiles(desk_of(tmp_path, max_per_patient=2000), states(P1_a=1900, P2_a=12, P3_a=2500))
    assert (found.rule, found.severity, found.who) == ("few-tiles", "warning", ("P2",))
    assert found.what == "1 of 3 patients have less than 10% of the 2,000 tiles that tiles.max_per_patient asks for: P2 / P2_a (12)"  # fmt: skip  # noqa: E501
    assert "draw a larger region" in found.todo


def test_the_slides_of_a_patient_count_together_and_images_that_are_predicted_alone(tmp_path: Path) -> None:
    held = states(P1_a=190, P1_b=12, P2_a=400)
    assert few_tiles(desk_of(tmp_path, max_per_patient=2000), held) == []
    (found,) = few_tiles(desk_of(tmp_path, unit="image", max_per_patient=2000), held)
    assert "2 of 3 images" in found.what
    assert "P1 / P1_a (190), P1 / P1_b (12)" in found.what


def test_where_no_number_is_asked_for_the_patient_in_the_middle_is_the_measure(tmp_path: Path) -> None:
    (found,) = few_tiles(desk_of(tmp_path), states(P1_a=150, P2_a=12, P3_a=140))
    assert "the 140 tiles that the one in the middle has: P2 / P2_a (12)" in found.what
    assert few_tiles(desk_of(tmp_path), states(P1_a=15, P2_a=12, P3_a=14)) == []
    assert few_tiles(desk_of(tmp_path), {}) == []


def test_slides_that_are_left_out_are_not_counted(tmp_path: Path) -> None:
    held = states(P1_a=1900, P2_a=0)
    held["P2_a"].status = "quarantined"
    assert few_tiles(desk_of(tmp_path, max_per_patient=2000), held) == []


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort with three slides whose annotation cannot be used, and one with hardly any tumour."""
    folder = write_slides(tmp_path_factory.mktemp("slides"), patients=12)
    draw = np.random.default_rng(0)
    write_annotations(folder / "annotations" / "P00.geojson", [(blob((300, 200), 50, draw), "Necrosis")])
    write_annotations(folder / "annotations" / "P01.geojson", [(blob((3000, 200), 50, draw), "Tumor")])
    write_annotations(folder / "annotations" / "P02.geojson", [(blob((320, 260), 17, draw), "Tumor")])
    write_study(
        folder,
        region={"annotation": "Tumor"},
        tiles={"size_px": 16, "mpp": 2.0, "max_per_patient": 100},
        features={"encoder": "pathomics"},
        quality={"min_tissue_mm2": 0.0},
        task={"target": "kind"},
        models=["mean_pool"],
        explain={"slides": 0},
    )
    assert run_study(folder, workers=0, progress=QUIET).finished
    return folder


def test_bad_slides_never_stop_a_cohort_and_are_listed_with_patient_file_and_what_to_do(ran: Path) -> None:
    out = pd.read_csv(ran / "results" / "quarantine.csv").set_index("patient")
    assert list(out.index) == ["P00", "P01"]
    assert list(out["file"]) == ["annotations/P00.geojson", "annotations/P01.geojson"]
    assert out["reason"]["P00"].startswith("found annotation class 'Tumor' not found; classes in this file: Necrosis")
    assert "wholly outside the slide; expected level-0 coordinates within" in out["reason"]["P01"]
    assert set(pd.read_csv(ran / "results" / "predictions.csv")["patient"]) == {f"P{i:02d}" for i in range(2, 12)}


def test_a_slide_with_few_tiles_is_predicted_and_stands_among_the_findings(ran: Path) -> None:
    (found,) = [f for f in json.loads((ran / "results" / "findings.json").read_text()) if f["rule"] == "few-tiles"]
    used = pd.read_csv(ran / "results" / "images.csv").set_index("patient").loc["P02", "tiles_used"]
    assert 0 < used < 10
    assert f"P02 / P02-HE ({used})" in found["what"]
    assert found["who"] == ["P02"]


def test_check_names_the_file_of_each_slide_that_will_be_left_out(ran: Path) -> None:
    found = check(ran, workers=0, progress=QUIET).findings
    told = {f.who[0]: f.where for f in found if f.rule == "image-unusable"}
    assert {who: Path(where).name for who, where in told.items()} == {"P00": "P00.geojson", "P01": "P01.geojson"}
