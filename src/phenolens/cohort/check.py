"""Checks of a cohort and its splits before any pixel is read; a finding of severity "error" refuses a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import comb

import numpy as np
import pandas as pd

from phenolens.cohort.faults import counted, listed
from phenolens.cohort.patients import UNKNOWN
from phenolens.cohort.schemes import HOLDOUT, Roster, roster
from phenolens.core.inflation import inflates
from phenolens.core.store import key_of
from phenolens.core.types import Cohort, Finding, Severity, Split

_FLOOR = 10
_DRAWS = 999
SITE_LABEL_LEVEL = 0.01
"""How often `site-label` is found where labels do not depend on the site."""


def static(
    cohort: Cohort,
    labels: pd.Series[str],
    splits: Sequence[Split],
    images_labels: pd.Series[str] | None = None,
) -> list[Finding]:
    """Everything the labels, sites and splits alone can tell, the gravest first.

    `labels` is patient -> class or stratum; `images_labels` is image -> class where the label stands by image. Rules:
    few-classes, split-strangers, split-lost, class-not-trained, class-few-for-folds, class-not-tested, class-not-tuned,
    class-under-floor, site-one-label, site-label, sites-few.
    """
    who = roster(cohort, labels, images_labels)
    found = [*_classes(who), *_members(who, splits), *_coverage(who, splits), *sites(who)]
    order = {"error": 0, "warning": 1, "note": 2}
    return sorted(found, key=lambda f: order[f.severity])


def unlabelled(cohort: Cohort, strata: pd.Series[str], splits: Sequence[Split]) -> list[Finding]:
    """What splits and sites alone can tell where nothing in a table is predicted; rules as in `static`."""
    who = roster(cohort, strata)
    return [*_members(who, splits), *_few_sites(Counter(s for s in who.sites.values() if s != UNKNOWN))]


def _finding(rule: str, severity: Severity, what: str, todo: str, who: Iterable[str] = ()) -> Finding:
    return Finding(rule=rule, severity=severity, what=what, todo=todo, who=tuple(sorted(who)), inflates=inflates(rule))


def _classes(who: Roster) -> list[Finding]:
    by_class = who.by_class()
    if len(by_class) < 2:
        names = f"one class only ({listed(by_class)})" if by_class else "no class"
        todo = "check task.target and where:, or add patients of another class"
        return [_finding("few-classes", "error", f"{names}: nothing can be told apart", todo)]
    found = []
    for name, own in by_class.items():
        without = len(set(who.labels) - set(own))
        few = [f"{len(own)} with"] * (len(own) < _FLOOR) + [f"{without} without"] * (without < _FLOOR)
        if few:
            of = f"of {counted(len(who.labels), 'patient')}"
            what = f"class {name}: {' and '.join(few)} it {of}: its AUC is not estimable"
            todo = f"nothing, or add patients: the floor is {_FLOOR} with and {_FLOOR} without the class"
            found.append(_finding("class-under-floor", "note", what, todo, own))
    return found


def _members(who: Roster, splits: Sequence[Split]) -> list[Finding]:
    """Splits hold the cohort's patients, all of them and no others."""
    held = {p for s in splits if s.scheme == HOLDOUT for p in s.test}
    strangers: set[str] = set()
    lost: set[str] = set()
    for s in splits:
        here = s.train | s.tune | s.test
        strangers |= here - set(who.labels)
        lost |= set(who.labels) - here - (held if s.scheme != HOLDOUT else set())
    todo = "run with --extend to keep the old folds, or with --new-splits"
    found = []
    if strangers:
        what = f"{counted(len(strangers), 'patient')} of the splits not in the cohort: {listed(sorted(strangers))}"
        found.append(_finding("split-strangers", "error", what, todo, strangers))
    if lost:
        what = f"{counted(len(lost), 'patient')} of the cohort not in all splits: {listed(sorted(lost))}"
        found.append(_finding("split-lost", "error", what, todo, lost))
    return found


def _coverage(who: Roster, splits: Sequence[Split]) -> list[Finding]:
    """Which classes are missing from a part of a split, and which are smaller than the number of folds."""
    found: list[Finding] = []
    for name, own in who.by_class().items():
        for scheme in dict.fromkeys(s.scheme for s in splits):
            group = [s for s in splits if s.scheme == scheme]
            folds = len({s.fold for s in group})
            if scheme in ("patient_kfold", "site_preserved", "file") and folds > 1 and len(own) < folds:
                what = f"class {name} has {counted(len(own), 'patient')} for {folds} folds of {scheme}: {listed(own)}"
                todo = (
                    f"use {len(own)} folds, or leave the class out"
                    if len(own) > 1
                    else "leave the class out with where:"
                )
                found.append(_finding("class-few-for-folds", "warning", what, todo, own))
            found += _absent(name, own, group)
    return found


