"""What every test of the audit looks at: the units, the folds, the outcomes and a thousand exchanges of them.

`Evidence` is what the tests know; how an outcome is told from a table, measured and exchanged is said by
`LabelEvidence` (classes) and by `survival_evidence.SurvivalEvidence`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from phenolens.audit.null_run import one_repeat
from phenolens.audit.relabel import Plan
from phenolens.audit.ridge import Codes, Matrix, Place, Refit, p_of, places_of, refits
from phenolens.core.errors import ModelError
from phenolens.core.store import key_of
from phenolens.core.types import Example, Split
from phenolens.evaluate.folds import HOLDOUT

DRAWS = 999
FOLDS = 5
SITE = "site"
UNKNOWN = "unknown"
_TRIES = 100
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Evidence(ABC):
    """Units of one repeat of the main scheme, sorted by patient and unit id, and what was predicted of them.

    `classes` are those of the outcome (of survival its strata), `outcome` the names of its columns, `predictions` the
    whole table of the study. `score` names what is measured (`the` with its article), `short` what it is called beside
    sites, `who` whom one would compare; `alike` says in which strata sites are exchanged.
    """

    score: ClassVar[str]
    the: ClassVar[str]
    short: ClassVar[str]
    who: ClassVar[str]
    alike: ClassVar[str]
    examples: tuple[Example, ...]
    splits: tuple[Split, ...]
    classes: tuple[str, ...]
    outcome: tuple[str, ...]
    predictions: Any
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
        """A model of the table's columns: its fold matrices, its statistic for each exchange, and its p."""
        fitted = refits(table, self.places)
        values = self.statistic(fitted)
        return fitted, values, p_of(values)

    @property
    @abstractmethod
    def draws(self) -> int:
        """How many exchanges there are."""

    @property
    @abstractmethod
    def strata(self) -> Codes:
        """What each unit's outcome is like, (n,): the class, or the quarter of the outcome."""

    @property
    @abstractmethod
    def named(self) -> Sequence[str]:
        """The class (or stratum) of each unit, in words."""

    @property
    @abstractmethod
    def told(self) -> tuple[str, ...]:
        """The columns of the predictions that a model of a table fills in."""

    @abstractmethod
    def statistic(self, fitted: Sequence[Refit]) -> Matrix:
        """The fold-mean score of a table's model for the real outcomes and each exchange, (1 + draws,)."""

    @abstractmethod
    def right(self, fitted: Sequence[Refit]) -> tuple[str, ...]:
        """Patients whom the model of a table gives away, sorted."""

    @abstractmethod
    def forecast(self, fitted: Refit) -> Matrix:
        """What the model of one fold says of its test units, (n_test, len(told))."""

    @abstractmethod
    def by_site(self, at: Matrix) -> Matrix:
        """How far the outcomes differ between sites, (1 + draws,); `at` (n, sites) is one-hot."""

    @abstractmethod
    def in_words(self, shares: Sequence[Mapping[str, float]]) -> str:
        """How far sites differ, from each one's shares of the classes."""

    @abstractmethod
    def pairs(self, table: pd.DataFrame) -> pd.DataFrame:
        """Every pair of models in a table of predictions, compared. Raises SplitError as `compare` does."""

    @abstractmethod
    def ordered(self, rows: pd.DataFrame) -> Iterator[tuple[str, float, float]]:
        """Of the predictions of one site in one fold: class (or none), pairs in the right order, and pairs."""

    @abstractmethod
    def by_scheme(self, schemes: Sequence[str]) -> Iterator[tuple[str, str, float]]:
        """Model, scheme and fold-mean score of the study's predictions, NaN where there is none."""

    @abstractmethod
    def on(self, folds: Sequence[Split]) -> Self:
        """The same evidence on other folds, with exchanges of its own."""


def held(examples: Sequence[Example], splits: Sequence[Split]) -> tuple[tuple[Example, ...], tuple[Split, ...]]:
    """The units of one repeat of the main scheme, sorted, and the splits of that scheme. Raises SplitError: no fold."""
    folds = one_repeat(splits)
    inside = frozenset[str]().union(*(f.train | f.tune | f.test for f in folds))
    mine = tuple(sorted((e for e in examples if e.patient in inside), key=lambda e: (e.patient, e.unit_id)))
    return mine, tuple(s for s in splits if s.scheme != HOLDOUT and s.scheme == folds[0].scheme)


def exchanged(made: Plan, draws: int, seed: int, fit: Callable[[Codes], Bools]) -> Codes:
    """(1 + draws, patients): whose outcome each patient is given, all draws at once; those that do not fit drawn again.

    `fit` says of rows of such numbers which are allowed. Raises ModelError where too few are.
    """
    rng = np.random.default_rng(int(key_of(["moved", seed, made.patients]), 16) % 2**63)
    real = np.arange(len(made.patients), dtype=np.int64)
    kept, wanted = [real[None]], draws
    for _ in range(_TRIES):
        drawn = np.repeat(real[None], max(wanted, 10), axis=0)
        for stratum in made.strata:
            rows = list(stratum)
            drawn[:, rows] = rng.permuted(drawn[:, rows], axis=1)
        good = drawn[fit(drawn)][:wanted]
        kept.append(good)
        wanted -= len(good)
        if not wanted:
            return np.concatenate(kept)
    what = "an event" if made.followed else "every class"
    raise ModelError(
        f"no {draws} relabellings that leave {what} in every training set and in a test set",
        expected="classes with enough patients to be permuted",
        todo="leave the smallest class out with where:, or use fewer folds",
    )


def mixing_folds(evidence: Evidence) -> tuple[tuple[Split, ...], bool]:
    """The study's folds where most test patients have their site in training, else five folds that mix sites.

    The second value says that folds were drawn: within each stratum of outcomes patients are dealt in the order of a
    hash.
    """
    site = dict(zip(evidence.patients, evidence.sites, strict=True))
    seen = tested = 0
    for fold in evidence.folds:
        known = {site[p] for p in fold.train | fold.tune if p in site}
        mine = [p for p in fold.test if p in site]
        seen, tested = seen + sum(site[p] in known for p in mine), tested + len(mine)
    if 2 * seen >= tested:
        return evidence.folds, False
    label = dict(zip(evidence.patients, evidence.strata.tolist(), strict=True))
    order = sorted(label, key=lambda p: (label[p], key_of(["site", evidence.seed, p])))
    number = {p: i % FOLDS for i, p in enumerate(order)}
    everyone = frozenset(label)
    made = []
    for f in range(FOLDS):
        test = frozenset(p for p in everyone if number[p] == f)
        made.append(Split(scheme="mixed", repeat=0, fold=f, train=everyone - test, tune=frozenset(), test=test, seed=0))
    return tuple(made), True
