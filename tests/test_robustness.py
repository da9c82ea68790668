"""Faults on slides: a model that reads only colour falls under the stain fault and not under blur."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from phenolens.audit.robustness import audit_robustness
from phenolens.cli import app
from phenolens.core.errors import StudyError
from phenolens.report.build import build
from phenolens.run import run_study
from phenolens.slides.disturb import DOSES, Disturbance
from phenolens.slides.stain import stain_matrix
from phenolens.steps.cohort import read_cohort
from phenolens.steps.desk import Desk
from phenolens.steps.robustness import _tiles, balanced, spread
from phenolens.study import Study
from tests.slides.drawn_slides import scan, write_slide
from tests.small_study import QUIET

STAINS = {"pink": (0.30, 0.40), "violet": (0.45, 0.20)}
"""Haematoxylin and eosin, in optical density: the stain fault at 0.5 makes pink what violet is."""
ENCODER = '''"""Mean colour of a tile and nothing else."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Colour:
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "mean colour of a tile"
    reads: ClassVar[str] = "slide"
    makes: ClassVar[str] = "bag"
    licence: ClassVar[str] = "of the test"
    place: ClassVar[str] = "cpu"
    mpp: ClassVar[float | None] = None
    size_px: ClassVar[int | None] = None
    names: ClassVar[tuple[str, ...]] = ("red", "green", "blue")

    def load(self, device):
        return lambda tiles, mpp: tiles.mean((1, 2)).astype(np.float32)
