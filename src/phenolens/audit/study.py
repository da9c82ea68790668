"""The audit of a finished study, written to results/audit.json: chance, null run, shortcuts and sites."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from phenolens.audit import battery
from phenolens.audit.duplicates import looks_of, near_duplicates
from phenolens.audit.evidence import DRAWS, Evidence
from phenolens.audit.findings import Judged, in_words, judge
from phenolens.audit.labels import gather
from phenolens.audit.null_run import RISKS, null_run, one_repeat, permutation_p, represent
from phenolens.audit.survival_evidence import gather_followed
from phenolens.cohort import split
from phenolens.core.errors import ModelError, StudyError
from phenolens.core.predictions import Predictions, SurvivalPredictions
from phenolens.core.progress import Progress
from phenolens.core.registry import METRICS, Choice
from phenolens.core.signoff import signed
from phenolens.core.store import fingerprint, key_of, study_lock, write_json
from phenolens.core.types import Example, Finding, Split
from phenolens.evaluate.metric import floor_of
from phenolens.run import stored_examples
from phenolens.sections import SURVIVAL
from phenolens.steps.cohort import read_cohort
from phenolens.steps.desk import Desk, Ready
from phenolens.steps.records import procedure
from phenolens.study import Study


@dataclass(frozen=True, kw_only=True)
class Audited:
    """What the audit says: lines for a person, and its findings."""

    lines: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> bool:
        """Whether a finding is an error that nobody has signed off."""
        return any(f.severity == "error" and not f.signed_off for f in self.findings)


def audit_study(
    folder: Path | str,
    *,
    permutations: int | None = None,
    refit_all: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Audited:
    """Refit every model on permuted labels, and ask what the label can be told from without looking at tissue.

    Models that are refitted by the same stand-in are tested once. Where an AUC is not estimable there is no p, and
    `why` says so. The fingerprint of the predictions is kept beside the tests, so that a report never shows them beside
    the results of another run. Raises StudyError when the study has not been run to its end, or its tables or settings
    have changed since.
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
    with study_lock(study.base):
        refuse_changed(desk)
        ready, examples = stored_examples(desk)
        splits = split.read(desk.results / "splits.csv")
        tests = _models(desk, ready, examples, splits, permutations or study.audit.permutations, refit_all)
        images = looks_of(desk.results / "images.csv")
        recurring = study.reads in ("scan", "table")
        copies = signed(near_duplicates(images, examples, splits, recurring=recurring), study.sign_offs)
        judged, sites = _battery(desk, ready, examples, splits, tests)
        content = {
            "permutation": tests,
            **_kept(judged, copies, study),
            "sites": sites,
            "predictions": fingerprint(desk.results / "predictions.csv"),
        }
        write_json(desk.results / "audit.json", content)
    lines = (*map(line, tests), *map(in_words, copies), *_told(judged, survives=study.survives))
    return Audited(lines=lines, findings=(*copies, *judged.findings))


def _kept(judged: Judged, copies: Sequence[Finding], study: Study) -> dict[str, Any]:
    """The tests and all findings as audit.json keeps them."""
    findings = [asdict(f) for f in (*copies, *judged.findings)]
    return {"tests": judged.rows(), "level": judged.level, "draws": _draws(study), "findings": findings}


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


def _models(
    desk: Desk, ready: Ready, examples: list[Example], splits: list[Split], number: int, refit_all: bool
) -> list[dict[str, Any]]:
    """The permutation test and the null run of every model; those with the same stand-in are done once."""
    task = ready.task(desk.study)
    short = below_floor(examples, splits, task)
    tests: list[dict[str, Any]] = []
    done: dict[str, dict[str, Any]] = {}
    for model in desk.study.model_choices():
        try:
            chosen, refitted = represent(model, refit_all)
        except ModelError as why:
            tests.append({"model": model.name, "refitted": "", "p": None, "why": f"not run: {why.found}; {why.todo}"})
            continue
        key = key_of(chosen.identity())
        if key not in done:
            refit = partial(_refit, examples, splits, model, task, desk, refit_all)
            first = {"p": None, "why": short} if short else refit(permutation_p, permutations=number)
            done[key] = first if short and desk.study.survives else {**first, "null_run": refit(null_run)}
        tests.append({**done[key], "model": model.name, "refitted": refitted})
    return tests


def below_floor(examples: Sequence[Example], splits: Sequence[Split], task: Choice) -> str:
    """Why a macro AUC (of survival: Uno's C) of the main scheme is not estimable, in words; empty where it is."""
    short, score = _short(examples, splits, task), "Uno's C" if task.name == SURVIVAL else "AUC"
    return f"{score} not estimable: {'; '.join(short.values())} ({_floor()} needed)" if short else ""


def _floor() -> int:
    return floor_of(METRICS.create("auc"))


def _short(examples: Sequence[Example], splits: Sequence[Split], task: Choice) -> dict[str, str]:
    """Class -> how few test patients have it, or have it not; of survival the event, if few have it by tau."""
    made = task.create()
    tested = frozenset[str]().union(*(f.test for f in one_repeat(splits)))
    if made.kind == SURVIVAL:
        told = [made.facts(e) for e in examples if e.patient in tested]
        seen = sum(event == 1 and time <= made.tau for time, event in told)
        return {made.classes[1]: f"{seen} patients with the event by {made.tau:g}"} if seen < _floor() else {}
    found = {}
    for i, name in enumerate(made.classes):
        having = {e.patient for e in examples if e.patient in tested and made.truth(e) == i}
        lacking = {e.patient for e in examples if e.patient in tested and made.truth(e) != i}
        few = [f"{len(who)} patients {how} {name}" for who, how in ((having, "with"), (lacking, "without"))
               if len(who) < _floor()]  # fmt: skip
        if few:
            found[name] = " and ".join(few)
    return found


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


