"""Is the result better than chance? The whole fit again on permuted labels, with the stored features.

Permuting the truth against finished cross-validated scores would not test the procedure; here the model is fitted again
on every fold for every relabelling (Ojala & Garriga 2010). It cannot see leaks that are in the features, hidden
duplicates or columns made from the outcome: those are the work of the static checks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.audit.relabel import Labels, Plan, plan
from phenolens.audit.survival import risk_order
from phenolens.core import compute
from phenolens.core.errors import ModelError, SplitError
from phenolens.core.progress import Progress
from phenolens.core.registry import METRICS, Choice
from phenolens.core.types import Example, Loaded, Split
from phenolens.evaluate.folds import HOLDOUT
from phenolens.evaluate.score import fold_mean
from phenolens.models.bags import condense

METRIC = "auc"
RISKS = "fold-mean of Uno's C"
DIGITS = 4
"""Decimals of the drawn values that are kept for the histogram; p and means are of the whole values."""
HELD_BYTES = 2 * 2**30
"""Where the model cannot pool features first, a worker keeps up to this in memory; above it each refit reads them."""
STAND_IN = Choice(kind="model", name="mean_pool")
Result = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]
"""The truth (n,) and the probabilities (n, k) of the test units of one fold."""
Procedure = Callable[[Any, Any, Sequence[Split], Sequence[Example], int], list[Result]]
"""From model, task, folds, examples (relabelled) and seed to the results of the folds; a function of a module."""
OF_PARTS = Choice(kind="model", name="logistic", params={"missing": "impute"})
OF_RISK = Choice(kind="model", name="cox", params={"missing": "impute"})


@dataclass(frozen=True, kw_only=True)
class _Job:
    """Some relabellings for one worker: fit on every fold for each."""

    model: Choice
    task: Choice
    folds: tuple[Split, ...]
    examples: tuple[Example, ...]
    labels: tuple[Labels, ...]
    hold: bool
    seed: int
    procedure: Procedure


@dataclass(frozen=True, kw_only=True)
class _Null:
    """What the refits gave: the statistic with the real labels and with each relabelling."""

    observed: float
    drawn: tuple[float, ...]
    facts: Mapping[str, Any]
    moved: str = "labels"


def permutation_p(
    examples: Sequence[Example],
    splits: Sequence[Split],
    model: Choice,
    task: Choice,
    *,
    permutations: int = 199,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
    refit_all: bool = False,
) -> dict[str, Any]:
    """p of the fold-mean macro AUC when patients' labels are permuted and the model is fitted again each time.

    Of a survival, time and event are permuted as pairs, and the statistic is the fold-mean of Uno's C.

    One repeat of the main scheme (that of the first split that is not the holdout) is used. A model that is not cheap
    is represented by a linear head on mean-pooled features, said in `refitted`, unless `refit_all`. The statistic is
    the mean over classes of the fold-mean one-vs-rest AUC: the macro AUC where every test set holds every class. p is
    (1 + relabellings that reach the observed value) / (1 + relabellings). The result is JSON: observed, p,
    permutations, null (mean, sd, q025, median, q975, drawn), statistic, model, refitted, scheme, repeat, folds,
    patients, strata, seed, notes. It depends on `seed` and not on `workers`.

    Raises:
        SplitError: no fold to fit on. ModelError: labels that cannot be permuted, or a fit that fails.
    """
    null = _refits(
        examples, splits, model, task, draws=permutations, seed=seed, workers=workers, progress=progress, all_=refit_all
    )
    drawn = np.array(null.drawn)
    reached = int((drawn >= null.observed - 1e-12).sum())
    return {
        "test": f"{null.moved} of patients permuted, model fitted again on every fold",
        "observed": null.observed,
        "p": (1 + reached) / (1 + permutations),
        "permutations": permutations,
        "null": {
            "mean": float(drawn.mean()),
            "sd": float(drawn.std(ddof=1)) if permutations > 1 else 0.0,
            **{name: float(np.quantile(drawn, q)) for name, q in (("q025", 0.025), ("median", 0.5), ("q975", 0.975))},
            "drawn": [round(float(v), DIGITS) for v in drawn],
        },
        **null.facts,
    }


def null_run(
    examples: Sequence[Example],
    splits: Sequence[Split],
    model: Choice,
    task: Choice,
    *,
    runs: int = 20,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
    refit_all: bool = False,
    procedure: Procedure | None = None,
) -> dict[str, Any]:
    """Does the procedure find signal where there is none? The mean fold-mean macro AUC over `runs` relabellings.

    `flagged` when it is above 0.5 by more than `threshold`, the larger of 0.03 and three standard errors; `drawn` are
    the values. Labels move between sites: with labels that stay in their site, a site that can be read would look like
    a leak of the procedure (`audit/site.py` looks for it). The other keys are as in `permutation_p`. Another
    `procedure` than `fit_folds` tests a way of fitting and splitting that is not phenolens' own, with the examples it
    is given: it may select, resample and choose as it likes.
    """
    null = _refits(
        examples,
        splits,
        model,
        task,
        draws=runs,
        seed=seed,
        workers=workers,
        progress=progress,
        all_=refit_all,
        keep_sites=False,
        procedure=procedure,
    )
    drawn = np.array(null.drawn)
    error = float(drawn.std(ddof=1)) / math.sqrt(runs) if runs > 1 else math.inf
    threshold = max(0.03, 3 * error)
    mean = float(drawn.mean())
    return {
        "test": f"null run: the fitting procedure on permuted {null.moved}",
        "mean": mean,
        "standard_error": error,
        "threshold": threshold,
        "flagged": mean - 0.5 > threshold,
        "runs": runs,
        "drawn": [round(float(v), DIGITS) for v in drawn],
        **null.facts,
    }


def _refits(
    examples: Sequence[Example],
    splits: Sequence[Split],
    model: Choice,
    task: Choice,
    *,
    draws: int,
    seed: int,
    workers: int | None,
    progress: Progress | None,
    all_: bool,
    keep_sites: bool = True,
    procedure: Procedure | None = None,
) -> _Null:
    if draws < 1:
        raise ValueError(f"permutations must be 1 or more, not {draws}")
    folds = one_repeat(splits)
    taking_part = frozenset[str]().union(*(f.train | f.tune | f.test for f in folds))
    mine = sorted((e for e in examples if e.patient in taking_part), key=lambda e: (e.patient, e.unit_id))
    told = task.create().outcome
    relabel = plan(mine, folds, told[0] if len(told) == 1 else told, draws=draws, keep_sites=keep_sites)
    chosen, refitted = represent(model, all_)
    small = condense(chosen.create(), mine)
    hold = not hasattr(chosen.create(), "pool")
    common = _Job(
        model=chosen,
        task=task,
        folds=folds,
        examples=tuple(small),
        labels=(relabel.real,),
        hold=hold,
        seed=seed,
        procedure=procedure or fit_folds,
    )
    values: list[float] = []
    shown = progress or Progress("quiet")
    with shown.step(f"refit {chosen.name} on permuted labels", draws + 1, "fits") as step:
        for outcome in compute.run_all(_fit_all, _jobs(common, relabel, draws, workers), workers=workers):
            made = outcome.unwrap()
            values += made
            step.advance(len(made))
    facts = _facts(relabel, model, refitted, seed, keep_sites)
    moved = "follow-up" if relabel.followed else "labels"
    return _Null(observed=values[0], drawn=tuple(values[1:]), facts=facts, moved=moved)


def one_repeat(splits: Sequence[Split]) -> tuple[Split, ...]:
    """The folds of the first repeat of the main scheme: that of the first split that is not the holdout."""
    main = [s for s in splits if s.scheme != HOLDOUT]
    if not main:
        raise SplitError(
            "no split beside the holdout", expected="a scheme to fit on", todo="run the study before its audit"
        )
    scheme = main[0].scheme
    repeat = min(s.repeat for s in main if s.scheme == scheme)
    return tuple(sorted((s for s in main if (s.scheme, s.repeat) == (scheme, repeat)), key=lambda s: s.fold))


def represent(model: Choice, all_: bool) -> tuple[Choice, str]:
    """What is refitted for a model, and the words for it: itself when it is cheap or `all_`, else the stand-in."""
    made = model.create()
    if all_ or made.cheap:
        return model, model.name
    if made.reads in ("volume", "tiles"):
        raise ModelError(
            f"model '{model.name}', whose refits on {made.reads.removesuffix('s')}s take minutes each",
            expected="a model that is refitted in seconds, or your word that this one shall be",
            todo="say phenolens audit --refit-all, and give it the night",
        )
    if getattr(made, "task", "") == "survival":
        return OF_RISK, f"a Cox regression on the features of each part ({OF_RISK.name}) in place of {model.name}"
    if made.accepts_missing:
        return OF_PARTS, f"a linear head on the features of each part ({OF_PARTS.name}) in place of {model.name}"
    return STAND_IN, f"a linear head on mean-pooled features ({STAND_IN.name}) in place of {model.name}"


def _jobs(common: _Job, relabel: Plan, draws: int, workers: int | None) -> Iterator[_Job]:
    yield common
    count = max(1, compute.default_workers() if workers is None else workers)
    each = max(1, math.ceil(draws / (2 * count))) if common.hold else max(1, min(10, math.ceil(draws / (4 * count))))
    for start in range(0, draws, each):
        numbers = range(start, min(start + each, draws))
        yield replace(common, labels=tuple(relabel.draw(common.seed, i) for i in numbers))


def _fit_all(job: _Job) -> list[float]:
    model, task, metric = job.model.create(), job.task.create(), METRICS.create(METRIC)
    examples = _held(job.examples) if job.hold else job.examples
    return [_statistic(model, task, metric, _relabelled(examples, labels, task), job) for labels in job.labels]


def _statistic(model: Any, task: Any, metric: Any, examples: Sequence[Example], job: _Job) -> float:
    """The fold-mean macro AUC, by the same functions as the estimates; of a survival the fold-mean of Uno's C."""
    if task.kind == "survival":
        return risk_order(model, task, examples, job.folds, job.seed)
    results = job.procedure(model, task, job.folds, examples, job.seed)
    return fold_mean(metric, results, task.classes)


