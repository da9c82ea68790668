"""What the documents show is true: the study in the README loads, its commands exist, its links lead somewhere."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from phenolens.cli import app
from phenolens.cohort import table
from phenolens.core.registry import ENCODERS, MODELS
from phenolens.experiments import experiments
from phenolens.features.table import read_feature_table
from phenolens.recipes import recipes
from phenolens.scans.quality import ScanQualitySettings
from phenolens.study import Study

ROOT = Path(__file__).parents[1]
GUIDES = (
    *("docs/scans.md", "docs/models.md", "docs/radiomics.md", "docs/segmentation.md", "docs/survival.md"),
    *("docs/evidence.md", "docs/honesty.md", "docs/experiments.md"),
)
PAGES = ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md", "benchmarks/README.md", *GUIDES)
BASE: dict[str, Any] = {
    "study": "shown",
    "scan": {"sequences": ["T1", "DWI"]},
    "features": {"encoder": "radiomics"},
    "task": {"target": "diagnosis"},
    "models": ["logistic"],
}
"""What a part of a study file that a guide shows is read together with."""


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language ("" for none)."""
    found, inside = [], None
    for line in (ROOT / page).read_text("utf-8").splitlines():
        if line.startswith("```"):
            if inside is None:
                inside = (line[3:], [])
            else:
                found.append(inside)
                inside = None
        elif inside is not None:
            inside[1].append(line)
    return ["\n".join(lines) for name, lines in found if name == language]


@pytest.mark.parametrize(
    ("place", "models"), [(0, ["mean_pool", "sampler", "abmil"]), (1, ["volume_only", "logistic", "forest"])]
)
def test_the_studies_in_the_readme_are_studies(tmp_path: Path, place: int, models: list[str]) -> None:
    text = blocks("README.md", "yaml")[place]
    assert len(text.splitlines()) <= 10
    (tmp_path / "study.yaml").write_text(text)
    assert [c.name for c in Study.load(tmp_path).model_choices()] == models


SHOWN = [(page, i) for page in GUIDES for i in range(len(blocks(page, "yaml")))]


@pytest.mark.parametrize(("page", "place"), SHOWN)
def test_every_study_or_part_of_one_in_a_guide_loads(tmp_path: Path, page: str, place: int) -> None:
    shown = yaml.safe_load(blocks(page, "yaml")[place])
    content = shown if "study" in shown else BASE | shown
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    studies = [one.study for one in experiments(tmp_path)] or [Study.load(tmp_path)]
    assert all(study.model_choices() for study in studies)


def write_tables(folder: Path) -> None:
    """The tables that the guide of scans shows."""
    for name in ("patients.csv", "images.csv", "lesions.csv", "features.csv"):
        (text,) = blocks("docs/scans.md", f"csv {name}")
        (folder / name).write_text(text)


def test_the_tables_in_the_guide_are_a_cohort_at_baseline(tmp_path: Path) -> None:
    write_tables(tmp_path)
    asked = table.Tables(
        patients=tmp_path / "patients.csv", images=tmp_path / "images.csv", target="diagnosis", kind="scan"
    )
    cohort, _ = table.load(asked)
    found = table.regions(cohort, asked)
    assert list(found["image"]) == ["P1_DWI", "P1_T1", "P2_T1"]
    assert list(found["mask_value"]) == [2, None, None]
    assert list(found["mask_name"]) == [None, None, "GTV"]


def test_the_lesions_in_the_guide_are_units_with_a_region_on_every_image(tmp_path: Path) -> None:
    write_tables(tmp_path)
    asked = table.Tables(
        patients=tmp_path / "patients.csv",
        images=tmp_path / "images.csv",
        lesions=tmp_path / "lesions.csv",
        target="label",
        unit="lesion",
        kind="scan",
    )
    cohort, _ = table.load(asked)
    found = table.regions(cohort, asked).set_index(["unit_id", "image"])["mask_value"]
    assert found.to_dict() == {
        ("P1/L1", "P1_DWI"): 1,
        ("P1/L1", "P1_T1"): 1,
        ("P1/L2", "P1_DWI"): 2,
        ("P1/L2", "P1_T1"): 2,
        ("P2/L1", "P2_T1"): None,
    }


def test_the_feature_table_in_the_guide_gives_a_part_a_sequence(tmp_path: Path) -> None:
    write_tables(tmp_path)
    asked = table.Tables(patients=tmp_path / "patients.csv", images=None, target="diagnosis")
    units = table.units(table.load(asked)[0], asked)
    held = read_feature_table(tmp_path / "features.csv", units, target="diagnosis", ignore=["diagnostics_*"])
    assert [(p.name, p.present) for p in held.parts["P2"]] == [("DWI", False), ("T1", True)]


