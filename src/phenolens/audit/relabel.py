"""Which labels may change places: whole patients, within site and test fold where that leaves room enough.

A permutation test is valid when, without any signal, every relabelling it draws was as likely as the real one. So:

- A patient's units keep together. Where each patient's units share one label, labels change places among patients;
  where they do not, whole label vectors do, among patients with equally many units.
- Where two sites or more hold two labels or more, labels stay in their site: a label that is only the site's is no
  finding. Where fewer do, they move between sites, and the result says so.
- Folds were stratified by label. Labels that stay in their test fold keep each fold's counts, as the real labels have
  them, and with them the folds on which an AUC exists (one patient of each class in each fold). Where this would leave
  too few relabellings, labels move between folds.
- A relabelling that leaves a training set without a class, or a class without any test set that holds patients with
  and without it, is drawn again; the real labels pass the same rule.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from phenolens.core.errors import ModelError
from phenolens.core.store import key_of
from phenolens.core.types import Example, Split

ROOM = 10
"""Distinct relabellings wanted for each one drawn before labels are also kept in their fold."""
_FEWEST = 20
_TRIES = 1000

Label = str | tuple[float, int]
"""A class, or time and event: a follow-up moves as a pair, so that who was censored stays censored at that time."""
Labels = Mapping[tuple[str, str], Label]
"""(patient, unit id) -> label."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Patients with the label vectors of their units, and the strata (indices into them) in which labels move.

    `distinct` is log10 of how many labellings that allows; `mixes_sites` says that labels move between sites.
    """

    patients: tuple[str, ...]
    units: tuple[tuple[str, ...], ...]
    blocks: tuple[tuple[Label, ...], ...]
    strata: tuple[tuple[int, ...], ...]
    how: str
    distinct: float
    mixes_sites: bool
    folds: tuple[Split, ...]

    @property
    def real(self) -> Labels:
        """The labels as they are."""
        return self._given(self.blocks)

    def draw(self, seed: int, number: int) -> Labels:
        """Relabelling `number`: the same on every machine, whatever was drawn before.

        Raises:
            ModelError: no relabelling in 1,000 leaves every class in every training set and in a test set.
        """
        rng = np.random.default_rng(int(key_of(["relabel", seed, number, self.patients]), 16) % 2**63)
        classes = classes_of(self.blocks)
        for _ in range(_TRIES):
            blocks = list(self.blocks)
            for stratum in self.strata:
                for place, taken in zip(stratum, rng.permutation(stratum), strict=True):
                    blocks[place] = self._moved(self.blocks[taken], len(self.units[place]))
            if self.fits(blocks, classes):
                return self._given(blocks)
        kept = "an event" if self.followed else "every class"
        raise ModelError(
            f"no relabelling in {_TRIES} that leaves {kept} in every training set and in a test set",
            expected="classes with enough patients to be permuted",
            todo="leave the smallest class out with where:, or use fewer folds",
        )

    @property
    def followed(self) -> bool:
        """Whether a label is a time and an event."""
        return isinstance(self.blocks[0][0], tuple)

    def _moved(self, block: tuple[Label, ...], units: int) -> tuple[Label, ...]:
        return block if len(block) == units else block[:1] * units

    def fits(self, blocks: Sequence[tuple[Label, ...]], classes: set[str]) -> bool:
        """Whether every training set holds every class, and every class has a test set with and without it.

        Of a follow-up: whether every training set holds an event, and some test set does.
        """
        held = list(zip(self.patients, blocks, strict=True))

        def found(part: frozenset[str]) -> set[str]:
            return classes_of([block for patient, block in held if patient in part])

        if any(found(fold.train) != classes for fold in self.folds):
            return False
        tests = [found(fold.test) for fold in self.folds]
        return set[str]().union(*(test for test in tests if len(test) > 1 or self.followed)) == classes

    def _given(self, blocks: Sequence[tuple[Label, ...]]) -> Labels:
        rows = zip(self.patients, self.units, blocks, strict=True)
        return {(p, unit): label for p, units, block in rows for unit, label in zip(units, block, strict=True)}


def classes_of(blocks: Sequence[tuple[Label, ...]]) -> set[str]:
    """The classes among labels; of a follow-up only the event, which is what there must be some of."""
    labels = {label for block in blocks for label in block}
    return {label if isinstance(label, str) else "event" for label in labels if isinstance(label, str) or label[1]}


def plan(
    examples: Sequence[Example],
    folds: Sequence[Split],
    target: str | Sequence[str],
    *,
    draws: int,
    keep_sites: bool = True,
) -> Plan:
    """How the labels of these examples may change places for `draws` relabellings.

    `target` names the label in their targets; two names are those of time and event. `keep_sites` False lets labels
    move between sites, for tests in which a signal of the site alone is what is sought or must not be left in the null.

    Raises:
        ModelError: a class missing in a training set or in all test sets, or so few distinct relabellings that no p
            below 0.05 is possible.
    """
    mine: dict[str, list[Example]] = {}
    for example in sorted(examples, key=lambda e: (e.patient, e.unit_id)):
        mine.setdefault(example.patient, []).append(example)
    patients = tuple(mine)
    blocks = tuple(tuple(_label(e, target) for e in units) for units in mine.values())
    sites = tuple(str(units[0].covariates.get("site", "unknown")) for units in mine.values())
    several = keep_sites and len({s for s in sites if _labels(blocks, sites, s) > 1}) > 1
    tested = tuple(tuple(f.fold for f in folds if p in f.test) for p in patients)
    how, strata = _roomiest(blocks, sites if several else None, tested, draws)
    made = Plan(
        patients=patients,
        units=tuple(tuple(e.unit_id for e in held) for held in mine.values()),
        blocks=blocks,
        strata=strata,
        how=how,
        distinct=_distinct(strata, blocks),
        mixes_sites=not several and len(set(sites)) > 1,
        folds=tuple(folds),
    )
    _refuse_gaps(made)
    return made


def _refuse_gaps(made: Plan) -> None:
    if not made.fits(made.blocks, classes_of(made.blocks)):
        raise ModelError(
            f"{'an event' if made.followed else 'a class'} that is missing in a training set, or in every test set",
            expected="every class in every training set, and beside others in a test set",
            todo="use fewer folds or another scheme, or leave the class out with where:",
        )


def _roomiest(
    blocks: Sequence[tuple[Label, ...]], sites: Sequence[str] | None, tested: Sequence[object], draws: int
) -> tuple[str, tuple[tuple[int, ...], ...]]:
    """Strata in words and as indices: within test fold where that leaves room for `draws`; `sites` None: across sites.

    Raises ModelError where even the wider strata allow too few distinct relabellings.
    """
    alike = all(len(set(block)) == 1 for block in blocks)
    size = tuple(0 if alike else len(block) for block in blocks)
    where = "between all patients" if sites is None else "within site"
    site = [""] * len(blocks) if sites is None else sites
    ladder: list[tuple[str, Callable[[int], tuple[object, ...]]]] = [
        (f"{where}, within test fold", lambda i: (site[i], size[i], tested[i])),
        (where, lambda i: (site[i], size[i])),
    ]
    steps = [(how, _strata(len(blocks), group)) for how, group in ladder]
    roomy = [step for step in steps if _distinct(step[1], blocks) >= math.log10(ROOM * (draws + 1))]
    how, strata = [*roomy, steps[-1]][0]
    distinct = _distinct(strata, blocks)
    if distinct < math.log10(_FEWEST):
        raise ModelError(
            f"only {10**distinct:.0f} distinct ways to permute the labels {how}",
            expected=f"at least {_FEWEST}, for a p below 0.05 to be possible",
            todo="add patients, or predict one label a patient",
        )
    return (how if alike else f"{how}, label vectors of patients with equally many units"), strata


def _label(example: Example, target: str | Sequence[str]) -> Label:
    if isinstance(target, str):
        return str(example.targets[target])
    time, event = target
    return float(example.targets[time]), int(example.targets[event])


def _labels(blocks: Sequence[tuple[Label, ...]], sites: Sequence[str], site: str) -> int:
    return len({block for block, s in zip(blocks, sites, strict=True) if s == site})


def _strata(count: int, group: Callable[[int], tuple[object, ...]]) -> tuple[tuple[int, ...], ...]:
    found: dict[tuple[object, ...], list[int]] = {}
    for i in range(count):
        found.setdefault(group(i), []).append(i)
    return tuple(tuple(members) for members in found.values())


def _distinct(strata: Sequence[Sequence[int]], blocks: Sequence[tuple[Label, ...]]) -> float:
    """log10 of how many different labellings the strata allow; a label vector counts by its first label where alike."""
    total = 0.0
    for stratum in strata:
        alike = Counter(blocks[i] if len(set(blocks[i])) > 1 else blocks[i][:1] for i in stratum)
        total += math.lgamma(len(stratum) + 1) - sum(math.lgamma(n + 1) for n in alike.values())
    return total / math.log(10)
