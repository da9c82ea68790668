"""Recipe templates: each is a study that loads, with tables that fit it, and a synthetic cohort that fits both."""

from __future__ import annotations

import pandas as pd
import pytest
import yaml

from phenolens.recipes import folder_of, recipes
from phenolens.study import Study
from phenolens.synth import people, scan_people
from phenolens.synth.cohort import ScanDesign, demo_overrides, design_for

RECIPES = sorted(recipes())
SCANS = ("gist-ct", "liver-mri")


def test_the_recipes_for_slides_and_scans_are_there_with_a_summary() -> None:
    found = recipes()
    assert {"sts-subtypes", "stt-phenotypes", "crlm-hgp", *SCANS} <= set(found)
    assert all(len(row["summary"]) > 20 for row in found.values())


@pytest.mark.parametrize("recipe", RECIPES)
def test_template_loads_as_a_study_of_its_recipe(recipe: str) -> None:
    study = Study.load(folder_of(recipe))
    assert study.recipe == recipe
    assert study.validation.scheme == "patient_kfold"


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_key_of_a_template_has_a_comment(recipe: str) -> None:
    lines = (folder_of(recipe) / "study.yaml").read_text("utf-8").splitlines()
    bare = [line for line in lines if line.startswith("  ") and "#" not in line]
    assert [line.split(":")[0].strip() for line in bare] == []


@pytest.mark.parametrize("recipe", RECIPES)
def test_template_tables_have_the_columns_that_the_study_asks_for(recipe: str) -> None:
    study = Study.load(folder_of(recipe))
    patients = pd.read_csv(folder_of(recipe) / "patients.csv", dtype=str)
    images = pd.read_csv(folder_of(recipe) / "images.csv", dtype=str)
    assert {"patient", "site", study.task.target} <= set(patients)
    own = {"sequence", "mask"} if recipe in SCANS else {"stain", "annotation", "mpp"}
    assert {"patient", "image", "path", "kind", "site", *own} == set(images)
    if recipe in SCANS:
        assert set(images["sequence"]) == set(study.scan.sequences)
    assert set(patients[study.task.target]) <= set(study.task.classes)
    assert set(images["patient"]) == set(patients["patient"])


@pytest.mark.parametrize("recipe", RECIPES)
def test_synthetic_cohort_has_the_target_classes_and_columns_of_the_template(recipe: str) -> None:
    study, design = Study.load(folder_of(recipe)), design_for(recipe)
    assert (design.target, tuple(label for label, _ in design.classes)) == (study.task.target, study.task.classes)
    template = pd.read_csv(folder_of(recipe) / "patients.csv")
    drawn = scan_people.draw(design) if isinstance(design, ScanDesign) else people.draw(design)
    assert {"patient", "site", design.target, *drawn[0].columns} == set(template)
    if isinstance(design, ScanDesign):
        assert design.sequences == study.scan.sequences


@pytest.mark.parametrize("recipe", RECIPES)
def test_demo_overrides_change_known_keys_only(recipe: str) -> None:
    template = yaml.safe_load((folder_of(recipe) / "study.yaml").read_text("utf-8"))
    for section, values in demo_overrides(recipe).items():
        template[section] = {**template.get(section, {}), **values}
    study = Study.model_validate(template)
    assert recipe in SCANS or study.tiles.max_per_patient == 60
    assert study.validation.repeats == 1
