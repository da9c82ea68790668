"""A stored model on a cohort of another hospital: measured, never refitted, and never on its own patients."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from phenolens.core.errors import LeakError, StudyError
from phenolens.report.build import build
from phenolens.run import run_study
from phenolens.validate import validate_model
from tests.small_study import QUIET


def write_tables(folder: Path, patients: int, seed: int, prefix: str, **more: object) -> Path:
    """A cohort with two informative features of six, as a feature table; a reader right four times in five."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    label = np.where(np.arange(patients) % 2 == 0, "benign", "malignant")
    names = [f"{prefix}{i:03d}" for i in range(patients)]
    x = rng.normal(size=(patients, 6))
    x[:, :2] += np.where(label == "malignant", 1.2, 0.0)[:, None]
    right = rng.random(patients) < 0.8
    other = np.where(label == "benign", "malignant", "benign")
    called = np.where(right, label, other)
    people = pd.DataFrame({"patient": names, "site": f"{prefix}-hospital", "label": label, "radiologist": called})
    people.to_csv(folder / "patients.csv", index=False)
    table = pd.DataFrame(x, columns=[f"f{i}" for i in range(6)])
    table.insert(0, "patient", names)
    table.to_csv(folder / "features.csv", index=False)
    content = {"study": "s", "patients": "patients.csv", "features": {"table": "features.csv"}, **more}
    (folder / "study.yaml").write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tables(
        tmp_path_factory.mktemp("home") / "study",
        80,
        1,
        "H",
        task={"target": "label"},
        models=["logistic"],
        validation={"folds": 4},
    )
    assert run_study(folder, workers=0, progress=QUIET).finished
    return folder / "results" / "models" / "logistic" / "final"


EXTERNAL = {"task": {"target": "label"}, "readers": ["radiologist"]}


def test_an_external_cohort_is_measured_without_refitting(model: Path, tmp_path: Path) -> None:
    away = write_tables(tmp_path / "away", 60, 2, "A", **EXTERNAL)
    before = (model / "weights.safetensors").read_bytes()
    lines = validate_model(model, away, workers=0, progress=QUIET)
    assert "60 units of 60 patients predicted, nothing refitted" in lines[0]
    assert (model / "weights.safetensors").read_bytes() == before
    assert not (away / "artefacts" / "fits").exists()
    table = pd.read_csv(away / "results" / "predictions.csv")
    assert set(table["scheme"]) == {"external"}
    assert set(table["part"]) == {"test"}
    estimates = pd.read_csv(away / "results" / "estimates.csv")
    auc = estimates[(estimates["metric"] == "auc") & (estimates["subgroup"] == "class=malignant")].iloc[0]
    assert auc["value"] > 0.8
    assert auc["low"] < auc["value"] < auc["high"]
    assert "DeLong" in auc["method"]
    manifest = json.loads((away / "results" / "manifest.json").read_text())
    assert manifest["external"]["training_patients"] == 80


def test_the_report_of_an_external_cohort_says_that_nothing_was_refitted(model: Path, tmp_path: Path) -> None:
    away = write_tables(tmp_path / "away", 60, 2, "A", **EXTERNAL)
    validate_model(model, away, workers=0, progress=QUIET)
    page = build(away).read_text("utf-8")
    assert "a stored model on another cohort, nothing refitted" in page
    assert "No external evidence" not in page
    assert "Not audited: no permutation test" not in page
    assert "radiologist" in page


def test_readers_are_compared_with_the_model_on_the_same_patients(model: Path, tmp_path: Path) -> None:
    away = write_tables(tmp_path / "away", 60, 2, "A", **EXTERNAL)
    people = pd.read_csv(away / "patients.csv")
    people.loc[:4, "radiologist"] = None
    people.to_csv(away / "patients.csv", index=False)
    validate_model(model, away, workers=0, progress=QUIET)
    rows = pd.read_csv(away / "results" / "readers.csv").set_index("measure")
    whole = rows.loc["accuracy"]
    assert int(whole["n_patients"]) == 55
    called = people[people["radiologist"].notna()]
    assert whole["reader_value"] == pytest.approx((called["radiologist"] == called["label"]).mean())
    assert whole["low"] < whole["difference"] < whole["high"]


def test_a_patient_who_trained_the_model_is_refused_by_name(model: Path, tmp_path: Path) -> None:
    away = write_tables(tmp_path / "away", 60, 2, "H", **EXTERNAL)
    with pytest.raises(LeakError, match="H000"):
        validate_model(model, away, workers=0, progress=QUIET)


def test_a_setting_that_differs_from_the_models_is_refused_with_its_line(model: Path, tmp_path: Path) -> None:
    away = write_tables(tmp_path / "away", 60, 2, "A", **EXTERNAL, models=["forest"])
    with pytest.raises(StudyError, match="as the model was made with") as refused:
        validate_model(model, away, workers=0, progress=QUIET)
    assert "study.yaml:" in str(refused.value)


def test_an_external_cohort_may_lack_a_class(model: Path, tmp_path: Path) -> None:
    away = write_tables(tmp_path / "away", 40, 2, "A", **EXTERNAL)
    people = pd.read_csv(away / "patients.csv")
    people["label"] = "benign"
    people.to_csv(away / "patients.csv", index=False)
    validate_model(model, away, workers=0, progress=QUIET)
    estimates = pd.read_csv(away / "results" / "estimates.csv")
    auc = estimates[estimates["metric"] == "auc"]
    assert auc["value"].isna().all()
    assert auc["note"].str.contains("not estimable").all()


def test_a_readers_call_that_is_no_class_is_refused_by_patient(model: Path, tmp_path: Path) -> None:
    away = write_tables(tmp_path / "away", 40, 2, "A", **EXTERNAL)
    people = pd.read_csv(away / "patients.csv")
    people.loc[3, "radiologist"] = "benig"
    people.to_csv(away / "patients.csv", index=False)
    with pytest.raises(StudyError, match="'benig' of radiologist for patient 'A003'.*benign"):
        validate_model(model, away, workers=0, progress=QUIET)
