"""Studies over real scans and feature tables, as a user would make them: from files to report, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk  # noqa: N813
import yaml

from phenolens.core.errors import CohortError, ImageError
from phenolens.predict import predict_images
from phenolens.report.build import build
from phenolens.run import check, run_study
from phenolens.scans.image import open_scan
from phenolens.scans.mask import read_roi
from tests.small_study import QUIET

SEQUENCES = {"CT": "CT", "PET": "PET", "T1": "MR_T1"}
QUICK = {"encoder": "radiomics", "spacing_mm": 6.0, "bins": 16, "families": ["morphology", "statistics"]}


def write(folder: Path, patients: pd.DataFrame, images: pd.DataFrame | None, **asked: Any) -> Path:
    """A study of these tables; `asked` are the sections of its file."""
    folder.mkdir(parents=True, exist_ok=True)
    patients.to_csv(folder / "patients.csv", index=False)
    if images is not None:
        images.to_csv(folder / "images.csv", index=False)
    content = {"study": "real", "features": QUICK, "validation": {"folds": 3}, **asked}
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    return folder


def results(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / "results" / name)


def macro_auc(folder: Path) -> pd.Series:
    found = results(folder, "estimates.csv").query("metric == 'macro_auc' and subgroup == 'all'")
    return found.set_index("model")["value"]


# --- soft-tissue sarcoma: CT, PET and T1 on grids of their own, a third of the images missing


def sarcomas(real_data: Path, each: int, *, missing: float, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The first `each` patients of every subtype, and their images without a drawn share; every patient keeps one."""
    place = real_data / "scans" / "sts"
    people = pd.read_csv(place / "subtypes.csv").groupby("subtype").head(each)
    rng = np.random.default_rng(seed)
    rows = []
    for patient in people["patient"]:
        kept = [s for s in SEQUENCES if rng.random() >= missing] or ["PET"]
        for name in kept:
            files = [place / patient / f"{SEQUENCES[name]}_{what}.nii.gz" for what in ("image", "mask")]
            rows.append({"patient": patient, "sequence": name, "path": files[0], "mask": files[1], "remark": "a, b"})
    return people, pd.DataFrame(rows)


@pytest.fixture(scope="module")
def sarcoma(tmp_path_factory: pytest.TempPathFactory, real_data: Path) -> Path:
    people, images = sarcomas(real_data, 4, missing=1 / 3)
    folder = write(
        tmp_path_factory.mktemp("real scans") / "sarcomas of three grids",
        people,
        images,
        scan={"sequences": list(SEQUENCES), "intensity_of": {"CT": {"window": [-200, 300]}, "T1": {"scale": "zscore"}}},
        task={"target": "subtype"},
        models=["volume_only", {"logistic": {"missing": "impute"}}],
    )
    assert run_study(folder, workers=1, progress=QUIET).finished
    return folder


def test_sarcomas_with_a_third_of_their_images_missing_run_to_the_report(sarcoma: Path) -> None:
    images = results(sarcoma, "images.csv")
    assert set(images["status"]) == {"used"}
    assert set(images["sequence"]) == set(SEQUENCES)
    assert images["spacing_mm"].nunique() >= 3
    test = results(sarcoma, "predictions.csv").query("part == 'test'")
    assert set(test.groupby(["model", "patient"]).size()) == {1}
    assert test["patient"].nunique() == 12
    page = build(sarcoma, pseudonyms=True).read_text("utf-8")
    assert "Which sequence carried the decision" in page
    assert "STS_0" not in page


def test_a_new_sarcoma_is_predicted_from_whichever_sequences_it_has(sarcoma: Path, tmp_path: Path) -> None:
    images = pd.read_csv(sarcoma / "images.csv")
    pet = images[images["sequence"] == "PET"]
    alone = pet.head(1).assign(patient="ALONE")
    swapped = pet.head(1).assign(patient="SWAPPED", mask=pet["mask"].iloc[1])
    strange = pet.head(1).assign(patient="STRANGE", sequence="DWI")
    pd.concat([alone, swapped, strange]).to_csv(tmp_path / "new.csv", index=False)
    model = sarcoma / "results" / "models" / "logistic" / "final"
    done = predict_images(model, [tmp_path / "new.csv"], tmp_path / "out", progress=QUIET)
    rows = pd.read_csv(tmp_path / "out" / "predictions.csv").set_index("patient")
    assert done.refused == 2
    assert rows.loc["ALONE", "sequences"] == "PET"
    assert "lies outside the scan" in rows.loc["SWAPPED", "notes"]
    assert "'DWI', which the model does not know" in rows.loc["STRANGE", "notes"]
    pd.concat([alone, alone]).to_csv(tmp_path / "twice.csv", index=False)
    with pytest.raises(CohortError, match="several scans of sequence PET"):
        predict_images(model, [tmp_path / "twice.csv"], tmp_path / "out", progress=QUIET)


