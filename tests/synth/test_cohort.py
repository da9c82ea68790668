"""Synthetic cohorts: the tables, the annotations, the planted faults, and that the same design gives the same bytes."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import openslide
import pandas as pd
import pytest
from shapely.geometry import shape
from shapely.ops import unary_union

from phenolens.core.errors import StoreError, StudyError
from phenolens.synth.cohort import Design, demo_overrides, design_for, make


def everything(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def truth(folder: Path) -> dict:
    return json.loads((folder / "truth.json").read_text())


def images(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "images.csv", dtype=str).set_index("image")


def test_bytes_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    design = design_for("crlm-hgp", patients_per_class=1, slide_px=500)
    alone, together = (make(tmp_path / str(workers), design, workers=workers) for workers in (0, 2))
    assert everything(alone) == everything(together)


def test_every_listed_file_is_there_and_no_other(cohort: Path) -> None:
    table = images(cohort)
    listed = {*table["path"], *table["annotation"], "patients.csv", "images.csv", "truth.json"}
    assert set(everything(cohort)) == listed


def test_usable_patients_are_as_many_as_asked_in_every_class(cohort: Path, design: Design) -> None:
    usable = Counter(p["label"] for p in truth(cohort)["patients"].values() if p["usable"])
    assert usable == {label: design.patients_per_class for label, _ in design.classes}


def test_only_the_planted_faults_are_faulty(cohort: Path) -> None:
    found = {}
    for image, row in images(cohort).iterrows():
        try:
            with openslide.OpenSlide(cohort / row["path"]) as slide:
                if "openslide.mpp-x" not in slide.properties:
                    found[image] = "no_mpp"
                else:
                    assert slide.properties["openslide.vendor"] == "aperio"
                    assert {"label", "macro"} <= set(slide.associated_images)
        except openslide.OpenSlideError:
            found[image] = "truncated"
        if truth(cohort)["images"][image]["annotation_share"] < 0.6:
            found[image] = "below_annotation_share"
    assert found == {f["image"]: f["fault"] for f in truth(cohort)["faults"]}
    assert sorted(found.values()) == ["below_annotation_share", "no_mpp", "truncated"]


def test_faults_never_take_the_only_slide_of_a_usable_patient(cohort: Path) -> None:
    faulty = {f["image"] for f in truth(cohort)["faults"]}
    good = {row["patient"] for image, row in images(cohort).iterrows() if image not in faulty}
    assert good == {p for p, facts in truth(cohort)["patients"].items() if facts["usable"]}


def test_annotation_in_pixels_has_the_share_that_the_truth_says(cohort: Path) -> None:
    for image, facts in truth(cohort)["images"].items():
        features = json.loads((cohort / "annotations" / f"{image}.geojson").read_text())["features"]
        by_class: dict[str, list] = {}
        for feature in features:
            assert feature["properties"]["objectType"] == "annotation"
            by_class.setdefault(feature["properties"]["classification"]["name"], []).append(shape(feature["geometry"]))
        tumour = unary_union(by_class["Tumor"])
        assert tumour.is_valid
        x0, y0, x1, y1 = tumour.bounds
        assert 0 <= x0 < x1 <= facts["width"]
        assert 0 <= y0 < y1 <= facts["height"]
        if "Stroma" in by_class:
            tissue = tumour.area + unary_union(by_class["Stroma"]).area
            assert tumour.area / tissue == pytest.approx(facts["annotation_share"], abs=0.01)


def test_tumour_is_where_the_annotation_says(cohort: Path) -> None:
    faulty = {f["image"] for f in truth(cohort)["faults"]}
    image = next(i for i in truth(cohort)["images"] if i not in faulty)
    features = json.loads((cohort / "annotations" / f"{image}.geojson").read_text())["features"]
    tumour = unary_union(
        [shape(f["geometry"]) for f in features if f["properties"]["classification"]["name"] == "Tumor"]
    )
    point = tumour.representative_point()
    with openslide.OpenSlide(cohort / images(cohort).loc[image, "path"]) as slide:
        inside = np.asarray(slide.read_region((int(point.x) - 60, int(point.y) - 60), 0, (120, 120)).convert("L"))
        corner = np.asarray(slide.read_region((0, 0), 0, (40, 40)).convert("L"))
    assert corner.mean() > 220
    assert (inside < 110).mean() > 0.05


def test_sites_differ_in_mpp_and_stain(cohort: Path) -> None:
    table, facts = images(cohort), truth(cohort)["images"]
    spacing = {site: {facts[i]["mpp"] for i in rows.index} for site, rows in table.groupby("site")}
    assert spacing == {"north": {0.5}, "south": {0.46}}


def test_cohort_that_is_there_is_kept_and_another_design_refused(cohort: Path, design: Design) -> None:
    before = {p: p.stat().st_mtime_ns for p in cohort.rglob("*")}
    assert make(cohort, design, workers=0) == cohort
    assert {p: p.stat().st_mtime_ns for p in cohort.rglob("*")} == before
    with pytest.raises(StoreError, match="another design"):
        make(cohort, replace(design, seed=99), workers=0)


def test_no_faults_when_none_are_wanted(tmp_path: Path) -> None:
    folder = make(tmp_path / "c", design_for("crlm-hgp", patients_per_class=1, slide_px=500, faults=False), workers=0)
    assert truth(folder)["faults"] == []
    assert len(pd.read_csv(folder / "patients.csv")) == 2


def test_unknown_recipe_is_refused_with_the_nearest() -> None:
    with pytest.raises(StudyError, match="did you mean 'sts-subtypes'"):
        design_for("sts-subtype")
    with pytest.raises(StudyError, match="no synthetic cohort"):
        demo_overrides("brain-mri")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"signal": 1.5}, "signal must lie"),
        ({"classes": (("a", "fascicles"), ("b", "fascicle"))}, "did you mean 'fascicles'"),
        ({"classes": (("a", "fascicles"), ("a", "storiform"))}, "different labels"),
        ({"sites": ()}, "one to three sites"),
        ({"slide_px": 100}, "at least 300 px"),
    ],
)
def test_impossible_design_is_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        design_for("sts-subtypes", **wrong)
