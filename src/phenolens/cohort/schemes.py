"""How patients are partitioned into test folds: one function a scheme.

Every draw is an order by stable hash of (seed, scheme, repeat, patient): the same on every machine, and whatever the
order of the rows of the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from phenolens.cohort.faults import counted, did_you_mean, listed
from phenolens.cohort.lesions import owners
from phenolens.cohort.patients import UNKNOWN
from phenolens.cohort.sites import preserved
from phenolens.core.errors import SplitError
from phenolens.core.store import key_of
from phenolens.core.types import Cohort

SCHEMES = ("patient_kfold", "leave_one_site_out", "site_preserved", "one_patient_per_class", "file")
HOLDOUT = "holdout"


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """How to split: the main scheme and others beside it, folds, repeats, a locked holdout, the inner tune share.

    `tune` is the share of the patients outside a fold's test set; `file` is the table of scheme "file".
    """

    scheme: str = "patient_kfold"
    folds: int = 5
    repeats: int = 1
    also: tuple[str, ...] = ()
    holdout: str | None = None
    seed: int = 0
    tune: float = 0.2
    file: Path | None = None

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in SCHEMES:
                todo = f"correct validation.scheme or validation.also{did_you_mean(name, SCHEMES)}"
                raise SplitError(f"scheme {name!r}", expected=f"one of {', '.join(SCHEMES)}", todo=todo)
        wrong = [f"folds {self.folds}"] * (self.folds < 2) + [f"repeats {self.repeats}"] * (self.repeats < 1)
        wrong += [f"tune {self.tune}"] * (not 0 < self.tune < 1)
        if wrong:
            expected = "two folds or more, one repeat or more, tune between 0 and 1"
            raise SplitError(listed(wrong), expected=expected, todo="correct the section validation of the study file")
        if ("file" in self.names) != (self.file is not None):
            expected = "the scheme file with the path of a table, or neither"
            found = f"scheme {listed(self.names)} with file {self.file}"
            raise SplitError(found, expected=expected, todo="give both scheme: file and file:")

    @property
    def names(self) -> tuple[str, ...]:
        """All schemes asked for, the main one first, each once."""
        return tuple(dict.fromkeys((self.scheme, *self.also)))


@dataclass(frozen=True, kw_only=True)
class Roster:
    """Who is split: patient -> stratum, site, and the classes the patient contributes (several by image labels)."""

    labels: Mapping[str, str]
    sites: Mapping[str, str]
    classes: Mapping[str, frozenset[str]]

    def only(self, patients: Iterable[str]) -> Roster:
        """The same for some patients."""
        who = sorted(set(patients))
        return Roster(
            labels={p: self.labels[p] for p in who},
            sites={p: self.sites[p] for p in who},
            classes={p: self.classes[p] for p in who},
        )

    def by_class(self) -> dict[str, list[str]]:
        """Class -> its patients, sorted."""
        names = sorted({c for own in self.classes.values() for c in own})
        return {name: sorted(p for p, own in self.classes.items() if name in own) for name in names}

    def by_stratum(self) -> dict[str, list[str]]:
        """Stratum -> its patients, sorted."""
        names = sorted(set(self.labels.values()))
        return {name: sorted(p for p, own in self.labels.items() if own == name) for name in names}


def roster(cohort: Cohort, labels: pd.Series[str], images_labels: pd.Series[str] | None = None) -> Roster:
    """The labelled patients of a cohort; `images_labels` tells what a stratum such as 'A+B' holds.

    It is image -> class, or PATIENT/LESION -> class where the label stands by lesion.
    """
    named = {str(p): str(c) for p, c in labels.items()}
    strangers = sorted(set(named) - set(cohort.patients.index))
    if strangers:
        found = f"labels of {counted(len(strangers), 'patient')} that are not in the cohort: {listed(strangers)}"
        raise SplitError(found, expected="labels of the cohort's patients", todo="make the labels from this cohort")
    classes = {p: frozenset([c]) for p, c in named.items()}
    if images_labels is not None:
        owner = owners(cohort)
        several: dict[str, set[str]] = {p: set() for p in named}
        for image, name in images_labels.items():
            several[owner[str(image)]].add(str(name))
        classes = {p: frozenset(own) for p, own in several.items()}
    sites = {p: str(cohort.patients.loc[p, "site"]) for p in named}
    return Roster(labels=named, sites=sites, classes=classes)


def shuffled(patients: Iterable[str], *salt: Any) -> list[str]:
    """The patients in an order that depends on `salt` and their ids only."""
    return sorted(patients, key=lambda p: (key_of([*salt, p]), p))


Tests = dict[tuple[int, int], frozenset[str]]
"""(repeat, fold) -> test patients."""


def tests(name: str, who: Roster, scheme: Scheme) -> Tests:
    """The test sets of a scheme other than "file". Raises SplitError where it cannot be made, naming class or site."""
    if name == "leave_one_site_out":
        return _by_site(who)
    if name == "site_preserved":
        return _site_preserved(who, scheme)
    rule = {"patient_kfold": _stratified, "one_patient_per_class": _one_per_class}[name]
    made: Tests = {}
    for repeat in range(scheme.repeats):
        for fold, test in enumerate(rule(who, scheme.folds, [scheme.seed, name, repeat])):
            made[repeat, fold] = frozenset(test)
    return made


def _stratified(who: Roster, folds: int, salt: list[Any]) -> list[list[str]]:
    """Each class shuffled and dealt out like cards, one class after the other: counts differ by one at most."""
    if len(who.labels) < folds:
        raise SplitError(
            f"{counted(len(who.labels), 'patient')} for {folds} folds ({listed(who.labels)})",
            expected="at least one patient a fold",
            todo=f"set validation.folds to {max(2, len(who.labels))} or fewer",
        )
    cards = [p for own in who.by_stratum().values() for p in shuffled(own, *salt)]
    return [cards[fold::folds] for fold in range(folds)]


def _one_per_class(who: Roster, folds: int, salt: list[Any]) -> list[list[str]]:
    """Fold i tests the i-th patient of each shuffled class; patients beyond the folds always train."""
    if any(len(own) > 1 for own in who.classes.values()):
        todo = "choose patient_kfold, or predict by patient"
        found = "one_patient_per_class where a patient has images of several classes"
        raise SplitError(found, expected="one class a patient", todo=todo)
    small = {name: own for name, own in who.by_class().items() if len(own) < folds}
    if small:
        raise SplitError(
            f"fewer patients than {folds} folds in {_classes(small)}",
            expected="a patient of each class for the test set of every fold",
            todo=f"set validation.folds to {max(2, min(map(len, small.values())))} or fewer, or leave the class out",
        )
    rows = [shuffled(own, *salt) for own in who.by_class().values()]
    return [[row[fold] for row in rows] for fold in range(folds)]


def _classes(named: Mapping[str, list[str]]) -> str:
    return "; ".join(f"class {name} ({counted(len(own), 'patient')}: {listed(own)})" for name, own in named.items())


def _by_site(who: Roster) -> Tests:
    """Each site is tested once; further repeats would test the same sets and are not made."""
    sites = sorted(set(who.sites.values()))
    if len(sites) < 2:
        what = "no site known" if sites == [UNKNOWN] else f"one site only: {listed(sites)}"
        raise SplitError(
            f"{what}, for leave_one_site_out",
            expected="patients of two sites or more",
            todo="fill the column site of the patients table, or choose patient_kfold",
        )
    return {(0, fold): frozenset(p for p, s in who.sites.items() if s == site) for fold, site in enumerate(sites)}


def _site_preserved(who: Roster, scheme: Scheme) -> Tests:
    """Whole sites in folds with classes balanced; repeats that find no new partition are not made."""
    sites = sorted(set(who.sites.values()))
    if len(sites) < scheme.folds:
        raise SplitError(
            f"{counted(len(sites), 'site')} for {scheme.folds} folds that keep sites whole ({listed(sites)})",
            expected="at least one site a fold",
            todo=f"set validation.folds to {len(sites)}" if len(sites) > 1 else "choose patient_kfold",
        )
    counts = {s: dict.fromkeys(who.by_stratum(), 0) for s in sites}
    for patient, site in who.sites.items():
        counts[site][who.labels[patient]] += 1
    seen: set[frozenset[frozenset[str]]] = set()
    made: Tests = {}
    for repeat in range(scheme.repeats):
        orders = [shuffled(sites, scheme.seed, "site_preserved", repeat, start) for start in range(8)]
        found = preserved(counts, scheme.folds, orders, seen)
        if found is None:
            break
        seen.add(frozenset(found))
        for fold, own in enumerate(found):
            made[repeat, fold] = frozenset(p for p, s in who.sites.items() if s in own)
    return made
