"""A study of masks: fits in folds, a mask of every test image on its own grid, and what it agrees with."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from phenolens.core.compute import run_all
from phenolens.core.errors import ModelError
from phenolens.core.store import atomic, key_of
from phenolens.core.types import Example, Finding, Part, Split
from phenolens.evaluate.folds import HOLDOUT
from phenolens.evaluate.overlap import overlap_estimates
from phenolens.models.fit import FitJob
from phenolens.models.fit_masks import fit_masks
from phenolens.steps.desk import Desk, Ready, write_csv
from phenolens.steps.finders import finder_of
from phenolens.steps.models import Fit, folder_of
from phenolens.steps.states import ImageState, States

MASKS, TABLE = "masks", "segmentation.csv"
FEW_FOUND = 0.5
"""Dice below which a mask is named as not found in the findings."""
_OTHERS = ("predictions.csv", "coefficients.csv", "sequences.csv", "audit.json", "robustness.json")
"""Results of other tasks, which a study that was changed may have left."""


def make_examples(states: States, sources: Mapping[str, Any]) -> tuple[list[Example], dict[str, str]]:
    """One example an image with a volume or tiles, in the order of ids, and the key of each one's content."""
    made, keys = [], {}
    for image, source in sorted(sources.items()):
        state = states[image]
        part = Part(name=_sequence(state), image=image, source=source)
        site = {"site": state.site}
        made.append(Example(patient=state.job.patient, unit_id=image, parts=(part,), covariates=site))
        keys[image] = key_of([state.features, state.prepared])
    return made, keys


def _sequence(state: ImageState) -> str:
    """The sequence of a scan; slides have none."""
    return str(getattr(state.job, "sequence", "slide"))


def mixed(examples: Sequence[Example]) -> list[Finding]:
    """A note where one model is to segment several sequences."""
    names = sorted({p.name for e in examples for p in e.parts})
    if len(names) < 2:
        return []
    what = f"one model segments scans of {len(names)} sequences ({', '.join(names)}), each by itself"
    todo = "nothing if they look alike; else name one in scan.sequences, and make a study of each"
    return [Finding(rule="sequences-mixed", severity="note", what=what, todo=todo)]


def fit_models(
    desk: Desk,
    ready: Ready,
    splits: Sequence[Split],
    examples: Sequence[Example],
    keys: Mapping[str, str],
    context: Mapping[str, Any],
) -> list[Fit]:
    """Fit every model on every split and once on all development patients; stored ones are not fitted again."""
    held = {p for s in splits if s.scheme == HOLDOUT for p in s.test}
    jobs = [
        FitJob(
            model=model,
            task=ready.task(desk.study),
            split=split,
            examples=(inside := _learnt_from(split, examples, held)),
            upstream={e.unit_id: keys[e.unit_id] for e in inside},
            seed=desk.study.seed,
            context=context,
            tune=desk.study.validation.tune,
        )
        for split in [*splits, None]
        for model in desk.study.model_choices()
    ]
    fits = []
    with desk.progress.step("fitting models", len(jobs), "fits") as step:
        for outcome in run_all(partial(fit_masks, root=desk.root), jobs, workers=desk.workers):
            fits.append(Fit(model=outcome.item.model, split=outcome.item.split, key=outcome.unwrap()))
            step.advance()
    return fits


def _learnt_from(split: Split | None, examples: Sequence[Example], held: set[str]) -> tuple[Example, ...]:
    """The examples a fit is handed: those of its training side; the test patients' never leave this function."""
    inside = split.train | split.tune if split else {e.patient for e in examples} - held
    return tuple(e for e in examples if e.patient in inside)


def find_masks(
    desk: Desk, ready: Ready, fits: Sequence[Fit], examples: Sequence[Example], states: States
) -> pd.DataFrame:
    """Masks of all test images, each by the model of its fold; results/segmentation.csv and results/masks."""
    finder = finder_of(desk)
    jobs: list[tuple[Fit, ImageState, Any]] = []
    for one in fits:
        for example in examples if one.split else ():
            if one.split is not None and example.patient in one.split.test:
                state = states[example.unit_id]
                jobs.append((one, state, finder.job_of(desk, ready, one.key, state)))
    if not jobs:
        raise ModelError(f"no test {finder.image}", expected="at least one split", todo="check the validation section")
    rows = []
    with desk.progress.step("finding masks", len(jobs), f"{finder.image}s") as step:
        outcomes = run_all(partial(finder.find, root=desk.root), [job for *_, job in jobs], workers=desk.workers)
        for (one, state, _), outcome in zip(jobs, outcomes, strict=True):
            rows.append(_row(desk, one, state, outcome.unwrap()))
            step.advance()
    order = ["model", "scheme", "repeat", "fold", "patient", "image"]
    table = pd.DataFrame(rows).sort_values(order, ignore_index=True)
    for name in _OTHERS:
        (desk.results / name).unlink(missing_ok=True)
    shutil.rmtree(desk.results / "maps", ignore_errors=True)
    table = table.assign(mask=_publish(desk, table))
    write_csv(desk.results / TABLE, table)
    return table


