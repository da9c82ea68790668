"""Splits inside the patients that are fitted on: of the final refit, and of the refits of cross-conformal sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice

from phenolens.core.conformal import ALPHAS, floor
from phenolens.core.errors import StudyError
from phenolens.core.store import key_of
from phenolens.core.types import Example, Split
from phenolens.tasks._contract import Task

FINAL = "final"
"""The scheme of a refit on all development patients."""


def final_split(examples: Sequence[Example], task: Task, *, seed: int, tune: float = 0.2) -> Split:
    """All patients as train and tune (no test), by a rule that does not depend on the machine or the order.

    In every stratum (the classes of a patient's units together) patients are ordered by a hash of seed and id; the
    share `tune`, at least one of two or more, is tune. So every class keeps a patient in train. Where no stratum has
    two (patients of several classes), tune is the first patient none of whose classes is theirs alone.
    """
    labels: dict[str, set[str]] = {}
    for example in examples:
        labels.setdefault(example.patient, set()).add(task.classes[task.truth(example)])
    strata: dict[str, list[str]] = {}
    for patient in sorted(labels, key=lambda p: (key_of(["final", seed, p]), p)):
        strata.setdefault("+".join(sorted(labels[patient])), []).append(patient)
    chosen: set[str] = set()
    for ordered in strata.values():
        chosen.update(ordered[: min(len(ordered) - 1, max(1, round(tune * len(ordered))))])
    if not chosen:
        held = Counter(c for classes in labels.values() for c in classes)
        spare = (p for own in strata.values() for p in own if all(held[c] > 1 for c in labels[p]))
        chosen.update(islice(spare, 1))
    return Split(
        scheme=FINAL,
        repeat=0,
        fold=0,
        train=frozenset(labels) - chosen,
        tune=frozenset(chosen),
        test=frozenset(),
        seed=seed,
    )


def cross_splits(split: Split, examples: Sequence[Example], task: Task, *, groups: int, tunes: bool) -> list[Split]:
    """One split a group: its patients, of train and tune of `split`, are the test part, all others are fitted on.

    Patients are ordered by a hash of the split and their id, never by their label, and dealt into groups of one size;
    the last few, fewer than `groups`, are in no group and train every refit. So the patients of a group and a new
    patient are exchangeable, and Theorem 4 of Barber and others (2021) holds as it is stated, for groups of equal size.
    Where the model stops or chooses (`tunes`), a refit keeps as large a share for it as `split` did. Raises StudyError
    where patients are too few for a set at the smallest alpha, or a class would be missing from a refit.
    """
    inside = [e for e in examples if e.patient in split.train | split.tune]
    ordered = sorted({e.patient for e in inside}, key=lambda p: (key_of(["cross", split.hash, p]), p))
    size, need = len(ordered) // groups, floor(min(ALPHAS.values()))
    if size * groups < need:
        _refuse(
            f"{len(ordered)} training and tune patients in {split.name}",
            f"{-(-need // groups) * groups} or more for {groups} equal groups with {need} patients together",
        )
    share = len(split.tune) / len(split.train | split.tune)
    made = []
    for k in range(groups):
        out = frozenset(ordered[k * size : (k + 1) * size])
        rest = [e for e in inside if e.patient not in out]
        tune = final_split(rest, task, seed=split.seed, tune=share).tune if tunes else frozenset()
        _refuse_absent(split, inside, [e for e in rest if e.patient not in tune], task)
        train = frozenset(ordered) - out - tune
        made.append(
            Split(scheme=f"{split.name}-cross", repeat=0, fold=k, train=train, tune=tune, test=out, seed=split.seed)
        )
    return made


def _refuse_absent(split: Split, inside: Sequence[Example], fitted_on: Sequence[Example], task: Task) -> None:
    there = {task.classes[task.truth(e)] for e in fitted_on}
    for name in task.classes:
        if name not in there:
            n = len({e.patient for e in inside if task.classes[task.truth(e)] == name})
            found = f"class {name} of {split.name} without a patient in one of the refits, of {n} training patients"
            _refuse(found, "enough patients of each class to be in every refit")


def _refuse(found: str, expected: str) -> None:
    raise StudyError(
        f"{found} (guard.conformal: cross)",
        expected=expected,
        todo="choose guard.conformal: split or none, fewer groups (guard.groups), or fewer folds",
    )
