"""A synthetic cohort for a recipe as a study on disk, ready to run."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from phenolens import demo_full
from phenolens.core.errors import StudyError
from phenolens.core.progress import Progress
from phenolens.core.store import write_text
from phenolens.experiments import merged
from phenolens.recipes import folder_of
from phenolens.study import FILE, SCHEMA, schema
from phenolens.synth.cohort import demo_overrides, design_for, make

_HEAD = f"# yaml-language-server: $schema={SCHEMA}\n# A synthetic cohort with a known truth; see truth.json.\n"


def make_demo(
    recipe: str,
    folder: Path,
    *,
    patients: int | None = None,
    signal: float = 1.0,
    seed: int | None = None,
    full: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write slides, annotations, tables and study.yaml of a synthetic cohort; returns the folder.

    `full` is the recipe with all its experiments; of sts-subtypes only.

    A folder that holds the same demo is used again as it is; another study is never overwritten.
    """
    if full and recipe != demo_full.RECIPE:
        raise StudyError(
            f"--full with the recipe {recipe}", expected=demo_full.RECIPE, todo="leave --full out, or name that recipe"
        )
    given = {"patients_per_class": patients, "signal": signal, "seed": seed}
    chosen = {key: value for key, value in given.items() if value is not None}
    asked = {"recipe": recipe, **chosen, **({"full": True} if full else {})}
    mark = folder / "demo.json"
    if mark.exists() and json.loads(mark.read_text("utf-8")) == asked:
        return folder
    if folder.exists() and any(folder.iterdir()) and not (folder / ".unfinished").exists():
        raise StudyError(
            f"files in {folder}", expected="an empty folder, or the same demo", todo="name another with --out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".unfinished").touch()
    if full:
        chosen = {"patients_per_class": demo_full.PATIENTS, "slide_px": demo_full.SLIDE_PX, **chosen}
    make(folder, design_for(recipe, **chosen), workers=workers, progress=progress or Progress())
    if full:
        asked_of = demo_full.complete(folder, workers=workers, progress=progress)
    else:
        template = yaml.safe_load((folder_of(recipe) / FILE).read_text("utf-8"))
        asked_of = merged(template, demo_overrides(recipe))
    write_text(folder / SCHEMA, json.dumps(schema(), indent=1, sort_keys=True) + "\n")
    write_text(folder / FILE, _HEAD + yaml.safe_dump(asked_of, sort_keys=False))
    write_text(mark, json.dumps(asked))
    (folder / ".unfinished").unlink()
    return folder