def _absent(name: str, own: Sequence[str], group: Sequence[Split]) -> list[Finding]:
    found = []
    untrained = [s for s in group if not s.train & set(own)]
    for s in untrained:
        parts = [
            f"{part} {listed(sorted(getattr(s, part) & set(own)))}"
            for part in ("tune", "test")
            if getattr(s, part) & set(own)
        ]
        stand = " and ".join(parts) or "no part"
        what = f"class {name} is in no training patient of {s.name}; its patients are in {stand}"
        todo = f"leave class {name} out with where:, add patients of it, or choose another scheme or fewer folds"
        found.append(_finding("class-not-trained", "error", what, todo, own))
    for part, rule in (("test", "class-not-tested"), ("tune", "class-not-tuned")):
        without = [s for s in group if getattr(s, part) and not getattr(s, part) & set(own) and s not in untrained]
        if without:
            what = f"class {name} is in no {part} patient of {listed(s.name for s in without)}"
            told = (
                "its measures are pooled over fewer folds" if part == "test" else "stopping and choosing cannot see it"
            )
            found.append(_finding(rule, "note", f"{what}: {told}", "nothing, or use fewer folds", own))
    return found


def sites(who: Roster) -> list[Finding]:
    """How many sites there are, sites of one label, and labels that follow the site."""
    sizes = Counter(s for s in who.sites.values() if s != UNKNOWN)
    found = _few_sites(sizes)
    if len(sizes) > 1:
        found += _constant(who, sizes) + _dependent(who)
    return found


def _few_sites(sizes: Counter[str]) -> list[Finding]:
    if len(sizes) > 2:
        return []
    known = f"{counted(len(sizes), 'known site')}: {listed(sorted(sizes))}" if sizes else "no known site"
    what = f"{known}; no external evidence can come from this cohort"
    todo = "with three sites or more, add also: [leave_one_site_out]"
    return [_finding("sites-few", "note", what, todo)]


def _constant(who: Roster, sizes: Counter[str]) -> list[Finding]:
    """Sites whose patients all have one label: a model can learn the site instead."""
    totals = Counter(who.labels.values())
    found = []
    for site, n in sorted(sizes.items()):
        own = [p for p, s in who.sites.items() if s == site]
        names = {who.labels[p] for p in own}
        if n < 2 or len(names) > 1 or len(totals) < 2:
            continue
        chance = sum(comb(k, n) for k in totals.values()) / comb(len(who.labels), n)
        severity: Severity = "warning" if chance < 0.05 else "note"
        what = (
            f"all {n} patients of site {site} are {next(iter(names))} (by chance: {chance:.2g});"
            " a model can learn the site instead of the disease"
        )
        todo = "add leave_one_site_out or site_preserved to validation.also, and read the figures by site"
        found.append(_finding("site-one-label", severity, what, todo, own))
    return found


def _dependent(who: Roster) -> list[Finding]:
    """Labels that depend on the site more than 1 in 100 random orders of the labels do (chi-square, permuted)."""
    known = sorted(p for p in who.labels if who.sites[p] != UNKNOWN)
    sites, classes = (np.unique([m[p] for p in known], return_inverse=True)[1] for m in (who.sites, who.labels))
    rows, columns = int(sites.max()) + 1, int(classes.max()) + 1
    expected = np.outer(np.bincount(sites), np.bincount(classes)) / len(known)

    def statistic(order: np.ndarray[tuple[int], np.dtype[np.intp]]) -> float:
        table = np.bincount(sites * columns + order, minlength=rows * columns).reshape(rows, columns)
        return float((((table - expected) ** 2) / expected).sum())

    draw = np.random.default_rng(int(key_of(known), 16))
    seen = statistic(classes)
    as_far = sum(statistic(draw.permutation(classes)) >= seen - 1e-9 for _ in range(_DRAWS))
    p = (1 + as_far) / (1 + _DRAWS)
    if p > SITE_LABEL_LEVEL:
        return []
    what = f"the label depends on the site (chi-square {seen:.3g}, p {p:.3g} by permutation): the site is a shortcut"
    todo = "add leave_one_site_out to validation.also, and read the figures by site"
    return [_finding("site-label", "warning", what, todo)]
