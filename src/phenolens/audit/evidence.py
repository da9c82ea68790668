"""What every test of the audit looks at: the units, the folds, the labels and a thousand relabellings of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from phenolens.audit.null_run import one_repeat
from phenolens.audit.relabel import Label, Plan, plan
from phenolens.audit.ridge import Codes, Matrix, Place, Refit, fold_mean_auc, p_of, places_of, refits
from phenolens.core.errors import ModelError
from phenolens.core.predictions import Predictions
from phenolens.core.registry import Choice
from phenolens.core.store import key_of
from phenolens.core.types import Example, Split
from phenolens.evaluate.folds import HOLDOUT

DRAWS = 999
FOLDS = 5
SITE = "site"
UNKNOWN = "unknown"
_TRIES = 100


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Units of one repeat of the main scheme, sorted by patient and unit id, and what was predicted of them.

    truth (1 + draws, n) holds codes of the classes: the first row as they are, each further row with whole patients'
    labels moved between all patients, within test fold where that leaves room. A test draws nothing of its own, so that
    a column that carries the label does so for every test. `predictions` is the whole table of the study.
    """

    examples: tuple[Example, ...]
    splits: tuple[Split, ...]
    classes: tuple[str, ...]
    truth: Codes
    predictions: Predictions
    seed: int

    @property
    def folds(self) -> tuple[Split, ...]:
        """One repeat of the main scheme."""
        return one_repeat(self.splits)

    @property
    def patients(self) -> list[str]:
        """The patient of each unit."""
        return [e.patient for e in self.examples]

    @property
    def sites(self) -> list[str]:
        """The site of each unit."""
        return [str(e.covariates.get(SITE, UNKNOWN)) for e in self.examples]

    @cached_property
    def places(self) -> list[Place]:
        """The folds as row numbers."""
        return places_of(self.patients, self.folds)

    def test(self, table: pd.DataFrame) -> tuple[list[Refit], Matrix, float]:
        """A model of the table's columns: its fold matrices, its statistic for each relabelling, and its p."""
        fitted = refits(table, self.places)
        values = fold_mean_auc(fitted, self.truth, len(self.classes))
        return fitted, values, p_of(values)

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
    def _above(one: Refit, own: Codes) -> Matrix:
        given = own.astype(np.float64)
        above: Matrix = one.scores(given)[0] - given[0, one.place.train].mean()
        return above


def gather(
    examples: Sequence[Example],
    splits: Sequence[Split],
    task: Choice,
    predictions: Predictions,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Evidence:
    """The evidence of a finished study.

    Raises:
        SplitError: no fold to fit on. ModelError: labels that cannot be permuted.
    """
    made = task.create()
    main = [s for s in splits if s.scheme != HOLDOUT]
    folds = one_repeat(splits)
    inside = frozenset[str]().union(*(f.train | f.tune | f.test for f in folds))
    mine = tuple(sorted((e for e in examples if e.patient in inside), key=lambda e: (e.patient, e.unit_id)))
    return Evidence(
        examples=mine,
        splits=tuple(s for s in main if s.scheme == folds[0].scheme),
        classes=tuple(made.classes),
        truth=relabelled(mine, folds, made.target, made.classes, draws=draws, seed=seed),
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
        own = _patients_moved(made, code, draws, seed)
        row = {p: i for i, p in enumerate(made.patients)}
        return own[:, [row[p] for p, _ in order]]
    drawn = [made.real, *(made.draw(seed, number) for number in range(draws))]
    return np.array([[code[labels[key]] for key in order] for labels in drawn], dtype=np.int64)


def _patients_moved(made: Plan, code: Mapping[Label, int], draws: int, seed: int) -> Codes:
    """(1 + draws, patients) where each patient has one label: all draws at once, those that do not fit drawn again."""
    real = np.array([code[block[0]] for block in made.blocks], dtype=np.int64)
    rng = np.random.default_rng(int(key_of(["moved", seed, made.patients]), 16) % 2**63)
    places = places_of(made.patients, made.folds)
    kept, wanted = [real[None]], draws
    for _ in range(_TRIES):
        drawn = np.repeat(real[None], max(wanted, 10), axis=0)
        for stratum in made.strata:
            rows = list(stratum)
            drawn[:, rows] = rng.permuted(drawn[:, rows], axis=1)
        fit = drawn[_fits(drawn, places, np.unique(real))][:wanted]
        kept.append(fit)
        wanted -= len(fit)
        if not wanted:
            return np.concatenate(kept)
    raise ModelError(
        f"no {draws} relabellings that leave every class in every training set and in a test set",
        expected="classes with enough patients to be permuted",
        todo="leave the smallest class out with where:, or use fewer folds",
    )


def _fits(drawn: Codes, places: Sequence[Place], classes: Codes) -> npt.NDArray[np.bool_]:
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


def mixing_folds(evidence: Evidence) -> tuple[tuple[Split, ...], bool]:
    """The study's folds where most test patients have their site in training, else five folds that mix sites.

    The second value says that folds were drawn: within each label patients are dealt in the order of a hash.
    """
    site = dict(zip(evidence.patients, evidence.sites, strict=True))
    seen = tested = 0
    for fold in evidence.folds:
        known = {site[p] for p in fold.train | fold.tune if p in site}
        mine = [p for p in fold.test if p in site]
        seen, tested = seen + sum(site[p] in known for p in mine), tested + len(mine)
    if 2 * seen >= tested:
        return evidence.folds, False
    label = dict(zip(evidence.patients, evidence.truth[0].tolist(), strict=True))
    order = sorted(label, key=lambda p: (label[p], key_of(["site", evidence.seed, p])))
    number = {p: i % FOLDS for i, p in enumerate(order)}
    everyone = frozenset(label)
    made = []
    for f in range(FOLDS):
        test = frozenset(p for p in everyone if number[p] == f)
        made.append(Split(scheme="mixed", repeat=0, fold=f, train=everyone - test, tune=frozenset(), test=test, seed=0))
    return tuple(made), True


def with_folds(evidence: Evidence, folds: Sequence[Split], target: str) -> Evidence:
    """The same evidence on other folds, with relabellings of its own."""
    draws = len(evidence.truth) - 1
    truth = relabelled(evidence.examples, folds, target, evidence.classes, draws=draws, seed=evidence.seed)
    return replace(evidence, splits=tuple(folds), truth=truth)
