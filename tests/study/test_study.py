"""study.yaml is refused with line, nearest name and what to do; every fault is named at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phenolens.core.errors import StudyError
from phenolens.study import Study, schema

GOOD = """\
study: sts
patients: patients.csv
images: images.csv
tiles: {size_px: 224, mpp: 0.5}
features: {encoder: pathomics}
task: {kind: classification, target: subtype}
models: [mean_pool, abmil: {epochs: 5}]
"""


def load(folder: Path, text: str) -> Study:
    (folder / "study.yaml").write_text(text)
    return Study.load(folder)


def refused(folder: Path, text: str) -> str:
    with pytest.raises(StudyError) as caught:
        load(folder, text)
    return str(caught.value)


def test_a_good_study_is_read_with_its_defaults(tmp_path: Path) -> None:
    study = load(tmp_path, GOOD)
    assert study.tiles.spacing == 0.5
    assert study.validation.folds == 5
    assert [(c.name, dict(c.params)) for c in study.model_choices()] == [("mean_pool", {}), ("abmil", {"epochs": 5})]
    assert study.path(study.patients) == tmp_path / "patients.csv"


def test_magnification_becomes_mpp(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD.replace("mpp: 0.5", "magnification: 40")).tiles.spacing == 0.25


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("patients: patients.csv", "pateints: patients.csv", 2, "did you mean 'patients'"),
        ("{size_px: 224,", "{sizepx: 224,", 4, "did you mean 'size_px'"),
        ("size_px: 224", "size_px: many", 4, "tiles.size_px: 'many'"),
        ("mpp: 0.5", "mpp: 250", 4, "at most 20"),
        ("mpp: 0.5", "mpp: 0.5, magnification: 20", 4, "both mpp and magnification"),
        ("encoder: pathomics", "encoder: pathomic", 5, "did you mean 'pathomics'"),
        ("encoder: pathomics", "encoder: pathomics, folder: x", 5, "both encoder and folder"),
        ("{encoder: pathomics}", "{}", 5, "neither encoder nor folder"),
        ("kind: classification", "kind: clasification", 6, "did you mean 'classification'"),
        (", target: subtype", "", 6, "no 'task.target'"),
        ("epochs: 5", "epoch: 5", 7, "did you mean 'epochs'"),
        ("models: [mean_pool,", "models: [mean_pol,", 7, "did you mean 'mean_pool'"),
        ("models: [mean_pool, abmil: {epochs: 5}]", "models: []", 7, "at least one"),
        ("models: [mean_pool,", "models: [abmil,", 7, "'abmil' twice"),
        ("study: sts\n", "study: sts\nvalidation: {scheme: patient_kflod}\n", 2, "did you mean 'patient_kfold'"),
        ("study: sts\n", "study: sts\nvalidation: {scheme: file}\n", 2, "give both"),
        ("study: sts\n", "study: sts\nvalidation: {also: [patient_kfold]}\n", 2, "patient_kfold twice"),
        ("study: sts\n", "study: sts\nregion: {min_annotation_share: 0.6}\n", 2, "without an annotation"),
        ("study: sts\n", "study: sts\nquality: {max_bluur: 1}\n", 2, "unknown key 'quality.max_bluur'"),
        ("study: sts\n", "study: sts\nexplain: {methods: [atention]}\n", 2, "did you mean 'attention'"),
        ("study: sts\n", "study: sts\nstudy: again\n", 2, "'study' twice"),
        ("target: subtype", "target: subtype, classes: [LMS]", 6, "two or more"),
        ("study: sts\n", "study: my study\n", 1, "without spaces"),
        ("study: sts\n", "study: sts\nregion: {min_overlap: 60}\n", 2, "60% is 0.6"),
        ("{encoder: pathomics}", "pathomics", 5, "keys with values below it"),
        ("[mean_pool, abmil: {epochs: 5}]", "mean_pool", 7, "a list"),
        (
            "[mean_pool, abmil: {epochs: 5}]",
            "[{abmil: {epochs: 5}, mean_pool: {}}]",
            7,
            "abmil, mean_pool in one entry",
        ),
        ("[mean_pool, abmil: {epochs: 5}]", "\n- abmil:\n  epochs: 5", 8, "indent its parameters deeper"),
        ("epochs: 5", "epochs: many", 7, "epochs: int"),
        ("task: {kind", "task {kind", 6, "not YAML"),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path: Path, old: str, new: str, line: int, words: str) -> None:
    message = refused(tmp_path, GOOD.replace(old, new))
    assert f"study.yaml:{line}:" in message
    assert words in message


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    message = refused(
        tmp_path, GOOD.replace("pathomics", "nothing").replace("epochs", "epoch").replace("0.5", "0.5, x: 1")
    )
    assert "unknown key 'tiles.x'" in message
    message = refused(tmp_path, GOOD.replace("pathomics", "nothing").replace("epochs", "epoch"))
    assert "line 5" in message
    assert "line 7" in message


def test_a_missing_or_empty_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="phenolens new"):
        Study.load(tmp_path)
    assert "no keys" in refused(tmp_path, "")


def test_the_schema_knows_the_names_behind_the_doors() -> None:
    text = json.dumps(schema())
    for name in ("pathomics", "uni2-h", "abmil", "classification", "occlusion", "min_annotation_share"):
        assert f'"{name}"' in text