def fit_folds(model: Any, task: Any, folds: Sequence[Split], examples: Sequence[Example], seed: int) -> list[Result]:
    """The procedure of a run: fit on train, stop and choose on tune, then predict test, fold by fold."""
    results = []
    for fold in folds:
        train, tune, test = ([e for e in examples if e.patient in part] for part in (fold.train, fold.tune, fold.test))
        if test:
            fitted = model.fit(train, tune, task, seed=seed)
            truth = np.array([task.truth(e) for e in test], dtype=np.int64)
            results.append((truth, np.asarray(fitted.predict(test), dtype=np.float64)))
    return results


def _relabelled(examples: Sequence[Example], labels: Labels, task: Any) -> list[Example]:
    given = [labels[e.patient, e.unit_id] for e in examples]
    named = [dict(zip(task.outcome, (g,) if isinstance(g, str) else g, strict=True)) for g in given]
    return [replace(e, targets={**e.targets, **own}) for e, own in zip(examples, named, strict=True)]


def _held(examples: Sequence[Example]) -> Sequence[Example]:
    """The examples with their bags in memory, so that refits read no file; as they are when they would not fit."""
    held, size = [], 0
    for example in examples:
        parts = []
        for part in example.parts:
            bag = part.load()
            size += 0 if bag is None else bag.x.nbytes + bag.coords.nbytes
            parts.append(replace(part, source=None if bag is None else Loaded(bag=bag)))
            if size > HELD_BYTES:
                return examples
        held.append(replace(example, parts=tuple(parts)))
    return held


def _facts(relabel: Plan, model: Choice, refitted: str, seed: int, keep_sites: bool) -> dict[str, Any]:
    first = relabel.folds[0]
    notes = []
    if relabel.mixes_sites and keep_sites:
        notes.append("labels moved between sites: a signal of the site alone would look like one of the label")
    return {
        "statistic": RISKS if relabel.followed else "mean over classes of the fold-mean one-vs-rest AUC",
        "model": model.name,
        "refitted": refitted,
        "scheme": first.scheme,
        "repeat": first.repeat,
        "folds": len(relabel.folds),
        "patients": len(relabel.patients),
        "strata": relabel.how,
        "distinct_log10": round(relabel.distinct, 2),
        "seed": seed,
        "notes": notes,
    }
