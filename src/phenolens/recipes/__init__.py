"""One folder a study template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from phenolens.core.errors import StudyError, nearest
from phenolens.core.store import write_text

_HERE = Path(__file__).parent
_FULL = "full"
"""The folder beside a recipe's files with those that differ where it has several experiments."""


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


def write_template(recipe: str, folder: Path, *, full: bool = False) -> list[Path]:
    """Write the files of a recipe and the schema of study.yaml into a new folder; existing files are never touched.

    `full` takes the recipe with all its experiments; raises StudyError where a recipe has none.
    """
    from phenolens.study import FILE, SCHEMA, schema

    source = folder_of(recipe)
    if full and not (source / _FULL).is_dir():
        have = [name for name in recipes() if (_HERE / name / _FULL).is_dir()]
        raise StudyError(f"--full with {recipe}", expected=f"one of {', '.join(have)}", todo="leave --full out")
    places = (source, source / _FULL) if full else (source,)
    named = {p.name: p for place in places for p in place.iterdir() if p.suffix in (".yaml", ".csv", ".md")}
    files = [named[name] for name in sorted(named)]
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


def write_draft(folder: Path, scans: Path) -> list[str]:
    """Fill the tables of a new study from a folder of scans, for the user to correct; lines that say what was found.

    images.csv gets a row a scan with a guessed sequence, how sure the guess is and why; patients.csv gets the patients
    with empty labels. Raises CohortError where there is no scan.
    """
    import pandas as pd

    from phenolens.core.store import atomic
    from phenolens.scans.draft import draft_images

    rows = pd.DataFrame(draft_images(scans.resolve()))
    for column in ("path", "mask"):
        rows[column] = [_from(str(p), folder) if p else "" for p in rows[column]]
    columns = pd.read_csv(folder / "patients.csv", nrows=0).columns
    patients = pd.DataFrame({"patient": sorted(set(rows["patient"]))}).reindex(columns=columns)
    for name, table in (("images.csv", rows), ("patients.csv", patients)):
        with atomic(folder / name) as part:
            table.to_csv(part, index=False, lineterminator="\n")
    counts = rows["sequence"].value_counts()
    unknown = int(counts.get("unknown", 0))
    said = [
        f"drafted {len(rows)} scans of {len(patients)} patients: " + ", ".join(f"{s} {n}" for s, n in counts.items()),
        "look at every row of images.csv: delete what you do not need, correct sequence where confidence is low",
    ]
    if unknown:
        said.append(f"{unknown} scans are 'unknown': name their sequence or delete the rows")
    return [*said, "fill the label column of patients.csv"]


def _from(path: str, folder: Path) -> str:
    """A path as it stands in a table of the study: relative where it lies in the study's folder, else absolute."""
    whole = Path(path).resolve()
    inside = folder.resolve()
    return whole.relative_to(inside).as_posix() if whole.is_relative_to(inside) else whole.as_posix()