def _called(test: Mapping[str, Any]) -> str:
    return RISKS if test["statistic"] == RISKS else "fold-mean macro AUC"


def _battery(
    desk: Desk, ready: Ready, examples: list[Example], splits: list[Split], tests: Sequence[Mapping[str, Any]]
) -> tuple[Judged, dict[str, Any]]:
    """The tests on metadata, missing parts, size and site; not done where fewer than two classes, or too few events,
    reach the floor.
    """
    study, task = desk.study, ready.task(desk.study)
    runs = {key_of(t["null_run"]): {**t["null_run"], "model": t["model"]} for t in tests if "null_run" in t}
    made = task.create()
    if len(made.classes) - len(_short(examples, splits, task)) < 2:
        return judge([], list(runs.values()), study.sign_offs), {}
    found, sites = battery.run(
        _evidence(desk, ready, examples, splits),
        patients=ready.cohort.patients,
        images=known_images(ready.cohort.images, desk.results / "images.csv"),
        declared=study.audit.acquisition,
        within={t["model"]: t["p"] if str(t.get("strata", "")).startswith("within site") else None for t in tests},
    )
    return judge(found, list(runs.values()), study.sign_offs), sites


def _evidence(desk: Desk, ready: Ready, examples: list[Example], splits: list[Split]) -> Evidence:
    """What the tests look at, of classes or of survival."""
    study, task, path = desk.study, ready.task(desk.study), desk.results / "predictions.csv"
    if study.survives:
        followed = read_followed(path, task)
        return gather_followed(examples, splits, task, followed, draws=_draws(study), seed=study.seed)
    told = read_predictions(path, task.create().classes)
    return gather(examples, splits, task, told, draws=_draws(study), seed=study.seed)


def _draws(study: Study) -> int:
    """Relabellings of the closed-form tests: as many as Holm's correction needs, or more where the study asks."""
    return max(DRAWS, study.audit.permutations)


def read_predictions(path: Path, classes: Sequence[str]) -> Predictions:
    """results/predictions.csv as the run wrote it; ids and labels are text whatever they look like."""
    raw = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    numbers = {c: pd.to_numeric(raw[c]) for c in ("repeat", "fold", *(f"p_{c}" for c in classes))}
    return Predictions(table=raw.assign(**numbers), classes=tuple(classes))


def read_followed(path: Path, task: Choice) -> SurvivalPredictions:
    """results/predictions.csv of a study of survival, as `read_predictions`."""
    made = task.create()
    raw = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    names = ("repeat", "fold", "time", "event", "risk", *(c for c in raw.columns if c.startswith("s_")))
    table = raw.assign(**{c: pd.to_numeric(raw[c]) for c in names})
    return SurvivalPredictions(table=table, times=made.times, horizons=made.horizons)


def known_images(images: pd.DataFrame, measured: Path) -> pd.DataFrame:
    """The images table with what the run knows of each image, and the size of its file or folder in bytes."""
    table = images.copy()
    if "path" in table.columns:
        table["file_size"] = [_bytes(p) for p in table["path"]]
    if not measured.exists():
        return table
    known = pd.read_csv(measured, dtype={"image": str, "patient": str}, keep_default_na=False, na_values=[""])
    known = known[known["status"] == "used"]
    if "image" not in table.columns or not set(known["image"]) & set(table["image"].astype(str)):
        return known if table.empty else table
    new = [c for c in known.columns if c not in table.columns]
    table = table.assign(image=table["image"].astype(str))
    return table.merge(known[["image", *new]], on="image", how="left")


def _bytes(path: object) -> float:
    place = Path(str(path))
    if place.is_dir():
        return float(sum(f.stat().st_size for f in place.iterdir() if f.is_file()))
    return float(place.stat().st_size) if place.is_file() else float(np.nan)


def line(test: Mapping[str, Any]) -> str:
    """One model's permutation test and null run in words."""
    run = test.get("null_run")
    verdict = "null run clean"
    if run is None:
        verdict = "no null run"
    elif run["flagged"]:
        verdict = "NULL RUN FLAGGED: the procedure finds signal where there is none"
    if test["p"] is None:
        return f"{test['model']}: no permutation p ({test['why']}); {verdict}"
    return (
        f"{test['model']}: {_called(test)} {test['observed']:.3f}, permutation p = {test['p']:.3f} "
        f"({test['permutations']} refits of {test['refitted']}); {verdict}"
    )


def _told(judged: Judged, *, survives: bool) -> list[str]:
    """The findings in words, and how many tests there were."""
    lines = [in_words(f) for f in judged.findings]
    done = [t for t in judged.tests if t.p is not None]
    left = [f"{t.name}: {t.what}" for t in judged.tests if t.p is None]
    if not judged.tests:
        few = (
            "too few patients have the event" if survives else "fewer than two classes have patients enough for an AUC"
        )
        return [*lines, f"shortcuts and sites: not tested, since {few}"]
    if not lines:
        lines = [f"no finding in {len(done)} tests of shortcuts and sites"]
    return [*lines, *left]
