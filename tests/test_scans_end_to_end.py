"""One small study of scans from files to report: missing sequences, faults, prediction of new patients."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from phenolens.core.errors import ModelError, StudyError
from phenolens.predict import predict_images
from phenolens.report.build import build
from phenolens.run import check, run_study
from tests.small_scans import write_scan_study, write_scans
from tests.small_study import QUIET


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_scan_study(write_scans(tmp_path_factory.mktemp("scans")))
    assert run_study(folder, workers=1, progress=QUIET).finished
    return folder


def test_every_patient_is_predicted_once_whatever_is_missing(finished: Path) -> None:
    table = pd.read_csv(finished / "results" / "predictions.csv")
    test = table[table["part"] == "test"]
    assert set(test.groupby("patient").size()) == {1}
    assert test["patient"].nunique() == 24


def test_the_planted_texture_is_found(finished: Path) -> None:
    table = pd.read_csv(finished / "results" / "estimates.csv")
    value = table[(table["metric"] == "macro_auc") & (table["subgroup"] == "all")]["value"]
    assert value.max() > 0.8


def test_an_empty_mask_and_a_broken_file_are_quarantined_with_their_reason(finished: Path) -> None:
    out = pd.read_csv(finished / "results" / "quarantine.csv").set_index("image")["reason"]
    assert set(out.index) == {"P00-T1", "P01-T1"}
    assert "mask" in out["P00-T1"]
    assert "empty" in out["P00-T1"]


def test_the_report_speaks_of_scans_and_shows_what_the_model_rests_on(finished: Path) -> None:
    page = build(finished).read_text("utf-8")
    assert "<h2>6. Scans</h2>" in page
    assert "Features of logistic" in page
    assert "Which sequence carried the decision: logistic" in page
    assert "tiles" not in page[page.index('<section id="slides">') : page.index('<section id="audit">')]


def test_the_sequence_that_carries_the_label_is_named(finished: Path) -> None:
    table = pd.read_csv(finished / "results" / "sequences.csv").set_index("sequence")
    assert table.loc["T2", "mean_fall"] > table.loc["T1", "mean_fall"]


def test_running_again_gives_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "copy"))
    files = ("predictions.csv", "estimates.csv", "images.csv", "coefficients.csv", "sequences.csv", "manifest.json")
    before = {f: (copy / "results" / f).read_bytes() for f in files}
    shutil.rmtree(copy / "artefacts")
    shutil.rmtree(copy / "results")
    run_study(copy, workers=2, progress=QUIET)
    assert {f: (copy / "results" / f).read_bytes() for f in files} == before


def test_new_patients_are_predicted_from_a_table_with_whatever_sequences_they_have(
    finished: Path, tmp_path: Path
) -> None:
    cases = pd.read_csv(finished / "images.csv")
    cases = cases[cases["patient"].isin(["P00", "P04"]) & ~((cases["patient"] == "P04") & (cases["sequence"] == "T1"))]
    cases = cases.assign(
        path=[str(finished / p) for p in cases["path"]], mask=[str(finished / p) for p in cases["mask"]]
    )
    cases.drop(columns="image").to_csv(tmp_path / "new.csv", index=False)
    model = finished / "results" / "models" / "logistic" / "final"
    done = predict_images(model, [tmp_path / "new.csv"], tmp_path / "out", progress=QUIET)
    rows = pd.read_csv(tmp_path / "out" / "predictions.csv").set_index("patient")
    assert done.refused == 0
    assert rows.loc["P04", "sequences"] == "T2"
    assert {"set_90", "ood", "abstains"} <= set(rows.columns)
    assert rows.loc["P00", "sequences"] == "T2"
    assert any("left out: T1" in line for line in done.lines)
    assert "note: the model was trained on a patient 'P04'" in rows.loc["P04", "notes"]
    assert "looks like image 'P04-T2' of patient 'P04'" in rows.loc["P04", "notes"]
    with pytest.raises(ModelError, match="one table"):
        predict_images(model, [finished / "scans" / "P04" / "T2.nii.gz"], tmp_path / "out", progress=QUIET)


def test_check_counts_sequences_and_names_what_will_be_left_out(finished: Path) -> None:
    found = check(finished, workers=1, progress=QUIET)
    assert any("by sequence: T1:" in line for line in found.summary)
    assert any(f.rule == "image-unusable" and "P01-T1" in f.what for f in found.findings)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tiles": {"size_px": 224}}, "tiles in a study of scans"),
        ({"region": {"tissue": "otsu"}}, "region in a study of scans"),
        ({"scan": {"intensity": {"scal": "zscore"}}}, "unknown key 'scan.intensity.scal'"),
        ({"quality": {"min_mm4": 1}}, "unknown key 'quality.min_mm4'"),
        ({"features": {"encoder": "pathomics"}}, "scan in a study of slides"),
        ({"task": {"target": "kind", "unit": "lesion"}}, "lesions: lesions.csv"),
        ({"models": ["cnn3d"]}, "which reads volumes"),
    ],
)
def test_what_does_not_belong_to_scans_is_refused(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    write_scan_study(tmp_path, **changes)
    with pytest.raises(StudyError, match=words):
        run_study(tmp_path, progress=QUIET)


@pytest.mark.parametrize(
    ("column", "words"), [("kind", "which is the target"), ("scaner", "did you mean 'scanner'"), ("scanner", "")]
)
def test_harmonising_by_a_column_of_the_patients_is_done_in_the_fold_or_refused(
    finished: Path, tmp_path: Path, column: str, words: str
) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "copy"))
    people = pd.read_csv(copy / "patients.csv")
    people.assign(scanner=["A", "A", "B", "B"] * 6).to_csv(copy / "patients.csv", index=False)
    write_scan_study(copy, models=[{"logistic": {"missing": "impute", "combat": column, "combat_unseen": "pool"}}])
    if words:
        with pytest.raises(StudyError) as caught:
            run_study(copy, workers=1, new_splits=True, progress=QUIET)
        assert words in f"{caught.value.found} {caught.value.todo}"
        return
    assert run_study(copy, workers=1, new_splits=True, progress=QUIET).finished
    config = json.loads((copy / "results" / "models" / "logistic" / "final" / "config.json").read_text())
    assert config["model"]["parameters"]["combat"] == "scanner"


def test_the_stored_model_knows_the_order_of_sequences(finished: Path) -> None:
    config = json.loads((finished / "results" / "models" / "logistic" / "final" / "config.json").read_text())
    assert config["context"]["scan"]["sequences"] == ["T1", "T2"]