def test_the_follow_up_in_the_guide_is_read(tmp_path: Path) -> None:
    (text,) = blocks("docs/survival.md", "csv patients.csv")
    (tmp_path / "patients.csv").write_text(text)
    told = yaml.safe_load(blocks("docs/survival.md", "yaml")[0])["task"]
    asked = table.Tables(
        patients=tmp_path / "patients.csv", images=None, target=told["target"], time=told["time"], event=told["event"]
    )
    cohort, found = table.load(asked)
    assert found == []
    assert list(table.labels(cohort, asked)) == ["event", "censored", "event", "censored"]


@pytest.mark.parametrize("recipe", ["gist-ct"])
def test_the_survival_a_recipe_speaks_of_loads(recipe: str, tmp_path: Path) -> None:
    home = ROOT / "src/phenolens/recipes" / recipe
    (task,) = re.findall(r"`(task: .*?)`", (home / "README.md").read_text("utf-8"))
    study = yaml.safe_load((home / "study.yaml").read_text("utf-8")) | yaml.safe_load(task) | {"models": ["cox"]}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    assert Study.load(tmp_path).survives


@pytest.mark.parametrize("page", GUIDES)
def test_the_python_in_a_guide_prints_what_it_says(page: str) -> None:
    for code, output in zip(blocks(page, "python"), blocks(page, "output"), strict=True):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(code, page, "exec"), {})
        assert said.getvalue().strip() == output


def defaults_shown(text: str) -> dict[str, str]:
    """First column of the tables of parameters of a section -> second column."""
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) \|", text, re.MULTILINE))


def as_shown(value: object) -> str:
    return str(value) if isinstance(value, str | float) else yaml.safe_dump(value).split("\n")[0]


def test_the_guide_of_survival_shows_the_parameter_of_cox() -> None:
    shown = defaults_shown((ROOT / "docs/survival.md").read_text("utf-8"))
    actual = {f.name: as_shown(f.default) for f in fields(MODELS.plugin("cox")[0])}
    assert shown.items() <= actual.items()
    assert set(actual) - set(shown) <= {f.name for f in fields(MODELS.plugin("logistic")[0])}


@pytest.mark.parametrize("model", ["logistic", "forest", "search", "sequence_fusion", "cnn3d"])
def test_the_guide_shows_every_parameter_of_a_model_with_its_default(model: str) -> None:
    sections = re.split(r"^## ", (ROOT / "docs/models.md").read_text("utf-8"), flags=re.MULTILINE)
    (own,) = (s for s in sections if s.startswith(f"`{model}`"))
    shown = defaults_shown(own.partition("The encoder `volume`")[0])
    actual = {f.name: as_shown(f.default) for f in fields(MODELS.plugin(model)[0])}
    assert shown.items() <= actual.items()
    shared = {f.name for f in fields(MODELS.plugin("logistic")[0])} - {"l1_ratio"}
    assert set(actual) - set(shown) <= (shared if model in ("forest", "search") else set())


def test_the_guide_shows_every_parameter_of_the_encoder_of_volumes() -> None:
    _, _, own = (ROOT / "docs/models.md").read_text("utf-8").partition("The encoder `volume`")
    actual = {f.name: as_shown(f.default) for f in fields(ENCODERS.plugin("volume")[0])}
    assert defaults_shown(own.partition("\n## ")[0]) == actual


def test_the_guide_shows_every_threshold_of_quality_with_its_default() -> None:
    _, _, own = (ROOT / "docs/scans.md").read_text("utf-8").partition("\n## Quality")
    actual = {f.name: as_shown(f.default) for f in fields(ScanQualitySettings)}
    assert defaults_shown(own.partition("\n## ")[0]) == actual


def test_every_model_of_the_zoo_is_in_the_guide() -> None:
    text = (ROOT / "docs/models.md").read_text("utf-8")
    assert [name for name in MODELS.names() if f"`{name}`" not in text] == []


def test_every_command_shown_exists_with_its_options() -> None:
    known = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    shown = (block for page in ("README.md", *GUIDES) for block in blocks(page, ""))
    lines = [line for block in shown for line in block.splitlines() if line.startswith("phenolens ")]
    assert len(lines) >= 10
    for line in lines:
        words = shlex.split(line, comments=True)
        options = {o for p in known[words[1]].params for o in p.opts}
        assert {w for w in words if w.startswith("--")} <= options, line


def test_make_targets_shown_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"^make (\w+)", (ROOT / page).read_text("utf-8"), re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES)
def test_every_link_and_path_shown_leads_to_a_file(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert ((ROOT / page).parent / target).exists(), target
    for target in re.findall(r"`((?:tests|benchmarks|docs)/[\w/.]+)`", text):
        assert (ROOT / target).exists(), target


def test_every_recipe_of_the_readme_exists_and_every_recipe_is_in_it() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert set(re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE)) == set(recipes())


@pytest.mark.parametrize("recipe", sorted(recipes()))
def test_every_recipe_is_a_study_that_loads(recipe: str, tmp_path: Path) -> None:
    from phenolens.recipes import write_template

    write_template(recipe, tmp_path / "study")
    study = Study.load(tmp_path / "study")
    assert study.recipe == recipe
    assert (tmp_path / "study" / "study.schema.json").exists()
