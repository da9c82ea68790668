"""A study with cross-conformal sets: run, report, and the stored model on patients of another hospital."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from phenolens.core.conformal import cross_guarantee
from phenolens.core.errors import StudyError
from phenolens.evaluate.coverage import coverage
from phenolens.report import record
from phenolens.report.build import build
from phenolens.run import run_study
from phenolens.validate import validate_model
from tests.small_study import QUIET
from tests.small_table import write_table_study

ASKED = {"guard": {"conformal": "cross", "groups": 4}, "validation": {"folds": 3}}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_table_study(tmp_path_factory.mktemp("cross") / "study", patients=48, **ASKED)
    assert run_study(folder, workers=0, progress=QUIET).finished
    return folder


def test_every_test_patient_has_a_set_and_the_guarantee_of_its_fold(study: Path) -> None:
    table = pd.read_csv(study / "results" / "predictions.csv", keep_default_na=False)
    test = table[table["part"] == "test"]
    assert set(test["set_90"]) <= {"", "a", "b", "a|b"}
    assert {(float(n), float(k)) for n, k in zip(test["set_patients"], test["set_groups"], strict=True)} == {(32, 4)}
    whole = coverage(record.read(study).of_scheme("patient_kfold")).query("subgroup == 'all' and alpha == 0.1").iloc[0]
    assert whole["guaranteed"] == pytest.approx(cross_guarantee(32, 4, 0.1))
    assert whole["coverage"] >= whole["guaranteed"]
    config = json.loads((study / "results" / "models" / "logistic" / "final" / "config.json").read_text())
    assert config["guard"]["conformal"]["patients"] == 48
    assert len(config["guard"]["conformal"]["refits"]) == 4


def test_the_report_prints_the_guarantee_and_its_source_beside_the_aim(study: Path) -> None:
    page = build(study).read_text("utf-8")
    assert f"≥ {cross_guarantee(32, 4, 0.1):.2f}" in page
    assert "Theorem 4" in page
    assert "Beta distribution" not in page
    assert "are guaranteed, whatever the model" in page


def test_a_stored_model_gives_sets_to_patients_of_another_hospital(study: Path, tmp_path: Path) -> None:
    away = write_table_study(tmp_path / "away", patients=40, seed=3, models=None, validation=None)
    for name in ("patients.csv", "features.csv"):
        people = pd.read_csv(away / name)
        people.assign(patient="A" + people["patient"].astype(str)).to_csv(away / name, index=False)
    validate_model(study / "results" / "models" / "logistic" / "final", away, workers=0, progress=QUIET)
    table = pd.read_csv(away / "results" / "predictions.csv", keep_default_na=False)
    assert set(table["set_90"]) <= {"", "a", "b", "a|b"}
    assert set(table["set_patients"].astype(float)) == {48.0}
    found = coverage(record.read(away).predictions)
    assert np.isnan(found["guaranteed"]).all()
    assert "not exchangeable" in found["note"].iloc[0]
    assert "Coverage of the sets" in build(away).read_text("utf-8")


def test_running_again_from_nothing_gives_the_same_bytes(study: Path, tmp_path: Path) -> None:
    again = write_table_study(tmp_path / "again", patients=48, **ASKED)
    assert run_study(again, workers=0, progress=QUIET).finished
    for name in ("predictions.csv", "models/logistic/final/weights.safetensors", "models/logistic/final/config.json"):
        assert (again / "results" / name).read_bytes() == (study / "results" / name).read_bytes()


def test_too_few_patients_stop_the_run_before_anything_is_fitted(tmp_path: Path) -> None:
    small = write_table_study(tmp_path / "small", patients=12, **{**ASKED, "guard": {"conformal": "cross"}})
    with pytest.raises(StudyError, match="8 training and tune patients in .*guard.conformal: cross"):
        run_study(small, workers=0, progress=QUIET)
    assert not (small / "artefacts" / "fits").exists()
