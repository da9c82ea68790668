"""A study of a table with repeated readings: the models keep what readings of the training patients agree on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from phenolens.core.errors import StudyError
from phenolens.run import run_study
from phenolens.study import Study
from tests.small_study import QUIET

FEATURES = [f"f{i}" for i in range(8)]


def write(folder: Path, **readings: object) -> Path:
    """Fifty patients; f0 to f3 come out alike when measured again, f4 to f7 do not, and f4 tells the classes best."""
    rng = np.random.default_rng(1)
    who, label = [f"P{i:02d}" for i in range(50)], np.array(["a", "b"] * 25)
    pd.DataFrame({"patient": who, "site": "S", "kind": label}).to_csv(folder / "patients.csv", index=False)
    x = rng.normal(size=(50, 8))
    x[:, 0] += (label == "b") * 1.0
    x[:, 4] += (label == "b") * 3.0
    pd.DataFrame(x, columns=FEATURES).assign(patient=who).to_csv(folder / "features.csv", index=False)
    tables = []
    for name in ("first", "second"):
        y = x + 0.05 * rng.normal(size=x.shape)
        y[:, 4:] = rng.normal(size=(50, 4))
        tables.append(pd.DataFrame(y, columns=FEATURES).assign(patient=who, reading=name))
    pd.concat(tables).to_csv(folder / "readings.csv", index=False)
    study = {
        "study": "twice",
        "features": {"table": "features.csv", "repeated": "readings.csv"},
        "task": {"target": "kind"},
        "models": [{"logistic": {"stable": 0.75}}],
        "sign_offs": {"column-tells-target": "a planted signal, as strong on purpose"},
        "validation": {"folds": 3},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    return folder


def told(folder: Path) -> list[dict]:  # type: ignore[type-arg]
    configs = sorted((folder / "results" / "models" / "logistic").glob("*/config.json"))
    return [json.loads(c.read_text("utf-8"))["fitted"]["table"] for c in configs]


def test_each_fold_keeps_the_stable_features_and_says_how_many_patients_told_so(tmp_path: Path) -> None:
    assert run_study(write(tmp_path), workers=0, progress=QUIET).finished
    fits = told(tmp_path)
    assert [f["kept"] for f in fits] == [[0, 1, 2, 3]] * 4
    assert max(f["stable"]["training_units"] for f in fits[:3]) < 30, "two thirds of 50, less the tune patients"
    before = pd.read_csv(tmp_path / "results" / "predictions.csv")
    readings = pd.read_csv(tmp_path / "readings.csv")
    fold = before[(before["fold"] == 0)]
    test = set(fold.loc[fold["part"] == "test", "patient"])
    readings.loc[readings["patient"].isin(test), FEATURES] = 1e9
    readings.to_csv(tmp_path / "readings.csv", index=False)
    assert run_study(tmp_path, workers=0, progress=QUIET).finished
    after = pd.read_csv(tmp_path / "results" / "predictions.csv")
    pd.testing.assert_frame_equal(after[after["fold"] == 0], fold)
    assert not after.equals(before), "in the other folds these patients train"


def test_stable_without_readings_and_readings_without_a_table_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    study = yaml.safe_load((tmp_path / "study.yaml").read_text())
    del study["features"]["repeated"]
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    with pytest.raises(StudyError, match="a model with stable, without repeated readings"):
        Study.load(tmp_path)
    study["features"] = {"encoder": "radiomics", "repeated": "readings.csv"}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    with pytest.raises(StudyError, match="repeated readings without a table"):
        Study.load(tmp_path)
