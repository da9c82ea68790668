"""One folder a study template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from phenolens.core.errors import StudyError, nearest
from phenolens.core.store import write_text

_HERE = Path(__file__).parent


def recipes() -> dict[str, dict[str, Any]]:
    """Every recipe by name with its summary, the first line of its README."""
    found = {}
    for folder in sorted(p for p in _HERE.iterdir() if (p / "study.yaml").exists()):
        first = (folder / "README.md").read_text("utf-8").strip().splitlines()[0]
        found[folder.name] = {"name": folder.name, "summary": first.lstrip("# ")}
    return found


def folder_of(recipe: str) -> Path:
    """The folder of a recipe; an unknown name is refused with the nearest."""
    known = recipes()
    if recipe not in known:
        raise StudyError(
            f"recipe '{recipe}'", expected=f"one of {', '.join(known)}", todo=f"correct it{nearest(recipe, known)}"
        )
    return _HERE / recipe


def write_template(recipe: str, folder: Path) -> list[Path]:
    """Write the files of a recipe and the schema of study.yaml into a new folder; existing files are never touched."""
    from phenolens.study import FILE, SCHEMA, schema

    source = folder_of(recipe)
    files = sorted(p for p in source.iterdir() if p.is_file() and p.suffix in (".yaml", ".csv", ".md"))
    there = [p.name for p in files if (folder / p.name).exists()]
    if there:
        raise StudyError(
            f"{', '.join(there)} already there",
            expected="a folder without a study",
            todo="name another folder",
            where=str(folder),
        )
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for path in files:
        text = path.read_text("utf-8")
        if path.name == FILE:
            text = f"# yaml-language-server: $schema={SCHEMA}\n{text}"
        write_text(folder / path.name, text)
        written.append(folder / path.name)
    write_text(folder / SCHEMA, json.dumps(schema(), indent=1, sort_keys=True) + "\n")
    return [*written, folder / SCHEMA]
