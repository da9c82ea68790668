"""Splits for a cohort that has grown: old patients stay where they are, new ones go where they are missing most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import replace

from phenolens.cohort.faults import counted, listed
from phenolens.cohort.inner import tune
from phenolens.cohort.ownfile import Given
from phenolens.cohort.schemes import HOLDOUT, Roster, Scheme, shuffled
from phenolens.core.errors import SplitError
from phenolens.core.types import Split

Tests = dict[int, set[str]]
"""Fold -> test patients of one repeat."""

_NEW = "make new splits (phenolens run --new-splits), which archives the old results"


def same_scheme(splits: Sequence[Split], scheme: Scheme) -> None:
    """Raise SplitError unless the splits can have been made with this scheme."""
    asked = {*scheme.names, *([HOLDOUT] if scheme.holdout else [])}
    have = {s.scheme for s in splits}
    found = ""
    if asked != have:
        found = f"splits of {listed(sorted(have))}, and a study that asks for {listed(sorted(asked))}"
    elif {s.seed for s in splits} != {scheme.seed}:
        found = f"splits of seed {listed(sorted({s.seed for s in splits}))}, and a study with seed {scheme.seed}"
    for name in sorted(have & {"patient_kfold", "site_preserved", "one_patient_per_class"}):
        folds = max(s.fold for s in splits if s.scheme == name) + 1
        repeats = max(s.repeat for s in splits if s.scheme == name) + 1
        fewer = name == "site_preserved" and repeats <= scheme.repeats
        if folds != scheme.folds or (repeats != scheme.repeats and not fewer):
            asks = f"a study that asks for {scheme.folds} and {scheme.repeats}"
            found = found or f"{folds} folds and {counted(repeats, 'repeat')} of {name}, and {asks}"
    if found:
        raise SplitError(
            found, expected="the validation section the splits were made with", todo=f"restore it, or {_NEW}"
        )


def extend_group(
    group: Sequence[Split], who: Roster, scheme: Scheme, *, arrivals: Set[str], held: Set[str], given: Sequence[Given]
) -> list[Split]:
    """The extended splits of one scheme; `who` is everyone it may hold, `held` the holdout, `given` the user's file."""
    made: list[Split] = []
    for repeat in sorted({s.repeat for s in group}):
        own = {s.fold: s for s in group if s.repeat == repeat}
        tests = {fold: set(s.test & set(who.labels)) for fold, s in own.items()}
        order = shuffled(arrivals, scheme.seed, group[0].scheme, repeat, "extend")
        _place(group[0].scheme, tests, order, who, held, [g for g in given if g.repeat == repeat])
        made += [
            _grown(own[fold], tests[fold], order, who, scheme)
            if fold in own
            else _new_fold(group[0], repeat, fold, tests[fold], who, scheme)
            for fold in sorted(tests)
            if tests[fold]
        ]
    return made


def _place(name: str, tests: Tests, order: Sequence[str], who: Roster, held: Set[str], given: Sequence[Given]) -> None:
    """Put the new patients who are tested into their folds, in place."""
    if name == "file":
        _as_written(tests, set(order), given)
        return
    if name == HOLDOUT:
        tests[0] |= held & set(who.labels)
        return
    rules: dict[str, Callable[[Tests, Sequence[str], Roster], None]] = {
        "patient_kfold": _fewest,
        "leave_one_site_out": _own_site,
        "site_preserved": _whole_site,
        "one_patient_per_class": _vacancies,
    }
    rules[name](tests, order, who)


def _fewest(tests: Tests, order: Sequence[str], who: Roster) -> None:
    for patient in order:
        tests[_emptiest(tests, [patient], who)].add(patient)


def _emptiest(tests: Tests, patients: Iterable[str], who: Roster) -> int:
    """The fold with the fewest test patients of the strata of these patients, then the smallest."""
    strata = Counter(who.labels[p] for p in patients)

    def full(fold: int) -> tuple[int, int, int]:
        return sum(strata[who.labels[p]] for p in tests[fold]), len(tests[fold]), fold

    return min(tests, key=full)


