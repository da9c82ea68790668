"""Checks of a cohort with follow-up and its splits: what counts is events, not patients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from phenolens.cohort.asked import Tables
from phenolens.cohort.check import unlabelled
from phenolens.cohort.faults import counted, listed
from phenolens.cohort.patients import UNKNOWN
from phenolens.core.predictions import STRATA
from phenolens.core.store import key_of
from phenolens.core.types import Cohort, Finding, Split

FLOOR = 10
"""Events under which nothing is estimated, and patients at risk under which a horizon is uncertain."""
FEW = 50
_DRAWS = 999


def survival(
    cohort: Cohort, labels: pd.Series[str], splits: Sequence[Split], tables: Tables, horizons: Sequence[float]
) -> list[Finding]:
    """Everything that follow-up, sites and splits alone can tell, the gravest first.

    Rules: no-event, events-under-floor, events-few, horizon-beyond-follow-up, horizon-few-events, horizon-few-at-risk,
    class-not-trained, class-few-for-folds, class-not-tested, site-label, and those of `check.unlabelled`.
    """
    with_it = frozenset(str(p) for p in labels.index[labels == STRATA[1]])
    time = cohort.patients[str(tables.time)].to_numpy(dtype=float)
    event = cohort.patients[str(tables.event)].to_numpy(dtype=float) == 1
    found = [*_events(with_it, len(labels)), *unlabelled(cohort, labels, splits)]
    if with_it:
        found += [*_horizons(time, event, horizons), *_parts(with_it, splits), *_site(cohort, time, event)]
    order = {"error": 0, "warning": 1, "note": 2}
    return sorted(found, key=lambda f: order[f.severity])


def _events(with_it: frozenset[str], patients: int) -> list[Finding]:
    n, of = len(with_it), counted(patients, "patient")
    if not n:
        todo = "check task.event and where:, or wait for more follow-up"
        return [
            Finding(rule="no-event", severity="error", what=f"no event among {of}: nothing to learn from", todo=todo)
        ]
    if n < FLOOR:
        what = f"{counted(n, 'event')} among {of}: how well risks are ordered is not estimable"
        todo = f"add patients or follow-up: the floor is {FLOOR} events"
        return [
            Finding(rule="events-under-floor", severity="warning", what=what, todo=todo, who=tuple(sorted(with_it)))
        ]
    if n < FEW:
        what = f"{n} events among {of}: with so few, intervals are wide, and what counts is events, not patients"
        return [Finding(rule="events-few", severity="note", what=what, todo="nothing, or add follow-up")]
    return []


def _horizons(time: npt.NDArray[np.float64], event: npt.NDArray[np.bool_], horizons: Sequence[float]) -> list[Finding]:
    found = []
    last = float(time.max())
    for h in horizons:
        before, at_risk = int((event & (time <= h)).sum()), int((time > h).sum())
        if h > last:
            what = f"horizon {h:g} lies beyond the longest follow-up, {last:g}: nothing can be said at it"
            todo = f"choose a horizon before {last:g}"
            found.append(Finding(rule="horizon-beyond-follow-up", severity="warning", what=what, todo=todo))
            continue
        if before < FLOOR:
            what = f"{counted(before, 'event')} up to horizon {h:g}: its measures are not estimable"
            todo = f"choose a later horizon: the floor is {FLOOR} events"
            found.append(Finding(rule="horizon-few-events", severity="warning", what=what, todo=todo))
        if at_risk < FLOOR:
            what = f"{counted(at_risk, 'patient')} followed beyond horizon {h:g}: what is said there rests on few"
            todo = "choose an earlier horizon, or add follow-up"
            found.append(Finding(rule="horizon-few-at-risk", severity="note", what=what, todo=todo))
    return found


def _parts(with_it: frozenset[str], splits: Sequence[Split]) -> list[Finding]:
    """Splits whose training or test part has no event, and folds there are more of than events."""
    found = []
    untrained = [s.name for s in splits if not s.train & with_it]
    if untrained:
        what = f"no event among the training patients of {listed(untrained)}"
        todo = "use fewer folds or another scheme, or add follow-up"
        found.append(Finding(rule="class-not-trained", severity="error", what=what, todo=todo))
    untested = [s.name for s in splits if s.test and not s.test & with_it]
    if untested:
        what = f"no event among the test patients of {listed(untested)}: these folds are left out of every mean"
        found.append(Finding(rule="class-not-tested", severity="note", what=what, todo="nothing, or use fewer folds"))
    for scheme in dict.fromkeys(s.scheme for s in splits):
        folds = len({s.fold for s in splits if s.scheme == scheme})
        if scheme in ("patient_kfold", "site_preserved", "file") and 1 < len(with_it) < folds:
            what = f"{counted(len(with_it), 'event')} for {folds} folds of {scheme}"
            todo = f"use {len(with_it)} folds or fewer"
            found.append(Finding(rule="class-few-for-folds", severity="warning", what=what, todo=todo))
    return found


def _site(cohort: Cohort, time: npt.NDArray[np.float64], event: npt.NDArray[np.bool_]) -> list[Finding]:
    """Outcomes that differ between sites more than 1 in 100 random orders of the patients do.

    The statistic is the sum over sites of (observed - expected events)² / patients, expected from the Nelson-Aalen
    hazard of all: the scores of the log-rank test (Mantel 1966), permuted.
    """
    sites = cohort.patients["site"].map(str)
    known = (sites != UNKNOWN).to_numpy()
    names, place = np.unique(sites[known], return_inverse=True)
    if len(names) < 2:
        return []
    t, e = time[known], event[known]
    at_risk = (t[None, :] >= t[:, None]).sum(1)
    steps = np.where(e, 1 / at_risk, 0.0)
    scores = e - (steps[None, :] * (t[None, :] <= t[:, None])).sum(1)
    sizes = np.bincount(place)

    def statistic(order: npt.NDArray[np.float64]) -> float:
        return float((np.bincount(place, weights=order) ** 2 / sizes).sum())

    draw = np.random.default_rng(int(key_of(sorted(map(str, cohort.patients.index[known]))), 16))
    seen = statistic(scores)
    as_far = sum(statistic(draw.permutation(scores)) >= seen - 1e-9 for _ in range(_DRAWS))
    p = (1 + as_far) / (1 + _DRAWS)
    if p > 0.01:
        return []
    what = f"the outcome depends on the site (log-rank scores, p {p:.3g} by permutation): the site is a shortcut"
    todo = "add leave_one_site_out to validation.also, and read the figures by site"
    return [Finding(rule="site-label", severity="warning", what=what, todo=todo)]
