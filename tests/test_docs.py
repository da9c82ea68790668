"""What the documents show is true: the study in the README loads, its commands exist, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from phenolens.cli import app
from phenolens.recipes import recipes
from phenolens.study import Study

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md", "benchmarks/README.md")


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


def test_the_study_in_the_readme_is_a_study(tmp_path: Path) -> None:
    (text,) = blocks("README.md", "yaml")
    assert len(text.splitlines()) <= 10
    (tmp_path / "study.yaml").write_text(text)
    assert [c.name for c in Study.load(tmp_path).model_choices()] == ["mean_pool", "sampler", "abmil"]


def test_every_command_shown_exists_with_its_options() -> None:
    known = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    lines = [line for block in blocks("README.md", "") for line in block.splitlines() if line.startswith("phenolens ")]
    assert len(lines) >= 6
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
