"""A study of outlines on slides from files to report, new slides, and its outlines in place of drawn ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shapely
import tifffile
import yaml

from phenolens.core.errors import LeakError, StudyError
from phenolens.models.predict import load_model
from phenolens.predict import predict_images
from phenolens.report.build import build
from phenolens.run import check, run_study
from phenolens.slides.annotation import read_annotation
from phenolens.slides.image import open_slide
from phenolens.slides.raster import inside
from phenolens.study import Study
from tests.small_slides import MPP, SHAPE, blob, picture, write_annotations, write_outline_study, write_slides
from tests.small_study import QUIET

RESULTS = ("segmentation.csv", "estimates.csv", "images.csv", "manifest.json", "findings.json", "splits.csv")
LENT = {
    "region": {"min_overlap": 0.5},
    "tiles": {"size_px": 32, "mpp": 2.0, "max_per_patient": 8},
    "features": {"encoder": "pathomics"},
    "task": {"target": "kind"},
    "models": ["mean_pool"],
    "quality": {"min_tissue_mm2": 0.001},
    "explain": {"slides": 0},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_outline_study(write_slides(tmp_path_factory.mktemp("outlines") / "segment"))
    assert run_study(folder, workers=0, progress=QUIET).finished
    return folder


def rows(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "results" / "segmentation.csv", keep_default_na=False)


def read(path: Path, slide: Path) -> shapely.MultiPolygon:
    with open_slide(slide, mpp=MPP) as held:
        return read_annotation(path, "Tumor", held.frame, offset=held.bounds).area


def lent_study(folder: Path, masks: Path, **changes: object) -> Path:
    content = {**LENT, "region": {"masks": str(masks), "min_overlap": 0.5}, "validation": {"folds": 2}, **changes}
    (folder / "study.yaml").write_text(yaml.safe_dump({"study": "lent", **content}))
    return folder


def test_every_slide_gets_one_outline_from_a_model_that_never_saw_the_patient(finished: Path) -> None:
    table = rows(finished)
    assert sorted(table["patient"]) == [f"P{i:02d}" for i in range(6)]
    told = json.loads((finished / "results" / "manifest.json").read_text())["masks"]
    for row in told["images"]:
        assert row["patient"] not in told["fits"][row["fit"]]["training_patients"]
    splits = pd.read_csv(finished / "results" / "splits.csv")
    assert splits.groupby(["scheme", "repeat", "fold", "patient"])["part"].nunique().max() == 1
    assert len(json.loads((finished / told["final"] / "config.json").read_text())["training_patients"]) == 6


def test_the_file_is_read_back_by_our_reader_and_agrees_with_what_was_measured(finished: Path) -> None:
    table = rows(finished)
    assert table["dice"].mean() > 0.5
    for row in table.to_dict("records"):
        path = finished / row["mask"]
        held = json.loads(path.read_text())
        assert held["type"] == "FeatureCollection"
        kinds = [(f["geometry"]["type"], f["properties"]["classification"]["name"]) for f in held["features"]]
        assert set(kinds) == {("Polygon", "Tumor")}
        slide = finished / "slides" / f"{row['patient']}.tif"
        found, drawn = read(path, slide), read(finished / "annotations" / f"{row['patient']}.geojson", slide)
        assert float(row["area_mm2_pred"]) == pytest.approx(found.area * MPP**2 * 1e-6, rel=1e-3)
        a, b = (inside(area, (0, 0), 1.0, SHAPE) for area in (found, drawn))
        assert float(row["dice"]) == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()), abs=0.02)
        assert min(p.area for p in found.geoms) * MPP**2 * 1e-6 >= 0.0099


def test_estimates_hold_distances_with_intervals_by_patient(finished: Path) -> None:
    table = pd.read_csv(finished / "results" / "estimates.csv")
    whole = table[table["subgroup"] == "all"].set_index("metric")
    kinds = ("dice", "surface_dice", "boundary_um", "boundary95_um")
    assert set(whole.index) == {*kinds, *(f"median_{k}" for k in kinds)}
    assert (whole["n_patients"] == 6).all()
    held = rows(finished)
    assert whole.loc["boundary_um", "value"] == pytest.approx(
        pd.to_numeric(held["boundary_um"]).groupby(held["fold"]).mean().mean()
    )
    assert (whole["low"] <= whole["value"]).all()


def test_running_again_gives_the_same_bytes_and_a_lost_outline_is_made_again(finished: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "copy"))
    before = {f: (copy / "results" / f).read_bytes() for f in RESULTS}
    before |= {f"masks/{p.name}": p.read_bytes() for p in (copy / "results" / "masks").iterdir()}
    for path in (copy / "artefacts" / "masks").rglob("*.geojson"):
        path.unlink()
    shutil.rmtree(copy / "results" / "masks")
    run_study(copy, workers=0, progress=QUIET)
    assert {f: (copy / "results" / f).read_bytes() for f in before} == before


@pytest.mark.slow
def test_a_rerun_from_nothing_gives_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "copy"))
    before = {f: (copy / "results" / f).read_bytes() for f in RESULTS}
    shutil.rmtree(copy / "artefacts")
    shutil.rmtree(copy / "results")
    run_study(copy, workers=2, progress=QUIET)
    assert {f: (copy / "results" / f).read_bytes() for f in before} == before


def test_the_report_shows_distances_and_pictures_of_slides(finished: Path) -> None:
    page = build(finished).read_text("utf-8")
    assert "boundary distance (µm)" in page
    assert "Every test slide, the worst first" in page
    assert page.count("Drawn and found region of") == 6
    for foreign in ("voxel", "NIfTI", "axial", "of each scan"):
        assert foreign not in page


def test_a_new_slide_gets_the_outline_that_the_final_model_finds(finished: Path, tmp_path: Path) -> None:
    write_slides(tmp_path, patients=1, first=40)
    slide = tmp_path / "slides" / "P40.tif"
    seen = Path(shutil.copy(finished / "slides" / "P00.tif", tmp_path / "P00.tif"))
    blank = tmp_path / "blank.tif"
    tifffile.imwrite(blank, np.full((*SHAPE, 3), 240, np.uint8), tile=(128, 128), photometric="rgb")
    model = finished / "results" / "models" / "tile_unet" / "final"
    done = predict_images(model, [slide, seen, blank], tmp_path / "out", mpp=MPP, progress=QUIET)
    made = pd.read_csv(tmp_path / "out" / "predictions.csv", keep_default_na=False)
    assert done.refused == 2
    assert "trained on that patient" in made.loc[1, "refused"]
    assert "no tissue" in made.loc[2, "refused"]
    found = read(tmp_path / "out" / made.loc[0, "mask"], slide)
    drawn = read(tmp_path / "annotations" / "P40.geojson", slide)
    assert 2 * found.intersection(drawn).area / (found.area + drawn.area) > 0.5
    assert float(made.loc[0, "area_mm2"]) == pytest.approx(found.area * MPP**2 * 1e-6, rel=1e-3)


def test_slides_are_tiled_inside_outlines_of_models_that_never_saw_their_patient(
    finished: Path, tmp_path: Path
) -> None:
    study = write_slides(tmp_path / "classify", patients=8)
    images = pd.read_csv(study / "images.csv").drop(columns="annotation")
    images.to_csv(study / "images.csv", index=False)
    lent_study(study, finished)
    assert not check(study, workers=0, progress=QUIET).findings or not (study / "artefacts" / "masks").exists()
    assert run_study(study, workers=0, progress=QUIET).finished
    by = pd.read_csv(study / "results" / "images.csv", keep_default_na=False).set_index("patient")
    told = json.loads((finished / "results" / "manifest.json").read_text())["masks"]
    for row in told["images"]:
        assert by.loc[row["patient"], "mask_by"] == row["fit"]
        found = float(rows(finished).set_index("patient").loc[row["patient"], "area_mm2_pred"])
        in_tissue = float(by.loc[row["patient"], "annotation_share"]) * float(by.loc[row["patient"], "tissue_mm2"])
        assert in_tissue == pytest.approx(found, rel=0.02)
    final = load_model(finished / told["final"]).config["key"]
    assert set(by.loc[["P06", "P07"], "mask_by"]) == {final}
    made = [json.loads(p.read_text()) for p in (study / "artefacts" / "prepared").rglob("*.made.json")]
    assert {m["mask_by"] for m in made if "mask_by" in m} == {*told["fits"], final}
    notes = json.loads((study / "results" / "manifest.json").read_text())["notes"]
    assert any("no drawn mask was read" in note for note in notes)


def test_a_patient_whose_only_outline_is_of_a_model_that_saw_the_patient_stops_the_run(
    finished: Path, tmp_path: Path
) -> None:
    lender = tmp_path / "segment"
    (lender / "results").mkdir(parents=True)
    shutil.copytree(finished / "results" / "models", lender / "results" / "models")
    shutil.copytree(finished / "artefacts" / "fits", lender / "artefacts" / "fits")
    manifest = json.loads((finished / "results" / "manifest.json").read_text())
    manifest["masks"]["images"] = [r for r in manifest["masks"]["images"] if r["patient"] != "P04"]
    (lender / "results" / "manifest.json").write_text(json.dumps(manifest))
    study = lent_study(write_slides(tmp_path / "classify"), lender)
    with pytest.raises(LeakError, match="1 patients whose only masks come from a model that saw them: P04"):
        run_study(study, workers=0, progress=QUIET)


def test_patients_on_whom_nothing_was_found_are_counted_by_class_and_others_files_are_not_used(
    finished: Path, tmp_path: Path
) -> None:
    lender = Path(shutil.copytree(finished, tmp_path / "segment"))
    write_annotations(lender / "results" / "masks" / "P01-HE.geojson", [])
    study = lent_study(write_slides(tmp_path / "classify", patients=8), lender)
    draw = np.random.default_rng(5)
    other = picture(blob((320, 260), 200, draw), blob((320, 260), 90, draw), draw)
    tifffile.imwrite(study / "slides" / "P02.tif", other, tile=(128, 128), photometric="rgb")
    run_study(study, workers=0, until="splits", progress=QUIET)
    told = {f["rule"]: f for f in json.loads((study / "results" / "findings.json").read_text())}
    assert told["predicted-masks-lost"]["who"] == ["P01", "P02"]
    assert "rough 1 of 4, smooth 1 of 4" in told["predicted-masks-lost"]["what"]
    why = pd.read_csv(study / "results" / "quarantine.csv").set_index("patient")["reason"]
    assert "no polygon (the annotation is a predicted one)" in why["P01"]
    assert "predicted annotation of another slide" in why["P02"]


def test_slides_without_a_usable_annotation_are_named_and_the_others_go_on(tmp_path: Path) -> None:
    study = write_outline_study(write_slides(tmp_path, patients=5))
    draw = np.random.default_rng(0)
    write_annotations(study / "annotations" / "P00.geojson", [(blob((300, 200), 50, draw), "Necrosis")])
    write_annotations(study / "annotations" / "P01.geojson", [(blob((3000, 200), 50, draw), "Tumor")])
    images = pd.read_csv(study / "images.csv")
    images.loc[images["patient"] == "P02", "annotation"] = None
    images.to_csv(study / "images.csv", index=False)
    warned = [f for f in check(study, workers=0, progress=QUIET).findings if f.rule == "image-unusable"]
    assert [f.who for f in warned] == [("P00",), ("P01",), ("P02",)]
    run_study(study, workers=0, until="tiles", progress=QUIET)
    why = pd.read_csv(study / "results" / "quarantine.csv").set_index("patient")["reason"]
    assert "'Tumor' not found; classes in this file: Necrosis (1)" in why["P00"]
    assert "correct task.target" in why["P00"]
    assert "wholly outside the slide" in why["P01"]
    assert "no annotation for this image" in why["P02"]
    kept = pd.read_csv(study / "results" / "images.csv", keep_default_na=False).set_index("patient")["status"]
    assert list(kept[["P03", "P04"]]) == ["used", "used"]


def test_weights_of_a_backbone_that_are_not_there_are_named_before_anything_runs(tmp_path: Path) -> None:
    model = {"tile_unet": {"backbone": "resnet50v2", "weights": "nowhere/model.safetensors"}}
    study = write_outline_study(write_slides(tmp_path, patients=4), models=[model])
    told = [f for f in check(study, workers=0, progress=QUIET).findings if f.rule == "model-unusable"]
    assert len(told) == 1
    assert "nowhere/model.safetensors" in told[0].what
    assert "resnetv2_50.a1h_in1k" in told[0].what


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"features": {"encoder": "pixels"}}, "whose tiles have no outlines"),
        ({"features": {"encoder": "pathomics"}}, "which reads tiles"),
        ({"region": {"annotation": "Tumor"}}, "tiles inside the drawn annotation 'Tumor'"),
        ({"region": {"masks": "../other"}}, "predicted masks as the truth"),
        ({"task": {"kind": "segmentation", "target": "Tumor", "tolerance_mm": 1.0}}, "tolerance_mm of outlines"),
        ({"models": ["mean_pool"]}, "which reads bags"),
        ({"models": [{"tile_unet": {"width": 10}}]}, "multiple of 8"),
        ({"task": {"target": "kind"}}, "which is for segmentation"),
        ({"task": {"target": "kind"}}, "outlines of no class"),
        ({**LENT, "task": {"target": "kind", "tolerance_um": 9}}, "tolerance_um without masks"),
        ({**LENT, "region": {"annotation": "Tumor", "masks": "x"}}, "both drawn and predicted annotations"),
    ],
)
def test_what_would_tell_the_model_the_answer_or_does_not_fit_is_refused(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    write_outline_study(tmp_path, **changes)
    with pytest.raises(StudyError, match=words):
        Study.load(tmp_path)