'''


def write(folder: Path, patients: int = 20, **changes: object) -> Path:
    """A slide of about ten tiles a patient, whose tissue is stained in one of two ways."""
    (folder / "slides").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for i in range(patients):
        kind = list(STAINS)[i % 2]
        amounts = np.array([*STAINS[kind], 0.0]) * rng.normal(1, 0.04, 3)
        picture = np.full((300, 300, 3), 240.0)
        picture[45:255, 45:255] = 256 * 10 ** -(amounts @ stain_matrix()) - 1
        drawn = scan(Image.fromarray(picture.astype(np.uint8)), noise=12, seed=i)
        write_slide(folder / "slides" / f"s{i:02d}.tiff", drawn)
        rows.append({"patient": f"P{i:02d}", "site": "S", "kind": kind, "path": f"slides/s{i:02d}.tiff", "mpp": 0.5})
    table = pd.DataFrame(rows)
    table[["patient", "site", "kind"]].to_csv(folder / "patients.csv", index=False)
    table[["patient", "path", "mpp"]].to_csv(folder / "images.csv", index=False)
    (folder / "colour.py").write_text(ENCODER)
    study = {
        "study": "colours",
        "tiles": {"size_px": 64, "mpp": 0.5},
        "features": {"encoder": "colour.py:Colour"},
        "task": {"target": "kind"},
        "models": ["mean_pool"],
        "sign_offs": {"near-duplicate-patients": "synthetic slides of one outline, on purpose"},
        "validation": {"folds": 2},
        "explain": {"slides": 0},
        "quality": {"max_blur": None, "min_tissue_mm2": None},
        **changes,
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write(tmp_path_factory.mktemp("colours"))
    assert run_study(folder, workers=0, progress=QUIET).finished
    audit_robustness(folder, workers=0, progress=QUIET)
    return folder


def rows(folder: Path) -> pd.DataFrame:
    made = json.loads((folder / "results" / "robustness.json").read_text("utf-8"))
    return pd.DataFrame(made["rows"]).set_index(["fault", "dose", "measure"]).sort_index()


def test_a_model_of_colour_falls_under_the_stain_fault_and_not_under_blur(finished: Path) -> None:
    table = rows(finished)
    assert table.loc[("none", 0.0, "true_class"), "value"] > 0.8
    falls = [table.loc[("stain", dose, "change")] for dose in DOSES["stain"]]
    assert falls[0]["value"] > falls[1]["value"] > falls[2]["value"]
    assert falls[2]["value"] < -0.2
    assert falls[2]["high"] < 0
    assert table.loc[("stain", 0.5, "kept"), "value"] < 0.7
    for dose in DOSES["blur"]:
        assert abs(table.loc[("blur", dose, "change"), "value"]) < 0.05
        assert table.loc[("blur", dose, "kept"), "value"] == 1
        assert 0.8 < table.loc[("blur", dose, "kept"), "low"] < 1


def test_every_fault_and_dose_has_its_four_measures_with_their_patients(finished: Path) -> None:
    table = rows(finished)
    assert len(table) == 4 * (1 + sum(map(len, DOSES.values())))
    assert (table["n_patients"] == 20).all()
    assert table.loc[("none", 0.0, "change"), "value"] == 0
    areas = table.xs("macro_auc", level="measure")
    assert areas["value"].notna().all(), "20 patients, 10 of each class"


def test_undisturbed_tiles_are_predicted_as_they_were(finished: Path) -> None:
    """With no more tiles than are tested, dose 0 is the stored prediction."""
    stored = pd.read_csv(finished / "results" / "predictions.csv")
    stored = stored[stored["part"] == "test"]
    mean = np.mean([row[f"p_{row['truth']}"] for row in stored.to_dict("records")])
    assert rows(finished).loc[("none", 0.0, "true_class"), "value"] == pytest.approx(mean, abs=1e-12)


def test_no_more_tiles_of_a_unit_than_the_most_are_read_again(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(study=Study.load(finished), workers=0, progress=QUIET)
    whole = _tiles(desk, read_cohort(desk), {"P00", "P01"})
    monkeypatch.setattr("phenolens.steps.robustness.TILES", 5)
    fewer = _tiles(desk, read_cohort(desk), {"P00", "P01"})
    assert set(fewer) == {"P00", "P01"}
    for unit, (job,) in fewer.items():
        assert len(job.rows) == 5
        assert set(job.rows) < set(whole[unit][0].rows)


def test_a_second_call_reads_no_slide_and_gives_the_same_bytes(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = finished / "results" / "robustness.json"
    before = path.read_bytes()
    path.unlink()
    monkeypatch.setattr("phenolens.features._chunks.open_slide", None)
    said = audit_robustness(finished, workers=0, progress=QUIET)
    assert path.read_bytes() == before
    assert "moves most under stain 0.5" in said[0]


def test_the_command_line_measures_it_in_place_of_refitting(finished: Path) -> None:
    said = CliRunner().invoke(app, ["audit", str(finished), "--robustness", "--quiet", "--workers", "1"])
    assert said.exit_code == 0, said.output
    assert "moves most under stain 0.5" in said.output
    assert "report: " in said.output
    assert not (finished / "results" / "audit.json").exists()


def test_the_report_shows_it_beside_the_predictions_it_is_of_and_no_others(finished: Path) -> None:
    assert "Robustness to faults of slides" in build(finished).read_text("utf-8")
    path = finished / "results" / "robustness.json"
    kept = path.read_text("utf-8")
    try:
        path.write_text(json.dumps({**json.loads(kept), "predictions": "of another run"}))
        assert "Robustness to faults of slides" not in build(finished).read_text("utf-8")
    finally:
        path.write_text(kept)


def test_a_study_without_slides_says_what_cannot_be_done(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    who, label = [f"P{i:02d}" for i in range(20)], ["a", "b"] * 10
    pd.DataFrame({"patient": who, "site": "S", "kind": label}).to_csv(tmp_path / "patients.csv", index=False)
    pd.DataFrame(rng.normal(size=(20, 3))).add_prefix("f").assign(patient=who).to_csv(tmp_path / "f.csv", index=False)
    study = {"study": "t", "features": {"table": "f.csv"}, "task": {"target": "kind"}, "models": ["logistic"]}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({**study, "validation": {"folds": 2}}))
    assert run_study(tmp_path, workers=0, progress=QUIET).finished
    with pytest.raises(StudyError, match="a table of features, without images"):
        audit_robustness(tmp_path, workers=0, progress=QUIET)
    assert not (tmp_path / "results" / "robustness.json").exists()


def test_a_study_that_predicts_no_classes_is_refused(tmp_path: Path) -> None:
    study = {
        "study": "m",
        "features": {"encoder": "volume", "size": None},
        "task": {"kind": "segmentation"},
        "models": ["unet"],
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    with pytest.raises(StudyError, match="a study of segmentation"):
        audit_robustness(tmp_path, workers=0, progress=QUIET)


def test_a_study_that_was_not_run_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "new", patients=4)
    with pytest.raises(StudyError, match="no finished run"):
        audit_robustness(tmp_path / "new", workers=0, progress=QUIET)


def test_patients_are_chosen_class_by_class_whatever_their_order() -> None:
    table = pd.DataFrame({"patient": [f"P{i}" for i in range(60)], "truth": ["a"] * 50 + ["b"] * 10})
    table = table.assign(unit_id=table["patient"])
    chosen = balanced(table, 30)
    assert sum(int(p[1:]) >= 50 for p in chosen) == 10
    assert len(set(chosen)) == 30
    assert balanced(table.sample(frac=1, random_state=0), 30) == chosen


def test_tiles_are_taken_evenly_over_the_slides_of_a_unit() -> None:
    assert [list(r) for r in spread([2, 3], 40)] == [[0, 1], [0, 1, 2]]
    taken = spread([100, 0, 300], 40)
    assert [len(r) for r in taken] == [10, 0, 30]
    assert taken[2].max() == 299


def test_a_model_of_tiles_is_tested_and_its_other_votes_are_named_as_not_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cnn = {"backbone": "test_resnet", "weights": "none", "width": 8, "epochs": 1, "tiles_per_epoch": 16, "batch": 8}
    guard = {"out_of_distribution": False}
    folder = write(tmp_path, 8, features={"encoder": "pixels"}, models=[{"tile_cnn": cnn}], guard=guard)
    assert run_study(folder, workers=0, progress=QUIET).finished
    asked = [None, Disturbance(kind="stain", dose=0.5)]
    monkeypatch.setattr("phenolens.steps.robustness.faults", lambda: asked)
    tested, *others = audit_robustness(folder, workers=0, progress=QUIET)
    assert "tile_cnn: probability of the true class" in tested
    assert "moves most under stain 0.5" in tested
    why = "another vote of the tiles that tile_cnn judges, which is tested by its own"
    votes = [f"tile_cnn ({vote})" for vote in ("majority", "attention")]
    assert sorted(others) == sorted(f"{vote}: not tested: {why}" for vote in votes)
    clean = rows(folder).loc[("none", 0.0, "true_class")]
    assert (clean["model"], clean["n_patients"], clean["note"]) == ("tile_cnn", 8, "")
    page = build(folder).read_text("utf-8")
    assert all(f"{vote} was not tested: {why}." in page for vote in votes)
