"""What a predictions table made elsewhere tells of sites, folds and probabilities, with one rate of error for all.

Every model and class that is looked at is a test, and all tests of a table take part in Holm's correction
(`audit/findings.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from phenolens.audit.findings import Judged, Test, judge
from phenolens.audit.given_pairs import first_repeat, p_of_folds, p_of_sites
from phenolens.cohort import check
from phenolens.cohort.schemes import Roster
from phenolens.core.inflation import inflates
from phenolens.core.predictions import Predictions
from phenolens.core.types import Finding
from phenolens.evaluate.calibration import summary
from phenolens.evaluate.folds import Group, groups
from phenolens.evaluate.score import estimates as estimated

GAP = 0.1
"""How far the AUC over all patients must lie above that within sites before the sites are said to carry it."""
POOLING = 0.03
"""How far a pooled AUC must lie above the mean over folds before it is called inflated by pooling."""
FEWEST_DRAWS = 999
DRAWS_A_TEST = 40
"""Draws for each test of the audit, so that the smallest p there is stays below the level after Holm's correction."""


@dataclass(frozen=True, kw_only=True)
class _Gap:
    """The AUC of one class with all pairs and with those of one site or fold; `p` gives its p from some draws."""

    test: Test
    group: Group
    name: str
    p: Callable[[Group, str, int], float]

    def tested(self, draws: int) -> Test:
        found = self.p(self.group, self.name, draws)
        return replace(self.test, p=None if math.isnan(found) else found)


def of_labels(predictions: Predictions) -> list[Finding]:
    """Labels that follow the site, by the rules of `cohort.check`."""
    rows = predictions.table.drop_duplicates("patient")
    told = predictions.table.groupby("patient")["truth"].agg(set)
    classes = {str(p): frozenset(map(str, t)) for p, t in told.items()}
    who = Roster(
        labels={p: "+".join(sorted(c)) for p, c in classes.items()},
        sites=dict(zip(rows["patient"].map(str), rows["site"].map(str), strict=True)),
        classes=classes,
    )
    return check.sites(who)


def judged(predictions: Predictions, estimates: pd.DataFrame) -> Judged:
    """Probabilities that are off, AUCs that fall within sites or folds, after Holm's correction over all of them.

    Of two classes one is tested: what it shows of the other is the same. Where there are sites, the level of the rule
    `site-label` is taken from the 5% first.
    """
    off, gaps = _probabilities(predictions), [*_sites(predictions, estimates), *_folds(predictions, estimates)]
    draws = max(FEWEST_DRAWS, DRAWS_A_TEST * (len(off) + len(gaps)) - 1)
    several = predictions.table["site"].nunique() > 1
    return judge([*off, *(gap.tested(draws) for gap in gaps)], spent=check.SITE_LABEL_LEVEL if several else 0.0)


def _tested(classes: tuple[str, ...]) -> tuple[str, ...]:
    return classes[1:] if len(classes) == 2 else classes


def _probabilities(predictions: Predictions) -> list[Test]:
    """Slopes against 1 and intercepts against 0: probabilities too extreme or timid, too high or low on the whole."""
    rows = summary(predictions)
    rows = rows[rows["measure"].isin(("slope", "intercept")) & rows["class"].isin(_tested(predictions.classes))]
    return [_off(row) for row in rows.dropna(subset=["value"]).to_dict("records")]


def _off(row: dict[Any, Any]) -> Test:
    slope = row["measure"] == "slope"
    away = row["value"] - (1.0 if slope else 0.0)
    words = ("too extreme", "too timid") if slope else ("too high", "too low")
    note = f" ({row['note']})" if row["note"] else ""
    error = (row["high"] - row["low"]) / (2 * float(stats.norm.ppf(0.975)))
    return Test(
        name="calibration-off",
        statistic=float(row["value"]),
        p=2 * float(stats.norm.sf(abs(away) / error)) if error > 0 else None,
        severity="warning",
        what=(
            f"{row['model']}: probabilities of {row['class']} are {words[int(away > 0)]}: calibration "
            f"{row['measure']} {row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f}){note}"
        ),
        todo="recalibrate inside the training fold (intercept first) before a probability is read as a chance",
    )


def _areas(estimates: pd.DataFrame, group: Group, name: str) -> tuple[float, pd.DataFrame]:
    """The AUC of a class over all patients (NaN where not estimable), and its estimable rows by site."""
    rows = estimates[(estimates["metric"] == "auc") & (estimates["model"] == group.key["model"])]
    whole = rows.loc[rows["subgroup"] == f"class={name}", "value"].astype(float)
    by_site = rows[rows["subgroup"].str.startswith(f"class={name};site=")].dropna(subset=["value"])
    return (float(whole.to_numpy()[0]) if len(whole) else math.nan), by_site


def _sites(predictions: Predictions, estimates: pd.DataFrame) -> Iterator[_Gap]:
    """Every model and class whose AUC can be told over all patients and within two sites or more."""
    for group in groups(predictions):
        for name in _tested(group.classes):
            whole, sites = _areas(estimates, group, name)
            if math.isnan(whole) or len(sites) < 2:
                continue
            within = float(np.average(sites["value"].astype(float), weights=sites["n_patients"].astype(float)))
            test = Test(
                name="site-carries",
                statistic=whole - within,
                p=None,
                severity="warning" if whole - within > GAP else None,
                what=(
                    f"{group.key['model']}: AUC of {name} {whole:.3f} over all patients and {within:.3f} within "
                    f"{len(sites)} sites: the site carries part of it"
                ),
                todo="report within-site figures, and test with whole sites left out",
                inflates=inflates("site"),
            )
            yield _Gap(test=test, group=group, name=name, p=p_of_sites)


def _folds(predictions: Predictions, estimates: pd.DataFrame) -> Iterator[_Gap]:
    """Every model and class whose AUC can be told with the folds of a repeat pooled and as the mean over folds."""
    table = predictions.table
    first = table[table["repeat"] == table["repeat"].min()].drop_duplicates(["model", "patient", "unit_id"])
    pooled = estimated(Predictions(table=first.assign(fold=0), classes=predictions.classes), ["auc"])
    for group in groups(predictions):
        for name in _tested(group.classes) if len(first_repeat(group)) > 1 else ():
            whole, mean = (_areas(table, group, name)[0] for table in (pooled, estimates))
            if math.isnan(whole - mean):
                continue
            test = Test(
                name="pooling-inflates",
                statistic=whole - mean,
                p=None,
                severity="warning" if whole - mean > POOLING else None,
                what=f"{group.key['model']}: AUC of {name} {whole:.3f} with folds pooled, {mean:.3f} within folds",
                todo="report the mean over folds with its interval: pooling compares scores of different models",
                inflates="pooled leave-one-out gives a dummy AUC 1.00; pooled sites 0.39 where 0.48 is within site",
            )
            yield _Gap(test=test, group=group, name=name, p=p_of_folds)
