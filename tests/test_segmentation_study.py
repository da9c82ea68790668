"""A study of masks from files to report, new scans, and its masks in place of drawn ones: never of a model that saw."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK

from phenolens.audit.study import audit_study
from phenolens.core.errors import LeakError, StudyError
from phenolens.models.predict import load_model
from phenolens.predict import predict_images
from phenolens.report.build import build
from phenolens.run import check, run_study
from phenolens.steps.segmentation import file_name
from phenolens.study import Study
from tests.small_masks import write_balls, write_mask_study
from tests.small_scans import write_scan_study
from tests.small_study import QUIET

RESULTS = ("segmentation.csv", "estimates.csv", "images.csv", "manifest.json", "findings.json", "splits.csv")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_mask_study(write_balls(tmp_path_factory.mktemp("masks") / "segment"))
    assert run_study(folder, workers=0, progress=QUIET).finished
    return folder


def rows(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "results" / "segmentation.csv", keep_default_na=False)


def test_every_scan_gets_one_mask_from_a_model_that_never_saw_the_patient(finished: Path) -> None:
    table = rows(finished)
    assert sorted(table["patient"]) == [f"P{i:02d}" for i in range(9)]
    told = json.loads((finished / "results" / "manifest.json").read_text())["masks"]
    for row in told["images"]:
        assert row["patient"] not in told["fits"][row["fit"]]["training_patients"]
        assert (finished / row["mask"]).exists()
    final = json.loads((finished / told["final"] / "config.json").read_text())
    assert final["training_patients"] == sorted(table["patient"])


def test_the_balls_are_found_and_measured(finished: Path) -> None:
    table = rows(finished)
    assert table["dice"].mean() > 0.6
    for row in table.to_dict("records"):
        drawn = SimpleITK.ReadImage(str(finished / "scans" / f"{row['patient']}_mask.nii.gz"))
        found = SimpleITK.ReadImage(str(finished / row["mask"]))
        assert found.GetSize() == drawn.GetSize()
        np.testing.assert_allclose(found.GetSpacing(), drawn.GetSpacing(), rtol=1e-6)
        np.testing.assert_allclose(found.GetOrigin(), drawn.GetOrigin(), atol=1e-4)
        a, b = (SimpleITK.GetArrayFromImage(m) > 0 for m in (found, drawn))
        assert row["dice"] == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
        assert row["volume_ml_true"] == pytest.approx(b.sum() * np.prod(drawn.GetSpacing()) / 1000, abs=1e-4)
        assert 12 < row["long_mm_true"] < 24


def test_estimates_have_the_columns_of_every_study_and_intervals_by_patient(finished: Path) -> None:
    table = pd.read_csv(finished / "results" / "estimates.csv")
    whole = table[table["subgroup"] == "all"].set_index("metric")
    assert set(whole.index) == {"dice", "median_dice", "surface_dice", "median_surface_dice"}
    assert (whole["n_patients"] == 9).all()
    mean = whole.loc["dice"]
    assert mean["low"] < mean["value"] < mean["high"]
    by_fold = rows(finished).groupby("fold")["dice"].mean()
    assert mean["value"] == pytest.approx(by_fold.mean())
    assert {"site=S0", "site=S1", "site=S2"} < set(table["subgroup"])


def test_running_again_gives_the_same_bytes_and_a_lost_mask_is_made_again(finished: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "copy"))
    masks = sorted(p.name for p in (copy / "results" / "masks").iterdir())
    before = {f: (copy / "results" / f).read_bytes() for f in RESULTS}
    before |= {f"masks/{m}": (copy / "results" / "masks" / m).read_bytes() for m in masks}
    stored = {p: p.stat().st_mtime_ns for p in (copy / "artefacts" / "fits").rglob("*.safetensors")}
    for path in (copy / "artefacts" / "masks").rglob("*.nii.gz"):
        path.unlink()
    shutil.rmtree(copy / "results" / "masks")
    run_study(copy, workers=0, progress=QUIET)
    assert {f: (copy / "results" / f).read_bytes() for f in before} == before
    assert {p: p.stat().st_mtime_ns for p in stored} == stored


@pytest.mark.slow
def test_a_rerun_from_nothing_gives_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "copy"))
    before = {f: (copy / "results" / f).read_bytes() for f in RESULTS}
    shutil.rmtree(copy / "artefacts")
    shutil.rmtree(copy / "results")
    run_study(copy, workers=2, progress=QUIET)
    assert {f: (copy / "results" / f).read_bytes() for f in before} == before


def test_the_report_shows_agreement_and_pictures_and_hides_names_when_asked(finished: Path) -> None:
    page = build(finished).read_text("utf-8")
    assert "Agreement with the drawn masks" in page
    assert page.count("Drawn and found region of") == 9
    assert "AUC" not in page.replace("DeLong", "")[: page.index("How wide are")]
    hidden = build(finished, pseudonyms=True).read_text("utf-8")
    assert "P03" not in hidden.replace("P-", "")


def test_a_new_scan_gets_the_mask_that_the_final_model_finds_on_its_volume(finished: Path, tmp_path: Path) -> None:
    write_balls(tmp_path, patients=1, first=40)
    cases = pd.read_csv(tmp_path / "images.csv").drop(columns=["mask", "image"])
    seen = {**cases.iloc[0].to_dict(), "patient": "P00", "path": str(finished / "scans" / "P00.nii.gz")}
    other = {**cases.iloc[0].to_dict(), "sequence": "T2"}
    pd.DataFrame([cases.iloc[0].to_dict(), seen, other]).to_csv(tmp_path / "new.csv", index=False)
    done = predict_images(
        finished / "results" / "models" / "unet" / "final", [tmp_path / "new.csv"], tmp_path / "out", progress=QUIET
    )
    assert done.refused == 2
    made = pd.read_csv(tmp_path / "out" / "predictions.csv", keep_default_na=False)
    assert "trained on that patient" in made.loc[1, "refused"]
    assert "does not know" in made.loc[2, "refused"]
    drawn = SimpleITK.ReadImage(str(tmp_path / "scans" / "P40_mask.nii.gz"))
    found = SimpleITK.ReadImage(str(tmp_path / "out" / made.loc[0, "mask"]))
    a, b = (SimpleITK.GetArrayFromImage(m) > 0 for m in (found, drawn))
    assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.5
    assert float(made.loc[0, "volume_ml"]) == pytest.approx(a.sum() * np.prod(found.GetSpacing()) / 1000, abs=1e-3)


def lent_study(folder: Path, masks: Path, **changes: object) -> Path:
    scan = {"masks": str(masks), "intensity": {"scale": "zscore", "over": "body"}, **changes.pop("scan", {})}  # type: ignore[dict-item]
    return write_scan_study(folder, **{"scan": scan, "quality": {"min_voxels": 5}, **changes})


def test_predicted_masks_are_read_in_place_of_drawn_ones(finished: Path, tmp_path: Path) -> None:
    study = tmp_path / "classify"
    write_balls(study, patients=11)
    images = pd.read_csv(study / "images.csv").drop(columns="mask")
    images.to_csv(study / "images.csv", index=False)
    shutil.rmtree(study / "results", ignore_errors=True)
    for drawn in (study / "scans").glob("*_mask.nii.gz"):
        drawn.unlink()
    lent_study(study, finished, validation={"folds": 2})
    assert any("11" in line for line in check(study, workers=0, progress=QUIET).summary)
    assert not (study / "artefacts" / "masks").exists()
    assert run_study(study, workers=0, progress=QUIET).finished
    by = pd.read_csv(study / "results" / "images.csv", keep_default_na=False).set_index("patient")
    told = json.loads((finished / "results" / "manifest.json").read_text())["masks"]
    for row in told["images"]:
        assert by.loc[row["patient"], "mask_by"] == row["fit"]
        size = rows(finished).set_index("patient").loc[row["patient"], "volume_ml_pred"]
        assert by.loc[row["patient"], "volume_ml"] == pytest.approx(size, abs=1e-3)
    final = load_model(finished / told["final"]).config["key"]
    assert set(by.loc[["P09", "P10"], "mask_by"]) == {final}
    manifest = json.loads((study / "results" / "manifest.json").read_text())
    assert any("no drawn mask was read" in note for note in manifest["notes"])
    assert "no drawn mask was read" in build(study).read_text("utf-8").lower()


def test_a_patient_whose_only_mask_is_of_a_model_that_saw_the_patient_stops_the_run(
    finished: Path, tmp_path: Path
) -> None:
    lender = Path(shutil.copytree(finished, tmp_path / "segment"))
    path = lender / "results" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["masks"]["images"] = [r for r in manifest["masks"]["images"] if r["patient"] != "P04"]
    path.write_text(json.dumps(manifest))
    study = lent_study(write_balls(tmp_path / "classify"), lender)
    with pytest.raises(LeakError, match="1 patients whose only masks come from a model that saw them: P04"):
        run_study(study, workers=0, progress=QUIET)
    manifest = json.loads((finished / "results" / "manifest.json").read_text())
    for told in manifest["masks"]["fits"].values():
        told["training_patients"].append("P02")
    path.write_text(json.dumps(manifest))
    with pytest.raises(LeakError, match="P02"):
        run_study(study, workers=0, progress=QUIET)


def test_a_mask_of_another_file_of_the_same_name_is_not_used(finished: Path, tmp_path: Path) -> None:
    study = lent_study(write_balls(tmp_path / "classify", seed=5), finished)
    run_study(study, workers=0, until="features", progress=QUIET)
    out = pd.read_csv(study / "results" / "quarantine.csv")
    assert len(out) == 9
    assert out["reason"].str.contains("predicted mask of another scan").all()


def test_patients_lost_for_want_of_a_predicted_mask_are_counted_by_class(finished: Path, tmp_path: Path) -> None:
    lender = Path(shutil.copytree(finished, tmp_path / "segment"))
    path = lender / "results" / "masks" / "P01-CT.nii.gz"
    nothing = SimpleITK.ReadImage(str(path)) * 0
    SimpleITK.WriteImage(nothing, str(path))
    study = lent_study(write_balls(tmp_path / "classify"), lender, validation={"folds": 2})
    run_study(study, workers=0, until="splits", progress=QUIET)
    told = {f["rule"]: f for f in json.loads((study / "results" / "findings.json").read_text())}
    assert told["predicted-masks-lost"]["who"] == ["P01"]
    assert "rough 1 of 4, smooth 0 of 5" in told["predicted-masks-lost"]["what"]
    reason = pd.read_csv(study / "results" / "quarantine.csv")["reason"]
    assert "(the mask is a predicted one)" in reason[0]


def test_masks_are_lent_by_a_finished_study_of_masks_only(finished: Path, tmp_path: Path) -> None:
    study = lent_study(write_balls(tmp_path / "classify"), tmp_path / "nothing")
    with pytest.raises(StudyError, match="no finished study"):
        run_study(study, workers=0, progress=QUIET)
    with pytest.raises(StudyError, match="no labels to permute"):
        audit_study(finished, progress=QUIET)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"features": {"encoder": "volume", "size": 16, "spacing_mm": 3.0}}, "a window around the drawn region"),
        ({"features": {"encoder": "volume", "size": None, "mask_channel": True}}, "drawn mask as a channel"),
        ({"scan": {"intensity": {"scale": "zscore", "over": "lesion"}}}, "scaled by the drawn lesion"),
        ({"models": ["cnn3d"]}, "which is for classification"),
        ({"task": {"kind": "segmentation", "unit": "lesion"}, "lesions": "lesions.csv"}, "unit lesion of a segm"),
        ({"task": {"kind": "segmentation", "classes": ["a", "b"]}}, "classes"),
        ({"task": {"target": "kind"}}, "which is for segmentation"),
        ({"task": {"target": "kind", "tolerance_mm": 1.0}}, "tolerance_mm without masks"),
        ({"task": {"kind": "segmentation", "tolerance_um": 9.0}}, "tolerance_um of masks on scans"),
        ({"scan": {"masks": "../other"}}, "predicted masks as the truth"),
        ({"validation": {"scheme": "one_patient_per_class"}}, "where there are no classes"),
        ({"task": {}}, "no 'task.target'"),
    ],
)
def test_what_would_tell_the_model_the_answer_or_does_not_fit_is_refused(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    write_mask_study(tmp_path, **changes)
    with pytest.raises(StudyError, match=words):
        Study.load(tmp_path)


def test_an_id_that_is_no_file_name_gets_one_of_its_own() -> None:
    assert file_name("P1-CT", ".nii.gz") == "P1-CT.nii.gz"
    assert file_name("P1/CT", ".nii.gz") != file_name("P1_CT", ".nii.gz")
    assert "/" not in file_name("../P1", ".nii.gz")
