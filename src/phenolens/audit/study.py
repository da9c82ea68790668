"""The audit of a finished study: permutation p and null run of every model, written to results/audit.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from phenolens.audit.null_run import null_run, permutation_p, represent
from phenolens.cohort import split
from phenolens.core.errors import StudyError
from phenolens.core.progress import Progress
from phenolens.core.registry import Choice
from phenolens.core.store import fingerprint, key_of, study_lock, write_json
from phenolens.core.types import Example, Split
from phenolens.run import stored_examples
from phenolens.steps.cohort import read_cohort
from phenolens.steps.desk import Desk
from phenolens.steps.records import procedure
from phenolens.study import Study


def audit_study(
    folder: Path | str,
    *,
    permutations: int | None = None,
    refit_all: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """Refit every model on permuted labels; returns a line a model for a person.

    Models that are refitted by the same stand-in are tested once. The fingerprint of the predictions is kept beside the
    tests, so that a report never shows them beside the results of another run. Raises StudyError when the study has not
    been run to its end, or its tables or settings have changed since.
    """
    study = Study.load(folder)
    if study.segments:
        raise StudyError(
            "a study of masks, which has no labels to permute",
            expected="a study that predicts classes",
            todo="read the agreement with the drawn masks in its report; audit the study that reads the masks",
            where=str(study.folder),
        )
    desk = Desk(study=study, workers=workers, progress=progress or Progress())
    with study_lock(study.folder):
        refuse_changed(desk)
        ready, examples = stored_examples(desk)
        splits = split.read(desk.results / "splits.csv")
        number = permutations or study.audit.permutations
        tests: list[dict[str, Any]] = []
        done: dict[str, dict[str, Any]] = {}
        for model in study.model_choices():
            chosen, refitted = represent(model, refit_all)
            key = key_of(chosen.identity())
            if key not in done:
                refit = partial(_refit, examples, splits, model, ready.task(study), desk, refit_all)
                done[key] = {**refit(permutation_p, permutations=number), "null_run": refit(null_run)}
            tests.append({**done[key], "model": model.name, "refitted": refitted})
        of = fingerprint(desk.results / "predictions.csv")
        write_json(desk.results / "audit.json", {"permutation": tests, "predictions": of})
    return [line(test) for test in tests]


def refuse_changed(desk: Desk) -> None:
    """Raise StudyError where the study has no finished run, or was changed since."""
    manifest = desk.results / "manifest.json"
    if not manifest.exists():
        found, expected = "no finished run", "results/manifest.json"
    elif json.loads(manifest.read_text("utf-8")).get("procedure") != procedure(desk, read_cohort(desk)):
        found, expected = "a study that changed since its run", "the tables and settings the results were made with"
    else:
        return
    todo = f"phenolens run {desk.study.folder}, then audit it"
    raise StudyError(found, expected=expected, todo=todo, where=str(desk.study.folder))


def _refit(
    examples: list[Example],
    splits: list[Split],
    model: Choice,
    task: Choice,
    desk: Desk,
    refit_all: bool,
    test: Callable[..., dict[str, Any]],
    **more: int,
) -> dict[str, Any]:
    seed, workers, progress = desk.study.seed, desk.workers, desk.progress
    return test(
        examples, splits, model, task, seed=seed, workers=workers, progress=progress, refit_all=refit_all, **more
    )


def line(test: dict[str, Any]) -> str:
    """One test in words."""
    flagged = test["null_run"]["flagged"]
    verdict = "NULL RUN FLAGGED: the procedure finds signal where there is none" if flagged else "null run clean"
    return (
        f"{test['model']}: fold-mean macro AUC {test['observed']:.3f}, permutation p = {test['p']:.3f} "
        f"({test['permutations']} refits of {test['refitted']}); {verdict}"
    )
