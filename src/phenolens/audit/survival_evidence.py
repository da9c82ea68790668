"""Follow-up as the audit's tests see it: times with events, a thousand exchanges of them, and Uno's C.

The model of a table is the ridge of `ridge`, fitted to log-rank scores: of each training patient the events seen less
those expected from the Nelson-Aalen hazard of the training patients (martingale residuals without covariates; Therneau,
Grambsch and Fleming 1990). It is the first step of a Cox regression from no effect, is linear in the scores, and so is
refitted a thousand times as quickly as for classes. Its penalty is fixed, so that nothing is chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from phenolens.audit.evidence import DRAWS, Bools, Evidence, exchanged, held
from phenolens.audit.null_run import one_repeat
from phenolens.audit.relabel import plan
from phenolens.audit.ridge import DIGITS, Codes, Matrix, Refit, finite_mean, places_of
from phenolens.core.predictions import PREDICTION_KEYS, STRATA, SurvivalPredictions
from phenolens.core.registry import METRICS, Choice
from phenolens.core.types import Example, Split
from phenolens.evaluate.compare import compare_survival
from phenolens.evaluate.survival_curves import censoring_curve
from phenolens.evaluate.survival_folds import follow_up, sample_of, survival_groups
from phenolens.evaluate.survival_measures import TIED, uno_pairs

METRIC = "uno_c"
_AT_ONCE = 4_000_000
"""Pairs of patients that are held in memory at once."""
_QUARTERS = (0.25, 0.5, 0.75)


@dataclass(frozen=True, kw_only=True)
class SurvivalEvidence(Evidence):
    """Units with a time and whether the event was seen at it.

    order (1 + draws, n) says whose follow-up each unit is given: time and event move as a pair, between all patients
    and within test fold where that leaves room; the first row is as they are.
    """

    score: ClassVar[str] = "Uno's C"
    the: ClassVar[str] = "Uno's C"
    short: ClassVar[str] = "C"
    who: ClassVar[str] = "patients"
    alike: ClassVar[str] = "quarter of the outcome"
    predictions: SurvivalPredictions
    order: Codes

    @property
    def draws(self) -> int:
        return len(self.order) - 1

    @cached_property
    def time(self) -> Matrix:
        """The follow-up of each unit, (n,)."""
        return np.array([float(e.targets[self.outcome[0]]) for e in self.examples])

    @cached_property
    def event(self) -> Bools:
        """Whether the event was seen at it, (n,)."""
        return np.array([int(e.targets[self.outcome[1]]) == 1 for e in self.examples])

    @cached_property
    def weight(self) -> Matrix:
        """What a pair counts whose earlier event is the unit's: 1 / G² before tau, else 0, (n,)."""
        left = censoring_curve(self.time, self.event).at(self.time)
        known = self.event & (self.time < self.predictions.tau) & (left > 0)
        return np.asarray(np.divide(1.0, left**2, out=np.zeros(len(left)), where=known))

    @cached_property
    def residual(self) -> Matrix:
        """The log-rank score of each unit among all, (n,)."""
        first: Matrix = log_rank_scores(self.time[None], self.event[None])[0]
        return first

    @cached_property
    def trained(self) -> list[Matrix]:
        """Of each fold the log-rank scores of its training units, (1 + draws, n_train)."""
        given = [self.order[:, place.train] for place in self.places]
        return [log_rank_scores(self.time[rows], self.event[rows]) for rows in given]

    @property
    def strata(self) -> Codes:
        quarter: Codes = np.searchsorted(np.quantile(self.residual, _QUARTERS), self.residual).astype(np.int64)
        return quarter

    @property
    def named(self) -> Sequence[str]:
        return [STRATA[int(e)] for e in self.event]

    @property
    def told(self) -> tuple[str, ...]:
        return ("risk",)

    def statistic(self, fitted: Sequence[Refit]) -> Matrix:
        """The fold-mean of Uno's C, weights and tau as in the estimates; folds without a pair are left out."""
        folds = zip(fitted, self.trained, strict=True)
        return finite_mean(np.stack([self._fold(one, train) for one, train in folds]))

    def _fold(self, one: Refit, train: Matrix) -> Matrix:
        risk = np.round(train @ one.hat.T, DIGITS)
        rows = self.order[:, one.place.test]
        n = rows.shape[1]
        step = max(1, _AT_ONCE // max(n * n, 1))
        found = []
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            found.append(uno_by_row(self.time[rows[part]], self.event[rows[part]], self.weight[rows[part]], risk[part]))
        return np.concatenate(found)

    def right(self, fitted: Sequence[Refit]) -> tuple[str, ...]:
        """Patients with an event earlier than expected to whom the table gives a raised risk: whom it gives away."""
        found = set()
        for one, train in zip(fitted, self.trained, strict=True):
            raised = (train[0] @ one.hat.T > 1e-6) & (self.residual[one.place.test] > 0)
            found |= {self.examples[i].patient for i in one.place.test[raised]}
        return tuple(sorted(found))

    def forecast(self, fitted: Refit) -> Matrix:
        """The risk of the test units of one fold, (n_test, 1)."""
        rows = fitted.place.train
        scores = log_rank_scores(self.time[rows][None], self.event[rows][None])
        made: Matrix = np.round(scores @ fitted.hat.T, DIGITS).T
        return made

    def by_site(self, at: Matrix) -> Matrix:
        """The sum over sites of squared sums of log-rank scores, over the units there (as Mantel's test, 1966)."""
        sums = self.residual[self.order] @ at
        return np.asarray(np.round((sums**2 / at.sum(0)).sum(1), 9))

    def in_words(self, shares: Sequence[Mapping[str, float]]) -> str:
        own = [s[STRATA[1]] for s in shares]
        return f"the event was seen in {min(own):.0%} to {max(own):.0%} of the patients over {len(own)} sites"

    def pairs(self, table: pd.DataFrame) -> pd.DataFrame:
        kept = table[[*PREDICTION_KEYS, "site", "split_hash", "time", "event", "risk", "group", *self._curves]]
        return compare_survival(replace(self.predictions, table=kept), floor=False)

    @property
    def _curves(self) -> tuple[str, ...]:
        return self.predictions.columns

    def ordered(self, rows: pd.DataFrame) -> Iterator[tuple[str, float, float]]:
        first = rows.iloc[0]
        known = follow_up(self.predictions, str(first["experiment"]), str(first["target"]))
        _, _, right, weight = uno_pairs(sample_of(rows, self.predictions, known))
        if weight.sum() > 0:
            yield "", float(right.sum()), float(weight.sum())

    def by_scheme(self, schemes: Sequence[str]) -> Iterator[tuple[str, str, float]]:
        metric = METRICS.create(METRIC)
        for group in survival_groups(self.predictions):
            if group.scheme in schemes:
                told = [group.values(metric, fold)[0].get(None, np.nan) for fold in group.folds]
                yield group.key["model"], group.scheme, float(finite_mean(np.array(told)[:, None])[0])

    def on(self, folds: Sequence[Split]) -> Self:
        order = _order(self.examples, folds, self.outcome, draws=self.draws, seed=self.seed)
        return replace(self, splits=tuple(folds), order=order)


def gather_followed(
    examples: Sequence[Example],
    splits: Sequence[Split],
    task: Choice,
    predictions: SurvivalPredictions,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> SurvivalEvidence:
    """The evidence of a finished study of survival, one unit a patient.

    Raises:
        SplitError: no fold to fit on. ModelError: follow-up that cannot be permuted.
    """
    outcome = tuple(task.create().outcome)
    mine, main = held(examples, splits)
    return SurvivalEvidence(
        examples=mine,
        splits=main,
        classes=STRATA,
        outcome=outcome,
        order=_order(mine, one_repeat(splits), outcome, draws=draws, seed=seed),
        predictions=predictions,
        seed=seed,
    )


def _order(
    examples: Sequence[Example], folds: Sequence[Split], outcome: Sequence[str], *, draws: int, seed: int
) -> Codes:
    """Whose follow-up each unit is given, (1 + draws, n): every training set and a test set keep an event."""
    made = plan(examples, folds, outcome, draws=draws, keep_sites=False)
    event = np.array([bool(block[0][1]) for block in made.blocks])
    places = places_of(made.patients, made.folds)

    def fit(rows: Codes) -> Bools:
        trained = np.all([event[rows[:, place.train]].any(1) for place in places], axis=0)
        tested = np.any([event[rows[:, place.test]].any(1) for place in places], axis=0)
        good: Bools = trained & tested
        return good

    return exchanged(made, draws, seed, fit)


def log_rank_scores(time: Matrix, event: Bools) -> Matrix:
    """Event less cumulative hazard (Nelson-Aalen, ties together) of each unit of each row, both (draws, n).

    The hazard of a row is that of its own units; each row of scores sums to zero.
    """
    draws, n = time.shape
    _, code = np.unique(time, return_inverse=True)
    code = code.reshape(draws, n)
    levels = int(code.max()) + 1
    place = (code + levels * np.arange(draws)[:, None]).ravel()
    size = draws * levels
    there = np.bincount(place, minlength=size).reshape(draws, levels)
    dying = np.bincount(place, weights=event.ravel().astype(float), minlength=size).reshape(draws, levels)
    at_risk = there[:, ::-1].cumsum(1)[:, ::-1]
    hazard = (dying / np.maximum(at_risk, 1)).cumsum(1)
    scores: Matrix = event - np.take_along_axis(hazard, code, axis=1)
    return scores


def uno_by_row(time: Matrix, event: Bools, weight: Matrix, risk: Matrix) -> Matrix:
    """Uno's C of each row, all (draws, n); NaN where no pair counts. Pairs and ties as in `survival_measures.uno_c`."""
    early, late = time[:, :, None], time[:, None, :]
    later = (late > early) | ((late == early) & ~event[:, None, :])
    gap = risk[:, :, None] - risk[:, None, :]
    half = np.where(np.abs(gap) <= TIED, 0.5, gap > 0)
    pairs = (later.sum(2) * weight).sum(1)
    right = ((later * half).sum(2) * weight).sum(1)
    return np.asarray(np.divide(right, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0))