def test_a_sequence_that_no_scan_is_of_is_refused_before_anything_is_read(tmp_path: Path, real_data: Path) -> None:
    people, images = sarcomas(real_data, 4, missing=0)
    scan = {"sequences": ["PET", "T2"], "intensity_of": {"CTT": {"window": [0, 1]}}}
    folder = write(tmp_path, people, images, scan=scan, task={"target": "subtype"}, models=["volume_only"])
    found = {f.where: f.what for f in check(folder, workers=1, progress=QUIET).findings if f.severity == "error"}
    assert "'T2', which no scan is of; the scans are CT, PET, T1" in found["scan.sequences"]
    assert "'CTT'" in found["scan.intensity_of"]
    with pytest.raises(CohortError, match="'T2', which no scan is of"):
        run_study(folder, workers=1, progress=QUIET)


# --- lung nodules: size carries the label


def nodules(real_data: Path, keep: int | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Benign and malignant nodules (readers' malignancy up to 2, from 4 up), one a patient."""
    place = real_data / "scans" / "lidc-nodules-160"
    table = pd.read_csv(place / "labels.csv").sort_values("Patient_ID").head(keep or 160)
    label = np.where(table["Malignancy"] >= 4, "malignant", "benign")
    images = [next((place / "img").glob(f"{patient}_*_image.nii.gz")) for patient in table["Patient_ID"]]
    people = pd.DataFrame({"patient": table["Patient_ID"].to_numpy(), "nodule": label})
    masks = [str(path).replace("_image", "_mask") for path in images]
    return people, pd.DataFrame({"patient": people["patient"], "sequence": "CT", "path": images, "mask": masks})


REFUSED = {
    "LIDC-IDRI-0268": "17 voxels in the region",
    "LIDC-IDRI-0289": "two voxels or more along every axis",
    "LIDC-IDRI-0626": "two voxels or more along every axis",
    "LIDC-IDRI-0899": "7 voxels in the region",
}
NODULE: dict[str, Any] = {"quality": {"max_edge": None}, "task": {"target": "nodule"}}


def test_nodules_too_small_or_flat_are_quarantined_with_their_reason(tmp_path: Path, real_data: Path) -> None:
    people, images = nodules(real_data)
    some = [*REFUSED, *people["patient"].head(6)]
    people, images = people[people["patient"].isin(some)], images[images["patient"].isin(some)]
    folder = write(tmp_path, people, images, **NODULE, models=["logistic"], features=QUICK | {"spacing_mm": 1.0})
    run_study(folder, workers=1, until="features", progress=QUIET)
    table = results(folder, "images.csv").set_index("patient")
    assert set(table.index[table["status"] == "quarantined"]) == set(REFUSED)
    for patient, reason in REFUSED.items():
        assert reason in table.loc[patient, "reason"]


@pytest.mark.slow
def test_size_alone_tells_nodules_apart_and_radiomics_claims_no_more(tmp_path: Path, real_data: Path) -> None:
    folder = write(
        tmp_path,
        *nodules(real_data),
        **NODULE,
        features={"encoder": "radiomics", "spacing_mm": 1.0, "bins": 32},
        models=["volume_only", "image_size", "logistic", "forest"],
        validation={"folds": 5, "repeats": 2},
    )
    assert run_study(folder, workers=2, progress=QUIET).finished
    auc = macro_auc(folder)
    assert auc["volume_only"] > 0.9
    assert auc["image_size"] > 0.9
    assert abs(auc[["logistic", "forest"]] - auc["volume_only"]).max() < 0.04
    assert "logistic minus volume_only" in build(folder).read_text("utf-8")
    assert set(results(folder, "quarantine.csv")["patient"]) == set(REFUSED)


# --- DICOM objects of others


def test_ct_and_segmentation_objects_are_read_as_image_and_mask(tmp_path: Path, real_data: Path) -> None:
    place = real_data / "slides" / "highdicom"
    masks = {
        "good": ("seg_image_ct_binary_single_frame.dcm", None, None),
        "named": ("seg_image_ct_binary_single_frame.dcm", None, "First Segment"),
        "wrong": ("seg_image_ct_binary_single_frame.dcm", 3, None),
        "other": ("seg_image_ct_true_fractional.dcm", None, None),
        "two": ("seg_image_ct_binary_overlap.dcm", None, None),
        "slide": ("seg_image_sm_numbers.dcm", 1, None),
    }
    with open_scan(place / "ct_image.dcm") as scan:
        assert (scan.header.modality, scan.header.facts["unit"]) == ("CT", "HU")
        for name in ("good", "named"):
            file, value, label = masks[name]
            roi = read_roi(place / file, scan.frame, value=value, name=label)
            assert (roi.voxels, roi.size) == (1832, (97, 89, 1))
        said = {}
        for name in ("wrong", "other", "two", "slide"):
            file, value, label = masks[name]
            with pytest.raises(ImageError) as refused:
                read_roi(place / file, scan.frame, value=value, name=label)
            said[name] = f"{refused.value.found} {refused.value.todo}"
    assert "1 segment: 1 'first segment'" in said["wrong"]
    assert "outside the scan: region x -125 to -117" in said["other"]
    assert "2 segments" in said["two"]
    assert "mask_name" in said["two"]
    assert "no positions in the patient" in said["slide"]
    row = {"patient": "P1", "path": place / "ct_image.dcm", "mask": place / masks["good"][0]}
    other = row | {"patient": "P2", "path": real_data / "scans/pyradiomics-cases/data/brain1_image.nrrd"}
    people = pd.DataFrame({"patient": ["P1", "P2"], "dx": ["a", "b"]})
    features = {"encoder": "radiomics", "in_plane": True, "aggregation": "2d_slice_merged", "spacing_mm": None}
    folder = write(
        tmp_path, people, pd.DataFrame([row, other]), task={"target": "dx"}, models=["logistic"], features=features
    )
    run_study(folder, workers=1, until="tiles", progress=QUIET)
    table = results(folder, "images.csv").set_index("patient")
    assert table.loc["P1", "status"] == "used"
    assert "lies outside the scan" in table.loc["P2", "reason"]


def test_masks_of_phantom_brain_and_breast_are_read_where_they_were_drawn(tmp_path: Path, real_data: Path) -> None:
    place = real_data / "scans" / "pyradiomics-cases" / "data"
    files = {n: (f"{n}_image.nrrd", f"{n}_label.nrrd") for n in ("brain1", "brain2", "breast1")}
    files["prostate"] = ("prostate_phantom_subvolume.nrrd", "prostate_phantom_subvolume-label.nrrd")
    rows = [{"patient": n, "path": place / image, "mask": place / mask} for n, (image, mask) in files.items()]
    people = pd.DataFrame({"patient": list(files), "dx": list("abab")})
    folder = write(tmp_path, people, pd.DataFrame(rows), task={"target": "dx"}, models=["logistic"])
    run_study(folder, workers=1, until="tiles", progress=QUIET)
    table = results(folder, "images.csv").set_index("patient")
    for name, (_, mask) in files.items():
        drawn = sitk.ReadImage(str(place / mask))
        assert table.loc[name, "voxels"] == np.count_nonzero(sitk.GetArrayViewFromImage(drawn))


# --- a table of features made elsewhere


def hcc(folder: Path, real_data: Path, **changed: Any) -> Path:
    """The published feature table of 169 livers, with ids; its label goes to patients.csv."""
    table = pd.read_csv(real_data / "tables" / "hcc-mtm-radiomics" / "XY3A.csv")
    ids = [f"H{i:03d}" for i in range(len(table))]
    people = pd.DataFrame({"patient": ids, "MTM": np.where(table["MTM"] == 1, "yes", "no")})
    folder.mkdir(exist_ok=True)
    table.drop(columns="MTM").assign(**{"patient": ids} | changed).to_csv(folder / "features.csv", index=False)
    return write(folder, people, None, task={"target": "MTM"}, features={"table": "features.csv"}, models=["logistic"])


def test_a_published_feature_table_runs_to_the_report(tmp_path: Path, real_data: Path) -> None:
    folder = hcc(tmp_path, real_data)
    assert run_study(folder, workers=1, progress=QUIET).finished
    assert 0.4 < macro_auc(folder)["logistic"] < 0.75
    assert results(folder, "predictions.csv").query("part == 'test'")["patient"].nunique() == 169
    assert "HighIntensityLargeAreaEmphasis_p" in build(folder).read_text("utf-8")


def test_rows_that_a_feature_table_lacks_are_named(tmp_path: Path, real_data: Path) -> None:
    folder = hcc(tmp_path, real_data)
    table = pd.read_csv(folder / "features.csv")
    table.iloc[5:].to_csv(folder / "features.csv", index=False)
    found = {f.rule: f.who for f in check(folder, workers=1, progress=QUIET).findings}
    assert found["unit-without-features"] == ("H000", "H001", "H002", "H003", "H004")
