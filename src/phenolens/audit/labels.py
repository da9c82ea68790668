"""Classes as the audit's tests see them: labels, a thousand relabellings, and the macro AUC."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from phenolens.audit.evidence import DRAWS, Bools, Evidence, exchanged, held
from phenolens.audit.null_run import one_repeat
from phenolens.audit.relabel import Label, plan
from phenolens.audit.ridge import Codes, Matrix, Place, Refit, auc_by_row, fold_mean_auc, places_of
from phenolens.core.predictions import PREDICTION_KEYS, Predictions
from phenolens.core.registry import METRICS, Choice
from phenolens.core.types import Example, Split
from phenolens.evaluate.compare import compare
from phenolens.evaluate.folds import groups
from phenolens.evaluate.score import fold_mean


@dataclass(frozen=True, kw_only=True)
class LabelEvidence(Evidence):
    """Units with one of several classes.

    truth (1 + draws, n) holds codes of the classes: the first row as they are, each further row with whole patients'
    labels moved between all patients, within test fold where that leaves room. A test draws nothing of its own, so that
    a column that carries the label does so for every test.
    """

    score: ClassVar[str] = "macro AUC"
    the: ClassVar[str] = "the macro AUC"
    short: ClassVar[str] = "AUC"
    who: ClassVar[str] = "the classes"
    alike: ClassVar[str] = "label"
    predictions: Predictions
    truth: Codes

    @property
    def draws(self) -> int:
        return len(self.truth) - 1

    @property
    def strata(self) -> Codes:
        first: Codes = self.truth[0]
        return first

    @property
    def named(self) -> Sequence[str]:
        return [self.classes[c] for c in self.truth[0]]

    @property
    def told(self) -> tuple[str, ...]:
        return self.predictions.columns

    def statistic(self, fitted: Sequence[Refit]) -> Matrix:
        return fold_mean_auc(fitted, self.truth, len(self.classes))

    def right(self, fitted: Sequence[Refit]) -> tuple[str, ...]:
        """Patients whose class the model of a table names although it is rarer than the commonest: whom it gives away.

        The class is the one whose score stands highest above its share in training.
        """
        found = set()
        for one in fitted:
            rows = self.truth[:1]
            above = np.stack([self._above(one, rows == c) for c in range(len(self.classes))])
            named = above.argmax(0)
            hits = one.place.test[(named == self.truth[0, one.place.test]) & (above.max(0) > 1e-6)]
            found |= {self.examples[i].patient for i in hits}
        return tuple(sorted(found))

    @staticmethod
    def _above(one: Refit, own: Bools) -> Matrix:
        given = own.astype(np.float64)
        above: Matrix = one.scores(given)[0] - given[0, one.place.train].mean()
        return above

    def forecast(self, fitted: Refit) -> Matrix:
        """Linear probabilities (n_test, k), those at the edge cut, each row summing to one."""
        own = [(self.truth[:1] == c).astype(float) for c in range(len(self.classes))]
        raw = np.clip(np.stack([fitted.scores(o)[0] for o in own], axis=1), 1e-6, None)
        made: Matrix = raw / raw.sum(1, keepdims=True)
        return made

    def by_site(self, at: Matrix) -> Matrix:
        """Pearson's chi-squared of label by site."""
        n, total = at.sum(0), float(len(at))
        statistic = np.zeros(len(self.truth))
        for c in range(len(self.classes)):
            own = (self.truth == c).astype(np.float64)
            expected = own.sum(1, keepdims=True) * n / total
            statistic += ((own @ at - expected) ** 2 / np.maximum(expected, 1e-12)).sum(1)
        return np.asarray(np.round(statistic, 9))

    def in_words(self, shares: Sequence[Mapping[str, float]]) -> str:
        own = [s[self.classes[-1]] for s in shares]
        return f"the share of {self.classes[-1]} is {min(own):.0%} to {max(own):.0%} over {len(own)} sites"

    def pairs(self, table: pd.DataFrame) -> pd.DataFrame:
        kept = table[[*PREDICTION_KEYS, "site", "split_hash", "truth", *self.told]]
        return compare(replace(self.predictions, table=kept), floor=False)

    def ordered(self, rows: pd.DataFrame) -> Iterator[tuple[str, float, float]]:
        for name, column in zip(self.classes, self.told, strict=True):
            positive = (rows["truth"].astype(str) == name).to_numpy()
            count = float(positive.sum() * (~positive).sum())
            if count:
                area = auc_by_row(rows[column].to_numpy(dtype=float)[None], positive[None])[0]
                yield name, count * float(area), count

    def by_scheme(self, schemes: Sequence[str]) -> Iterator[tuple[str, str, float]]:
        metric = METRICS.create("auc")
        for group in groups(self.predictions):
            if group.scheme in schemes:
                value = fold_mean(metric, [(f.truth, f.p) for f in group.folds], group.classes)
                yield group.key["model"], group.scheme, float(value)

    def on(self, folds: Sequence[Split]) -> Self:
        (target,) = self.outcome
        truth = relabelled(self.examples, folds, target, self.classes, draws=self.draws, seed=self.seed)
        return replace(self, splits=tuple(folds), truth=truth)


def gather(
    examples: Sequence[Example],
    splits: Sequence[Split],
    task: Choice,
    predictions: Predictions,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> LabelEvidence:
    """The evidence of a finished study of classes.

    Raises:
        SplitError: no fold to fit on. ModelError: labels that cannot be permuted.
    """
    made = task.create()
    mine, main = held(examples, splits)
    return LabelEvidence(
        examples=mine,
        splits=main,
        classes=tuple(made.classes),
        outcome=(made.target,),
        truth=relabelled(mine, one_repeat(splits), made.target, made.classes, draws=draws, seed=seed),
        predictions=predictions,
        seed=seed,
    )


def relabelled(
    examples: Sequence[Example],
    folds: Sequence[Split],
    target: str,
    classes: Sequence[str],
    *,
    draws: int,
    seed: int,
) -> Codes:
    """Codes (1 + draws, n): the labels, and relabellings that ignore sites. Raises ModelError as `plan` does."""
    made = plan(examples, folds, target, draws=draws, keep_sites=False)
    code: dict[Label, int] = {name: i for i, name in enumerate(classes)}
    order = [(e.patient, e.unit_id) for e in examples]
    if all(len(set(block)) == 1 for block in made.blocks):
        real = np.array([code[block[0]] for block in made.blocks], dtype=np.int64)
        places, there = places_of(made.patients, made.folds), np.unique(real)
        own = real[exchanged(made, draws, seed, lambda rows: _fits(real[rows], places, there))]
        row = {p: i for i, p in enumerate(made.patients)}
        return own[:, [row[p] for p, _ in order]]
    drawn = [made.real, *(made.draw(seed, number) for number in range(draws))]
    return np.array([[code[labels[key]] for key in order] for labels in drawn], dtype=np.int64)


def _fits(drawn: Codes, places: Sequence[Place], classes: Codes) -> Bools:
    """The rule of `Plan.fits` for each row."""
    good = np.ones(len(drawn), dtype=np.bool_)
    for c in classes:
        own = drawn == c
        tested = np.zeros(len(drawn), dtype=np.bool_)
        for place in places:
            good &= own[:, place.train].any(1)
            test = own[:, place.test]
            tested |= test.any(1) & ~test.all(1)
        good &= tested
    return good
