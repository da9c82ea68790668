"""Scans disturbed dose by dose: a model of roughness follows coarser voxels, and hardly a little noise or a turn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from phenolens.audit.robustness import audit_robustness
from phenolens.core.errors import StudyError
from phenolens.report.build import build
from phenolens.run import run_study
from phenolens.scans.disturb import DOSES
from phenolens.steps.robustness_scans import KINDS, disturbances
from tests.small_encoder import write_encoder
from tests.small_scans import write_scan_study, write_scans
from tests.small_study import QUIET


def write(folder: Path, name: str = "T2", patients: int = 9, **changes: object) -> Path:
    """Patients whose lesions are rough or smooth in one sequence, which `name` renames; the other is not asked for."""
    write_scans(folder, patients=patients, missing=0.0)
    table = pd.read_csv(folder / "images.csv")
    table.replace({"sequence": {"T2": name}}).to_csv(folder / "images.csv", index=False)
    study: dict[str, object] = {
        "features": {"encoder": write_encoder(folder)},
        "models": ["volume_only", "logistic"],
        "scan": {"sequences": [name]},
        "validation": {"folds": 2},
    }
    return write_scan_study(folder, **{**study, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write(tmp_path_factory.mktemp("rough"))
    assert run_study(folder, workers=0, progress=QUIET).finished
    audit_robustness(folder, workers=0, progress=QUIET)
    return folder


def read(folder: Path) -> dict:  # type: ignore[type-arg]
    return json.loads((folder / "results" / "robustness.json").read_text("utf-8"))  # type: ignore[no-any-return]


def rows(folder: Path) -> pd.DataFrame:
    return pd.DataFrame(read(folder)["rows"]).set_index(["fault", "dose", "measure"]).sort_index()


def test_a_model_of_roughness_falls_where_voxels_grow_and_holds_under_a_little_noise_or_turn(finished: Path) -> None:
    table = rows(finished)
    assert table.loc[("none", 0.0, "true_class"), "value"] > 0.8
    worst = table.loc[("spacing", 1.0, "change")]
    assert worst["value"] < -0.25
    assert worst["high"] < 0
    assert table.loc[("spacing", 1.0, "kept"), "value"] < 0.8
    for mild in (("noise", 0.5), ("rotation", 2.0)):
        assert abs(table.loc[(*mild, "change"), "value"]) < 0.05
        assert table.loc[(*mild, "kept"), "value"] == 1
    falls = [table.loc[("contour", dose, "change"), "value"] for dose in DOSES["contour"]]
    assert falls[0] > falls[1] > falls[2], "the more of its surroundings the outline takes in, the rougher"


def test_every_disturbance_and_dose_has_its_four_measures_and_the_baseline_none(finished: Path) -> None:
    made, table = read(finished), rows(finished)
    assert len(table) == 4 * (1 + 3 * len(KINDS))
    assert set(table["model"]) == {"logistic"}
    assert (made["patients"], made["scans"], made["mr"]) == (18, 18, 18)
    assert (table["n_patients"] == 18).all()


def test_undisturbed_scans_are_predicted_as_they_were(finished: Path) -> None:
    stored = pd.read_csv(finished / "results" / "predictions.csv")
    stored = stored[(stored["part"] == "test") & (stored["model"] == "logistic")]
    mean = np.mean([row[f"p_{row['truth']}"] for row in stored.to_dict("records")])
    assert rows(finished).loc[("none", 0.0, "true_class"), "value"] == pytest.approx(mean, abs=1e-12)


def test_a_second_call_opens_no_scan_and_gives_the_same_bytes(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = finished / "results" / "robustness.json"
    before = path.read_bytes()
    path.unlink()
    monkeypatch.setattr("phenolens.features.scans.open_scan", None)
    said = audit_robustness(finished, workers=0, progress=QUIET)
    assert path.read_bytes() == before
    assert "moves most under spacing 1" in said[0]


def test_the_report_shows_it_in_words_of_scans(finished: Path) -> None:
    page = build(finished).read_text("utf-8")
    part = page[page.index("Robustness to faults of scans") :]
    assert "The 18 scans of 18 test patients were read again" in part
    assert "the same scans undisturbed" in part
    for title in ("More noise", "Bias field", "Coarser voxels", "Outline moved", "Turned"):
        assert title in part


def test_scans_of_no_coil_are_given_no_bias_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phenolens.steps.robustness.PATIENTS", 4)
    monkeypatch.setattr("phenolens.steps.robustness_scans.KINDS", ("bias", "contour"))
    folder = write(tmp_path / "ct", "CT-portal", 4, models=["logistic"])
    assert run_study(folder, workers=0, progress=QUIET).finished
    audit_robustness(folder, workers=0, progress=QUIET)
    assert set(rows(folder).reset_index()["fault"]) == {"none", "contour"}
    assert (read(folder)["patients"], read(folder)["mr"]) == (4, 0)
    assert len(disturbances(bias=True)) == 1 + 2 * 3


@pytest.mark.slow
def test_a_network_of_volumes_is_shown_disturbed_volumes(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        features={"encoder": "volume", "spacing_mm": 2.0, "size": [18, 18, 12]},
        models=[{"cnn3d": {"epochs": 2, "width": 4, "batch": 4, "augment": False}}],
        scan={"sequences": ["T2"], "intensity": {"scale": "nyul_landmarks"}},
        explain={"slides": 0},
    )
    assert run_study(folder, workers=0, progress=QUIET).finished
    audit_robustness(folder, workers=0, progress=QUIET)
    table = rows(folder)
    assert len(table) == 4 * (1 + 3 * len(KINDS))
    moved = table.xs("change", level="measure")["value"]
    assert moved.loc[("none", 0.0)] == 0
    assert (moved.drop("none") != 0).all()


def test_a_study_of_scans_without_a_model_of_their_features_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, patients=4, models=["volume_only"])
    assert run_study(folder, workers=0, progress=QUIET).finished
    with pytest.raises(StudyError, match="no model that reads the features of its images"):
        audit_robustness(folder, workers=0, progress=QUIET)
