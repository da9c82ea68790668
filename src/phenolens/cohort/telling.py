"""Columns given to a model that tell the outcome by themselves, and rows that are copies of each other."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from math import comb

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from phenolens.cohort.faults import counted, listed
from phenolens.cohort.telling_time import FollowUp, concordance, concordance_by_chance
from phenolens.core.inflation import inflates
from phenolens.core.types import Finding, Severity

MOST = 0.95
"""Area under the ROC curve, or concordance, of a single column above which its author must say why."""
LEAST_PATIENTS = 20
_LEAST_OF_CLASS = 5
_CHANCE = 0.01
_WORDS = frozenset(
    (
        *(
            "response",
            "responder",
            "responders",
            "responded",
            "nonresponder",
            "outcome",
            "outcomes",
            "recist",
            "followup",
        ),
        *(
            "relapse",
            "relapsed",
            "recurrence",
            "recurred",
            "progression",
            "progressed",
            "survival",
            "survived",
            "death",
        ),
        *(
            "dead",
            "died",
            "deceased",
            "mortality",
            "event",
            "events",
            "vitalstatus",
            "os",
            "pfs",
            "dfs",
            "rfs",
            "censored",
        ),
        *("censoring", "posttreatment", "postop", "postoperative"),
    )
)
_SHOWN = 5
Numbers = npt.NDArray[np.float64]


def telling(
    inputs: pd.DataFrame,
    truth: pd.Series[str],
    patient: pd.Series[str],
    target: str,
    follow_up: FollowUp | None = None,
) -> list[Finding]:
    """Columns (over units, one row each) with an AUC above MOST for a class of the target, and columns named for it.

    The AUC is one class against the rest, in the better direction, largest over classes; it is asked from
    LEAST_PATIENTS patients on, of classes with 5 patients inside and outside. Rule column-tells-target: an error, which
    the study file can sign off. Rule column-near-target: a note in its place where the best of so many columns could be
    as good by chance (p of the Mann-Whitney test times columns and classes above 0.01). Rule column-named-outcome: a
    warning. With a follow-up, where `truth` is whether the event was seen, the same is asked of the concordance of each
    column with time and event, from 5 patients with the event on.
    """
    found = []
    if patient.nunique() >= LEAST_PATIENTS and inputs.shape[1]:
        found += _strong(inputs, truth, patient, target, follow_up)
    named = [str(c) for c in inputs.columns if _tokens(str(c)) & _WORDS]
    if named:
        what = f"{counted(len(named), 'input column')} named like an outcome: {listed(named, _SHOWN)}"
        todo = "leave them out (features: {ignore: [NAME]}) unless each was known at the time of the prediction"
        found.append(_finding("column-named-outcome", "warning", what, todo))
    return found


def repeated(inputs: pd.DataFrame, patient: pd.Series[str], table: str) -> list[Finding]:
    """Patients who share a row of features, where so many equal rows cannot be chance.

    Chance: the expected number of equal pairs if columns were independent with the shares of values that they have;
    rows of a few coarse columns may well be equal. An error, as oversampling before the split makes.
    """
    x = np.ascontiguousarray(inputs.to_numpy(dtype=np.float64))
    if len(x) < 2 or not x.shape[1]:
        return []
    keys = [row.tobytes() for row in x]
    having: dict[bytes, set[str]] = {}
    for key, person in zip(keys, patient, strict=True):
        having.setdefault(key, set()).add(str(person))
    shared = sorted(sorted(who) for who in having.values() if len(who) > 1)
    if not shared or _by_chance(x) > _CHANCE:
        return []
    who = sorted({p for own in shared for p in own})
    what = (
        f"{counted(len(who), 'patient')} of {table} with the row of another patient, number by number: "
        f"{listed([' = '.join(own) for own in shared], _SHOWN)}"
    )
    todo = "remove the copies; oversampling belongs in the fold (class weights are used there), never in the table"
    return [_finding("rows-repeated", "error", what, todo, who)]


def _finding(rule: str, severity: Severity, what: str, todo: str, who: Iterable[str] = ()) -> Finding:
    return Finding(rule=rule, severity=severity, what=what, todo=todo, who=tuple(who), inflates=inflates(rule))


def _strong(
    inputs: pd.DataFrame, truth: pd.Series[str], patient: pd.Series[str], target: str, follow_up: FollowUp | None
) -> list[Finding]:
    """One error of all columns that chance does not explain, and one note of those it could."""
    ranks = np.asarray(stats.rankdata(inputs.to_numpy(dtype=np.float64), axis=0))
    best: dict[int, tuple[float, str]] = {}
    classes = sorted(set(truth))
    asked = len(inputs.columns) * (len(classes) + (follow_up is not None))
    unlikely: set[int] = set()
    for name in classes:
        inside = truth == name
        with_it, without = (int(patient[rows].nunique()) for rows in (inside, ~inside))
        if min(with_it, without) < _LEAST_OF_CLASS:
            continue
        area = _areas(ranks, inside.to_numpy())
        for i in map(int, np.flatnonzero(area > MOST)):
            best[i] = max(best.get(i, (0.0, "")), (float(area[i]), f"AUC {area[i]:.3f} for {name}"))
            if _chance(float(area[i]), with_it, without) * asked <= _CHANCE:
                unlikely.add(i)
    if follow_up is not None and patient[follow_up.event].nunique() >= _LEAST_OF_CLASS:
        c = concordance(ranks, follow_up)
        for i in map(int, np.flatnonzero(c > MOST)):
            best[i] = max(best.get(i, (0.0, "")), (float(c[i]), f"C {c[i]:.3f} with the follow-up"))
            if concordance_by_chance(ranks[:, i], follow_up) * asked <= _CHANCE:
                unlikely.add(i)
    said = {i: f"{inputs.columns[i]} ({words})" for i, (_, words) in sorted(best.items())}
    found = []
    if told := [said[i] for i in said if i in unlikely]:
        what = (
            f"{counted(len(told), 'column')} of {len(inputs.columns)} alone tell{'s' * (len(told) == 1)} the {target}"
        )
        todo = (
            "leave out what was made from the outcome or known after it; else say how it came about in study.yaml: "
            "sign_offs: {column-tells-target: REASON}"
        )
        found.append(_finding("column-tells-target", "error", f"{what}: {listed(told, _SHOWN)}", todo))
    if told := [said[i] for i in said if i not in unlikely]:
        what = f"{counted(len(told), 'column')} part the {target} almost wholly, which among {len(inputs.columns)}"
        what += f" columns and so few patients can be chance: {listed(told, _SHOWN)}"
        found.append(_finding("column-near-target", "note", what, "look at how they were made"))
    return found


def _areas(ranks: Numbers, positive: npt.NDArray[np.bool_]) -> Numbers:
    """Area under the ROC curve of every column in its better direction, from midranks (n, d)."""
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        return np.full(ranks.shape[1], 0.5)
    area = (ranks[positive].sum(0) - m * (m + 1) / 2) / (m * n)
    return np.asarray(np.maximum(area, 1 - area))


def _chance(area: float, m: int, n: int) -> float:
    """Two-sided p of an area under the ROC curve where the column says nothing (Mann & Whitney 1947); where classes
    are parted without a tie, 2 in the number of orders."""
    if area == 1.0:
        return min(1.0, 2 / comb(m + n, m))
    deviation = np.sqrt((m + n + 1) / (12 * m * n))
    return float(2 * stats.norm.sf((area - 0.5) / deviation))


def _by_chance(x: Numbers) -> float:
    """Expected number of equal pairs of rows if columns were independent."""
    n = len(x)
    expected = n * (n - 1) / 2
    for column in x.T:
        counts = np.unique(column, return_counts=True)[1]
        expected *= float((counts * (counts - 1)).sum()) / (n * (n - 1))
        if expected <= _CHANCE / 10:
            break
    return expected


def _tokens(name: str) -> set[str]:
    """The words of a column's name, in lower case: 'bestResponse_RECIST' has best, response and recist."""
    parted = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name).casefold()
    words = re.findall(r"[a-z]+", parted)
    joined = {a + b for a, b in pairwise(words)}
    return set(words) | joined