def _own_site(tests: Tests, order: Sequence[str], who: Roster) -> None:
    homes = {Counter(sorted(who.sites[p] for p in t)).most_common(1)[0][0]: fold for fold, t in tests.items() if t}
    for site in sorted({who.sites[p] for p in order} - set(homes)):
        homes[site] = max(tests) + 1
        tests[homes[site]] = set()
    for patient in order:
        tests[homes[who.sites[patient]]].add(patient)


def _whole_site(tests: Tests, order: Sequence[str], who: Roster) -> None:
    homes = {who.sites[p]: fold for fold, own in tests.items() for p in own}
    for site in dict.fromkeys(who.sites[p] for p in order):
        own = [p for p in order if who.sites[p] == site]
        tests[homes.get(site, _emptiest(tests, own, who))].update(own)
    torn = sorted({s for s in homes if sum(any(who.sites[p] == s for p in own) for own in tests.values()) > 1})
    if torn:
        found = f"sites whose patients are now in several folds: {listed(torn)}"
        raise SplitError(found, expected="whole sites in folds", todo=f"restore the column site, or {_NEW}")


def _vacancies(tests: Tests, order: Sequence[str], who: Roster) -> None:
    """New patients train; they are tested only where a tested patient of their class has left."""
    wanted = sorted(set(who.labels.values()))
    waiting = list(order)
    for fold, own in tests.items():
        for name in wanted:
            if any(who.labels[p] == name for p in own):
                continue
            free = [p for p in waiting if who.labels[p] == name]
            if not free:
                found = f"fold {fold} of one_patient_per_class without a test patient of class {name}"
                raise SplitError(found, expected="one patient of each class", todo=_NEW)
            own.add(free[0])
            waiting.remove(free[0])
        twice = sorted(n for n, k in Counter(who.labels[p] for p in own).items() if k > 1)
        if twice:
            found = f"fold {fold} of one_patient_per_class with two test patients of class {listed(twice)}"
            raise SplitError(found, expected="one patient of each class", todo=f"restore the label, or {_NEW}")


def _as_written(tests: Tests, arrivals: Set[str], given: Sequence[Given]) -> None:
    written = {g.fold: g.test for g in given}
    moved = {
        p for fold in {*tests, *written} for p in (written.get(fold, frozenset()) ^ tests.get(fold, set())) - arrivals
    }
    if moved:
        found = f"patients whose test fold the file has changed: {listed(sorted(moved))}"
        raise SplitError(found, expected="the old patients in their folds", todo=f"restore their rows, or {_NEW}")
    for fold, test in written.items():
        tests.setdefault(fold, set()).update(test)


def _grown(split: Split, test: Set[str], order: Sequence[str], who: Roster, scheme: Scheme) -> Split:
    """The old parts, and the new patients outside the test set: tune where its share of their stratum is short."""
    train, kept = (set(part & set(who.labels)) for part in (split.train, split.tune))
    has = Counter(c for p in train for c in who.classes[p])
    for patient in order:
        if patient in test:
            continue
        stratum = who.labels[patient]
        tuned = sum(who.labels[p] == stratum for p in kept)
        around = tuned + sum(who.labels[p] == stratum for p in train) + 1
        short = tuned + 1 <= int(scheme.tune * around + 0.5) and all(has[c] for c in who.classes[patient])
        if split.tune and short:
            kept.add(patient)
        else:
            train.add(patient)
            has.update(who.classes[patient])
    return replace(split, train=frozenset(train), tune=frozenset(kept), test=frozenset(test))


def _new_fold(like: Split, repeat: int, fold: int, test: Set[str], who: Roster, scheme: Scheme) -> Split:
    rest = frozenset(who.labels) - test
    kept: frozenset[str] = frozenset()
    if like.tune:
        salt = [scheme.seed, like.scheme, repeat, fold]
        kept = tune(who, rest, scheme.tune, salt, needed=True, name=f"{like.scheme}-{repeat}-{fold}")
    return replace(like, repeat=repeat, fold=fold, train=rest - kept, tune=kept, test=frozenset(test))