def _row(desk: Desk, one: Fit, state: ImageState, key: str) -> dict[str, Any]:
    assert one.split is not None
    figures = json.loads(desk.store.path("measured", key, ".json").read_text("utf-8"))
    empty = figures["parts_pred"] == 0
    return {
        "model": one.model.name.rpartition(":")[2],
        "scheme": one.split.scheme,
        "repeat": one.split.repeat,
        "fold": one.split.fold,
        "patient": state.job.patient,
        "image": state.job.image,
        "sequence": _sequence(state),
        "site": state.site,
        **figures,
        "flag": "nothing found" if empty else "",
        "fit": one.key,
        "mask": desk.relative(desk.store.path("masks", key, finder_of(desk).suffix)),
        "picture": desk.relative(desk.store.path("overlays", key, ".jpg")),
    }


def _main(desk: Desk, table: pd.DataFrame) -> pd.DataFrame:
    """The rows whose masks are the study's: of the first model, first repeat, by the main scheme or the holdout."""
    first = desk.study.model_choices()[0].name.rpartition(":")[2]
    schemes = (desk.study.validation.scheme, HOLDOUT)
    return table[(table["model"] == first) & (table["repeat"] == 0) & table["scheme"].isin(schemes)].drop_duplicates(
        "image"
    )


def _publish(desk: Desk, table: pd.DataFrame) -> pd.Series[str]:
    """Copy the study's masks to results/masks, each named by its image; where each mask lies, by row."""
    folder = desk.results / MASKS
    places = table["mask"].copy()
    kept: set[str] = set()
    for row, image, mask in _main(desk, table)[["image", "mask"]].itertuples(name=None):
        name = file_name(image, finder_of(desk).suffix)
        kept.add(name)
        with atomic(folder / name) as part:
            part.write_bytes((desk.study.folder / mask).read_bytes())
        places[row] = desk.relative(folder / name)
    for stale in folder.iterdir():
        if stale.name not in kept:
            stale.unlink()
    return places


def file_name(image: str, suffix: str) -> str:
    """IMAGE.nii.gz or IMAGE.geojson; an id that is no file name gets a hash in place of what cannot be in one."""
    plain = re.sub(r"[^\w.-]", "_", image).lstrip(".")
    return f"{plain}{suffix}" if plain == image else f"{plain}-{key_of(image)[:8]}{suffix}"


def measure(desk: Desk, table: pd.DataFrame, splits: Sequence[Split]) -> pd.DataFrame:
    """Estimates with intervals by patient, written to results/estimates.csv."""
    ratios: dict[str, list[float]] = {}
    for split in splits:
        ratios.setdefault(split.scheme, []).append(len(split.test) / max(1, len(split.train)))
    ratio = {scheme: sum(values) / len(values) for scheme, values in ratios.items()}
    made = overlap_estimates(table, target=desk.study.task.target, ratio=ratio)
    write_csv(desk.results / "estimates.csv", made)
    return made


def not_found(desk: Desk, table: pd.DataFrame) -> list[Finding]:
    """Images on which nothing, or mostly something else, was found."""
    main, finder = _main(desk, table), finder_of(desk)
    made = []
    for rows, rule, what in (
        (main[main["parts_pred"] == 0], "nothing-found", "no {piece} of {n} was called part of the {target}"),
        (
            main[(main["parts_pred"] > 0) & (main["dice"] < FEW_FOUND)],
            "poorly-found",
            "the masks of {n} have a Dice under 0.5",
        ),
    ):
        if len(rows):
            n = f"{len(rows)} of {len(main)} {finder.image}s"
            said = what.format(n=n, target=desk.study.task.target, piece=finder.piece)
            todo = "look at their pictures in the report before the masks are used"
            who = tuple(sorted(set(rows["patient"])))
            made.append(Finding(rule=rule, severity="warning", what=said, todo=todo, who=who))
    return made


def told(desk: Desk, fits: Sequence[Fit], table: pd.DataFrame, states: States) -> dict[str, Any]:
    """What the manifest holds of the masks: of each the fit that found it, and of each fit the patients it saw."""
    main = _main(desk, table)
    used = {*main["fit"]}
    final = next(f for f in fits if f.split is None)
    return {
        "masks": {
            "fits": dict(_seen(desk, [f for f in fits if f.key in used and f.split is not None])),
            "images": [
                {k: row[k] for k in ("patient", "image", "sequence", "mask", "fit")}
                | {"scan": finder_of(desk).fingerprint(desk, states[row["image"]]), "flag": row["flag"]}
                for row in main.sort_values("image").to_dict("records")
            ],
            "final": desk.relative(folder_of(desk, final)),
        }
    }


def _seen(desk: Desk, fits: Sequence[Fit]) -> Iterator[tuple[str, dict[str, Any]]]:
    for one in fits:
        config = json.loads((folder_of(desk, one) / "config.json").read_text("utf-8"))
        patients = {"training_patients": config["training_patients"]}
        yield one.key, {"folder": desk.relative(folder_of(desk, one)), "split": config["split"], **patients}
