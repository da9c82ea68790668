"""One small study of volumes from files to report: a network, maps, two scanners, prediction of new patients."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image
from safetensors.numpy import load_file

from phenolens.core.errors import StudyError
from phenolens.predict import predict_images
from phenolens.report.build import build
from phenolens.run import run_study
from phenolens.scans.prepare import ScanJob
from phenolens.steps.scans import cut_off
from phenolens.steps.states import ImageState
from tests.small_scans import write_scan_study, write_scans
from tests.small_study import QUIET

NYUL = {"sequences": ["T1", "T2"], "intensity": {"scale": "nyul_landmarks"}}
WINDOW = {"encoder": "volume", "spacing_mm": 2.0, "size": [18, 18, 12]}
MODEL = {"cnn3d": {"epochs": 12, "width": 4, "learning_rate": 0.005, "batch": 4, "augment": False}}
GAIN = 3.0


def change(path: Path, gain: float, add: np.ndarray[tuple[int, ...], np.dtype[np.float32]] | float = 0.0) -> None:
    """Rewrite a scan as gain * (x + add)."""
    image = sitk.ReadImage(str(path))
    made = sitk.GetImageFromArray((gain * (sitk.GetArrayFromImage(image) + add)).astype(np.float32))
    made.CopyInformation(image)
    sitk.WriteImage(made, str(path))


def write_volumes(folder: Path, **changes: object) -> Path:
    """As `small_scans`, but rough lesions are dark in T2, and the scanner of site S1 gives three times as much."""
    write_scans(folder, rough=0.0)
    people = pd.read_csv(folder / "patients.csv").set_index("patient")
    for row in pd.read_csv(folder / "images.csv").to_dict("records"):
        label, site = people.loc[row["patient"], ["kind", "site"]]
        inside = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / row["mask"])))
        darker = -60.0 * inside if (label, row["sequence"]) == ("rough", "T2") else 0.0
        if row["image"] != "P01-T1":  # its file is broken
            change(folder / row["path"], GAIN if site == "S1" else 1.0, darker)
    study: dict[str, object] = {
        "scan": NYUL,
        "features": WINDOW,
        "models": [MODEL],
        "explain": {"methods": ["gradient", "voxel_occlusion"], "slides": 2},
    }
    return write_scan_study(folder, **{**study, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_volumes(tmp_path_factory.mktemp("volumes"))
    assert run_study(folder, workers=0, progress=QUIET).finished
    return folder


def test_the_planted_contrast_is_found_on_both_scanners(finished: Path) -> None:
    table = pd.read_csv(finished / "results" / "predictions.csv")
    test = table[table["part"] == "test"]
    right = (test["p_rough"] > 0.5) == (test["truth"] == "rough")
    assert set(test.groupby("patient").size()) == {1}
    assert right.groupby(test["site"] == "S1").mean().min() >= 0.8


def test_every_image_says_how_much_of_its_region_the_window_holds(finished: Path) -> None:
    images = pd.read_csv(finished / "results" / "images.csv").set_index("image")
    used = images[images["status"] == "used"]
    assert (used["share_kept"] == 1).all()
    assert images.loc[["P00-T1", "P01-T1"], "share_kept"].isna().all()
    findings = json.loads((finished / "results" / "findings.json").read_text())
    assert not [f for f in findings if f["rule"] == "window-too-small"]


def test_the_scale_of_a_fold_is_stored_with_its_model_and_differs_between_folds(finished: Path) -> None:
    models = finished / "results" / "models" / "cnn3d"
    scales = [load_file(models / fold / "weights.safetensors")["standard.1.landmarks"] for fold in ("0-0", "0-1")]
    assert all(s.shape == (11,) and (s[0], s[-1]) == (0, 100) for s in scales)
    assert not np.array_equal(*scales)


def test_the_sequence_that_carries_the_label_is_told_by_what_it_adds(finished: Path) -> None:
    table = pd.read_csv(finished / "results" / "sequences.csv").set_index("sequence")
    assert set(table["measure"]) == {"contribution"}
    assert table.loc["T2", "mean_fall"] > table.loc["T1", "mean_fall"]


def test_maps_by_both_methods_are_shown_in_the_report(finished: Path) -> None:
    index = json.loads((finished / "results" / "maps" / "index.json").read_text())
    assert {m["method"] for m in index} == {"gradient", "voxel_occlusion"}
    for entry in index:
        picture = np.asarray(Image.open(finished / entry["picture"]))
        assert picture.std() > 20
        assert set(entry["fidelity"]) == {"deletion", "insertion", "deletion_random", "insertion_random"}
    page = build(finished).read_text("utf-8")
    shown = page[page.index('<section id="maps">') : page.index('<section id="slides">')]
    assert shown.count("data:image/jpeg") == len(index)
    assert "Which sequence carried the decision: cnn3d" in shown
    assert "This model adds up what its sequences say" in shown


def test_running_again_gives_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "copy"))
    files = ("predictions.csv", "images.csv", "sequences.csv", "maps/index.json", "manifest.json")
    before = {f: (copy / "results" / f).read_bytes() for f in files}
    shutil.rmtree(copy / "results")
    for kind in ("features", "fits"):
        shutil.rmtree(copy / "artefacts" / kind)
    run_study(copy, workers=0, progress=QUIET)
    assert {f: (copy / "results" / f).read_bytes() for f in files} == before


def test_a_new_patient_is_predicted_alike_whatever_the_scanner(finished: Path, tmp_path: Path) -> None:
    rows = []
    for name, gain in (("quiet", 1.0), ("loud", 5.0)):
        path = Path(shutil.copy(finished / "scans" / "P02" / "T2.nii.gz", tmp_path / f"{name}.nii.gz"))
        change(path, gain)
        mask = finished / "scans" / "P02" / "T2_mask.nii.gz"
        rows.append({"patient": name, "path": path, "sequence": "T2", "mask": mask})
    pd.DataFrame(rows).to_csv(tmp_path / "new.csv", index=False)
    model = finished / "results" / "models" / "cnn3d" / "final"
    done = predict_images(model, [tmp_path / "new.csv"], tmp_path / "out", progress=QUIET)
    found = pd.read_csv(tmp_path / "out" / "predictions.csv").set_index("patient")
    assert done.refused == 0
    assert found.loc["loud", "p_rough"] == pytest.approx(found.loc["quiet", "p_rough"], abs=1e-3)


def test_a_window_that_cuts_lesions_off_is_a_finding(finished: Path, tmp_path: Path) -> None:
    folder = write_volumes(tmp_path, features={**WINDOW, "size": [18, 3, 12]})
    run_study(folder, workers=0, until="features", progress=QUIET)
    images = pd.read_csv(folder / "results" / "images.csv").set_index("image")
    kept = images.loc[images["status"] == "used", "share_kept"]
    assert kept.between(0.2, 0.9).all()
    states = {
        i: ImageState(job=ScanJob(patient=i[:3], image=i, path=""), site="", facts={"share_kept": share})
        for i, share in (("P01-T2", 0.41), ("P02-T2", 0.95), ("P03-T1", 1.0))
    }
    (finding,) = cut_off(states)
    assert (finding.rule, finding.severity, finding.who) == ("window-too-small", "warning", ("P01",))
    assert "in 1 of 3 images, and keeps 41%" in finding.what
    assert cut_off({}) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"features": {"encoder": "radiomics"}, "models": ["logistic"]},
            r"study\.yaml:\d+: found scale: nyul_landmarks with the encoder 'radiomics'",
        ),
        (
            {
                "scan": {"intensity_of": {"T1": {"scale": "nyul_landmarks"}}},
                "features": {"encoder": "radiomics"},
                "models": ["logistic"],
            },
            "choose scale: zscore",
        ),
        ({"models": [MODEL, "unet"]}, "model 'unet'"),
    ],
)
def test_landmarks_that_nobody_would_use_are_refused(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    write_scan_study(tmp_path, **{"scan": NYUL, "features": WINDOW, **changes})
    with pytest.raises(StudyError, match=words):
        run_study(tmp_path, progress=QUIET)
