"""The four-phase study of sarcoma subtypes on its synthetic cohort, from the demo's folder to the page over all."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from phenolens import demo_full
from phenolens.cli import app
from phenolens.demo_backbones import Lesson, accuracy, taught
from phenolens.experiments import experiments
from phenolens.recipes import write_template
from phenolens.synth import textures

PHASES = ("compare", "mil", "finetune", "segment", "automatic", "accelerate", "distil", "fastest")


def test_the_template_of_the_full_study_loads_with_every_phase(tmp_path: Path) -> None:
    write_template("sts-subtypes", tmp_path, full=True)
    made = experiments(tmp_path)
    assert tuple(dict.fromkeys(e.family for e in made)) == PHASES
    assert [e.arm for e in made if e.family == "compare"] == [
        "resnet50v2",
        "vgg19",
        "efficientnetv2_s",
        "inception_v3",
    ]
    assert {e.name for e in made if e.chosen_from == "compare"} == set(PHASES) - {"compare"}


def test_a_fifth_class_is_one_more_name_in_the_study_file(tmp_path: Path) -> None:
    write_template("sts-subtypes", tmp_path, full=True)
    path = tmp_path / "study.yaml"
    path.write_text(path.read_text().replace("[DDLPS, LMS, SS, MPNST]", "[DDLPS, LMS, SS, MPNST, RMS]"))
    assert all(len(e.study.task.classes) in (0, 5) for e in experiments(tmp_path))


def test_patients_are_parted_by_class_and_none_is_in_two_parts() -> None:
    table = pd.DataFrame({"patient": [f"P{i}" for i in range(30)], "subtype": ["A", "B"] * 15})
    made = demo_full.parted(table)
    counts = made.groupby(["subtype", "cohort", "set"]).size().to_dict()
    for label in ("A", "B"):
        assert counts[label, "public", ""] == demo_full.PUBLIC
        assert counts[label, "archive", "test"] == demo_full.TEST
        assert counts[label, "archive", "train"] == 15 - demo_full.PUBLIC - demo_full.TEST


def test_textures_are_drawn_anew_and_alike_for_the_same_seed() -> None:
    first, labels = textures.batch(32, 8, (0, 1))
    again, _ = textures.batch(32, 8, (0, 1))
    other, _ = textures.batch(32, 8, (0, 2))
    assert first.shape == (8, 3, 32, 32)
    assert (first == again).all()
    assert not (first == other).all()
    assert set(labels) <= set(range(textures.CLASSES))


def test_full_is_refused_for_other_recipes(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["demo", "crlm-hgp", "--full", "--out", str(tmp_path / "x")])
    assert result.exit_code != 0
    assert "sts-subtypes" in str(result.exception)


@pytest.mark.slow
def test_a_network_taught_on_textures_tells_fresh_ones_apart() -> None:
    lesson = Lesson(steps=200)
    assert accuracy(taught("test_resnet", lesson), lesson) > 0.6  # 18 textures: chance is 0.06


@pytest.mark.slow
def test_the_full_demo_runs_all_four_phases_to_one_page(tmp_path: Path) -> None:
    folder = tmp_path / "full"
    result = CliRunner().invoke(app, ["demo", "sts-subtypes", "--full", "--out", str(folder), "--quiet"])
    assert result.exit_code == 0, result.output
    page = (folder / "report.html").read_text()
    for phase in PHASES[1:]:
        assert f'href="experiments/{phase}/report.html"' in page
    for title in ("By patient, cross-validation", "By tile, cross-validation", "Masks, cross-validation", "test set"):
        assert title in page
    table = pd.read_csv(folder / "results" / "experiments.csv")
    shown = table[table["metric"].isin(["accuracy", "macro_precision", "macro_recall"])]
    assert {"tile", "patient"} <= set(shown["level"])
    main = shown[(shown["subgroup"] == "all") & (shown["scheme"] == "one_patient_per_class")]
    assert main["low"].notna().mean() > 0.9
