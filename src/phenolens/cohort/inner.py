"""The inner split: which training patients are kept for stopping and choosing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from phenolens.cohort.faults import listed
from phenolens.cohort.schemes import Roster, shuffled
from phenolens.core.errors import SplitError


def quotas(sizes: dict[str, int], share: float) -> dict[str, int]:
    """Tune patients of each stratum: the share by largest remainder, and at least one where there are three or more."""
    exact = {name: share * n for name, n in sizes.items()}
    made = {name: int(x) for name, x in exact.items()}
    left = max(1, int(share * sum(sizes.values()) + 0.5)) - sum(made.values())
    for name in sorted(exact, key=lambda n: (made[n] - exact[n], n))[: max(0, left)]:
        made[name] += 1
    return {name: min(max(made[name], int(n >= 3)), n - 1) for name, n in sizes.items()}


def tune(
    who: Roster, candidates: Iterable[str], share: float, salt: list[Any], *, needed: bool, name: str
) -> frozenset[str]:
    """A stratified draw of about `share` of the candidates that leaves each class at least one patient to train on.

    Where that rule allows fewer, fewer are drawn. Raises SplitError when it allows none and one is `needed`.
    """
    inside = who.only(candidates)
    train = Counter(c for own in inside.classes.values() for c in own)
    taken: set[str] = set()

    def take(patients: Iterable[str], most: int) -> None:
        for patient in patients:
            if most > 0 and patient not in taken and all(train[c] > 1 for c in inside.classes[patient]):
                taken.add(patient)
                train.subtract(inside.classes[patient])
                most -= 1

    strata = inside.by_stratum()
    wanted = quotas({s: len(own) for s, own in strata.items()}, share)
    for stratum, own in strata.items():
        take(shuffled(own, *salt, "tune"), wanted[stratum])
    if not taken:
        take(shuffled(inside.labels, *salt, "tune"), 1)
    if needed and not taken:
        single = [f"{c} ({listed(own)})" for c, own in inside.by_class().items() if len(own) == 1]
        raise SplitError(
            f"no patient to spare for the tune part of {name}: outside its test set each class has one patient left,"
            f" {listed(single)}",
            expected="two patients of some class outside every test set",
            todo="add patients, use fewer folds, or choose only models that need no tune part",
        )
    return frozenset(taken)
