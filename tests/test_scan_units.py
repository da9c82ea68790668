"""Studies of scans whose unit is an image or a lesion: what is predicted of new patients is what was learnt."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from phenolens.core.errors import CohortError
from phenolens.predict import predict_images
from phenolens.run import run_study
from tests.small_scans import write_scan_study, write_scans
from tests.small_study import QUIET

FEATURES = {"encoder": "radiomics", "spacing_mm": 2.0, "families": ["morphology", "statistics"]}


def cohort(folder: Path) -> tuple[Path, pd.DataFrame]:
    """Scans of 12 patients and their images table with absolute paths and the patient's label."""
    write_scans(folder, patients=6, missing=0)
    label = pd.read_csv(folder / "patients.csv").set_index("patient")["kind"]
    images = pd.read_csv(folder / "images.csv")
    paths = {c: [str(folder / p) for p in images[c]] for c in ("path", "mask")}
    return folder, images.assign(**paths, rough=images["patient"].map(label))


def predict(folder: Path, cases: pd.DataFrame, out: Path) -> pd.DataFrame:
    cases.to_csv(out / "new.csv", index=False)
    predict_images(
        folder / "results" / "models" / "logistic" / "final", [out / "new.csv"], out / "predicted", progress=QUIET
    )
    return pd.read_csv(out / "predicted" / "predictions.csv")


def test_a_model_of_single_images_predicts_every_row_by_itself(tmp_path: Path) -> None:
    folder, images = cohort(tmp_path / "study")
    images.to_csv(folder / "images.csv", index=False)
    write_scan_study(folder, task={"target": "rough", "unit": "image"}, features=FEATURES, validation={"folds": 2})
    assert run_study(folder, workers=1, progress=QUIET).finished
    new = images[images["patient"].isin(["P04", "P05"])]
    rows = predict(folder, new, tmp_path)
    assert list(rows["image"]) == ["P04-T1", "P04-T2", "P05-T1", "P05-T2"]
    assert list(rows["sequences"]) == ["T1", "T2", "T1", "T2"]
    alone = predict(folder, new.tail(1), tmp_path)
    assert alone["p_rough"].iloc[0] == rows["p_rough"].iloc[-1]


def test_a_model_of_lesions_predicts_every_lesion_of_a_new_patient(tmp_path: Path) -> None:
    folder, images = cohort(tmp_path / "study")
    lesions = images.drop_duplicates("patient").assign(lesion="L1")[["patient", "lesion", "rough"]]
    lesions.to_csv(folder / "lesions.csv", index=False)
    task = {"target": "rough", "unit": "lesion"}
    write_scan_study(folder, task=task, lesions="lesions.csv", features=FEATURES, validation={"folds": 2})
    assert run_study(folder, workers=1, progress=QUIET).finished
    new = images[images["patient"] == "P04"]
    both = pd.concat([new.assign(lesion="L1"), new.assign(lesion="L2")])
    rows = predict(folder, both, tmp_path)
    assert list(rows["lesion"]) == ["P04/L1", "P04/L2"]
    assert list(rows["sequences"]) == ["T1 T2", "T1 T2"]
    with pytest.raises(CohortError, match="several scans of sequence T1 of P04"):
        predict(folder, both.drop(columns="lesion"), tmp_path)


def test_patients_without_one_of_the_sequences_are_left_out_before_the_splits(tmp_path: Path) -> None:
    folder, images = cohort(tmp_path / "study")
    images[~((images["patient"] == "P07") & (images["sequence"] == "T1"))].to_csv(folder / "images.csv", index=False)
    scan = {"sequences": ["T1", "T2"], "missing": "left_out"}
    write_scan_study(folder, scan=scan, models=["logistic"], features=FEATURES, validation={"folds": 2})
    assert run_study(folder, workers=1, progress=QUIET).finished
    splits = set(pd.read_csv(folder / "results" / "splits.csv")["patient"])
    assert {f"P{i:02d}" for i in range(12)} - splits == {"P00", "P01", "P07"}  # two have a T1 that cannot be used
    flow = json.loads((folder / "results" / "manifest.json").read_text("utf-8"))["flow"]
    assert {"who": "P07", "why": "lacks a sequence (scan.missing: left_out)"} in flow[1]["dropped"]
