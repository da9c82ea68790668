"""What a fold's model takes over from another experiment: weights, and a teacher's word; and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from phenolens.cli import app
from phenolens.core.errors import LeakError, StudyError
from phenolens.core.progress import Progress
from phenolens.experiments import experiments
from phenolens.run import check
from phenolens.steps.desk import Desk
from phenolens.steps.transfer import lending, starting
from phenolens.study import Study
from tests.small_study import write_cohort, write_study

CNN = {"backbone": "test_resnet", "epochs": 1, "tiles_per_epoch": 32, "batch": 8, "width": 8}
ASKED = {
    "fine": {"models": [{"tile_cnn": {**CNN, "weights": "none"}}]},
    "coarse": {
        "tiles": {"size_px": 32, "mpp": 2.0},
        "models": [{"tile_cnn": {**CNN, "distill": 0.5}}],
        "transfer": {"start": "fine", "teacher": "fine"},
    },
}
COMMON = {
    "tiles": {"size_px": 32, "mpp": 1.0, "max_per_patient": 8},
    "features": {"encoder": "pixels"},
    "guard": {"out_of_distribution": False},
    "explain": {"methods": ["tile_probability"], "slides": 1, "tiles": 1},
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_cohort(tmp_path_factory.mktemp("cohort"), slide_px=500)
    write_study(folder, **{**COMMON, "models": None, "experiments": ASKED})
    result = CliRunner().invoke(app, ["run", str(folder), "--workers", "1", "--quiet"])
    assert result.exit_code == 0, result.output
    return folder


def desk_of(folder: Path, name: str) -> Desk:
    study = Study.load(folder / "experiments" / name)
    return Desk(study=study, workers=0, progress=Progress("quiet"))


def config(folder: Path, name: str, place: str) -> dict:
    path = folder / "experiments" / name / "results" / "models" / "tile_cnn" / place / "config.json"
    return json.loads(path.read_text())


def test_each_fold_starts_from_the_model_of_the_same_fold(ran: Path) -> None:
    for place in ("0-0", "0-1", "final"):
        begun = config(ran, "coarse", place)["fitted"]["start"]
        assert begun["weights_sha256"] == config(ran, "fine", place)["weights_sha256"]


def test_no_test_patient_was_seen_by_what_was_taken_over(ran: Path) -> None:
    table = pd.read_csv(ran / "experiments" / "coarse" / "results" / "predictions.csv")
    test = table[table["part"] == "test"]
    for fold, rows in test.groupby("fold"):
        known = config(ran, "coarse", f"0-{fold}")
        assert not set(rows["patient"]) & set(known["training_patients"])
        assert set(known["fitted"]["start"]["patients"]) <= set(known["training_patients"])


def test_maps_are_drawn_of_models_that_took_something_over(ran: Path) -> None:
    index = json.loads((ran / "experiments" / "coarse" / "results" / "maps" / "index.json").read_text())
    assert {entry["model"] for entry in index} == {"tile_cnn"}
    assert all((ran / "experiments" / "coarse" / entry["picture"]).exists() for entry in index)


def test_every_vote_has_rows_and_estimates_by_patient_and_by_tile(ran: Path) -> None:
    results = ran / "experiments" / "coarse" / "results"
    votes = {"tile_cnn", "tile_cnn (majority)", "tile_cnn (attention)"}
    assert set(pd.read_csv(results / "predictions.csv")["model"]) == votes
    tiles = pd.read_csv(results / "tile_estimates.csv")
    assert {"accuracy", "macro_precision", "macro_recall"} <= set(tiles["metric"])
    page = (ran / "report.html").read_text()
    assert "By tile, cross-validation" in page
    assert "By patient, cross-validation" in page


def test_a_teacher_speaks_of_training_patients_alone(ran: Path) -> None:
    made = sorted((ran / "artefacts" / "soft").rglob("*.safetensors"))
    fits = {json.loads(p.with_suffix(".json").read_text())["teacher"] for p in made}
    assert fits == {config(ran, "fine", place)["key"] for place in ("0-0", "0-1", "final")}


def test_a_fold_whose_test_patients_the_other_model_saw_is_refused_by_name(ran: Path, tmp_path: Path) -> None:
    desk = desk_of(ran, "coarse")
    from phenolens.cohort import split

    splits = split.read(desk.results / "splits.csv")
    shutil.copytree(ran / "experiments" / "fine" / "results" / "models", tmp_path / "results" / "models")
    shutil.rmtree(tmp_path / "results" / "models" / "tile_cnn" / "0-0")
    first = next(s for s in splits if s.fold == 0)
    with pytest.raises(LeakError, match="may take over") as error:
        lending(desk, tmp_path, "tile_cnn", first)
    assert any(p in str(error.value) for p in first.test)


def test_a_study_that_did_not_run_lends_nothing(ran: Path, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no fitted tile_cnn"):
        lending(desk_of(ran, "coarse"), tmp_path, "tile_cnn", None)


def test_a_start_takes_the_place_of_weights(ran: Path) -> None:
    desk = desk_of(ran, "coarse")
    choice = replace(desk.study.model_choices()[0], params={"weights": "none"})
    assert set(starting(desk, choice, None).params) == {"start"}


@pytest.mark.parametrize("key", ["start", "teacher"])
def test_cross_conformal_sets_of_what_the_same_patients_lent_are_refused_by_check(
    ran: Path, tmp_path: Path, key: str
) -> None:
    folder = Path(shutil.copytree(ran, tmp_path / "s", ignore=shutil.ignore_patterns("artefacts", "experiments")))
    coarse = {**ASKED["coarse"], "transfer": {key: "fine"}, "guard": {"conformal": "cross"}}
    write_study(folder, **{**COMMON, "models": None, "experiments": {**ASKED, "coarse": coarse}})
    result = CliRunner().invoke(app, ["check", str(folder), "--workers", "1", "--quiet"])
    assert result.exit_code == 2
    told = " ".join(result.output.split())
    assert f"error: found guard.conformal: cross with transfer.{key}: experiments/fine, a study that trains on" in told
    assert "expected a study of other patients" in told
    assert "to do: set guard.conformal: split, class or none" in told
    assert "(transfer-cross)" in told.partition("experiment coarse")[2]
    assert "(transfer-cross)" not in told.partition("experiment coarse")[0]


def test_cross_conformal_sets_of_what_other_patients_lent_are_allowed(ran: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(ran, tmp_path / "s", ignore=shutil.ignore_patterns("artefacts", "experiments")))
    site = pd.read_csv(folder / "patients.csv")["site"].iloc[0]
    asked = {
        "fine": {**ASKED["fine"], "where": f"site == '{site}'"},
        "coarse": {**ASKED["coarse"], "where": f"site != '{site}'", "guard": {"conformal": "cross"}},
    }
    write_study(folder, **{**COMMON, "models": None, "experiments": asked})
    made = [one for one in experiments(folder) if one.write()]
    found = {one.name: check(one.folder, workers=0, progress=Progress("quiet")).findings for one in made}
    assert [f.rule for f in found["coarse"] if f.rule == "transfer-cross"] == []


@pytest.mark.parametrize(
    ("models", "found"),
    [(["tile_head"], "takes nothing over"), ([{"tile_cnn": {**CNN, "distill": 0}}], "distill 0")],
)
def test_models_that_cannot_take_over_are_refused(tmp_path: Path, models: list, found: str) -> None:
    asked = {**ASKED, "coarse": {**ASKED["coarse"], "models": models}}
    changes = {**COMMON, "features": {"encoder": "pixels" if found == "distill 0" else "pathomics"}}
    write_study(tmp_path, **{**changes, "models": None, "experiments": asked})
    with pytest.raises(StudyError, match=found):
        experiments(tmp_path)
