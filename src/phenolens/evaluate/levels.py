"""Levels of a subgroup column against everyone else: pairs within test sets, and whole patients drawn again.

What `subgroup` (classes) and `survival_subgroup` share. Both measure the share of pairs in the right order; they differ
in which pairs count, and in who must be there before a number is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from phenolens.core.predictions import SUBGROUP, UNKNOWN_SUBGROUP
from phenolens.core.store import key_of
from phenolens.evaluate.compare import holm
from phenolens.evaluate.folds import GROUP
from phenolens.evaluate.interval import BOOTSTRAP, percentile_interval
from phenolens.evaluate.sets import Sets

METHOD = f"pairs within folds; patients drawn again {BOOTSTRAP} times within each subgroup"
NOTE = (
    "A difference is told with its interval, never as a verdict: an interval that holds 0 does not show that the "
    "subgroups are served alike, least of all where it is wide. p after Holm counts all comparisons of a model."
)
"""What the report prints beside the table."""
COUNTS = ("n_patients", "n_events", "rest_events")
NUMBERS = ("value", "low", "high", "difference", "difference_low", "difference_high", "p", "p_holm")
COLUMNS = (*GROUP, "metric", "class", "column", "level", *COUNTS, *NUMBERS, "method", "note")
Floats = npt.NDArray[np.float64]
Weights = npt.NDArray[np.float32]
Places = npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Ordered:
    """The pairs of one test set: `first` and `second` are rows of the fold (m,) and (n,).

    `right` (m, n) is how far a pair is in the right order, times its weight; `all` (m, n) the weights, None where every
    pair counts one.
    """

    first: Places
    second: Places
    right: npt.NDArray[Any]
    all: npt.NDArray[Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of every level: the pairs of each test set and the units with the event (or class) in it.

    `short` says in words which of the patients with and without the event are too few; empty where there are enough.
    """

    metric: str
    part: str
    pairs: Sequence[Ordered]
    event: Sequence[npt.NDArray[np.bool_]]
    short: Callable[[int, int], str]
    lacks: str


def told(sets: Sequence[Sets], table: pd.DataFrame, ask: Callable[[Any], Sequence[Question]]) -> pd.DataFrame:
    """One row a model, scheme, question, column `g_NAME` of the table and level of it; none without a `g_` column."""
    names = [str(c) for c in table.columns if str(c).startswith(SUBGROUP)]
    rows: list[dict[str, Any]] = []
    for group in sets if names else ():
        questions = ask(group)
        rows += _adjusted([row for name in names for row in _column(group, name, _levels(table, name), questions)])
    made = pd.DataFrame(rows, columns=list(COLUMNS))
    counts = {name: made[name].astype("Int64") for name in COUNTS}
    return made.assign(**counts, **{name: made[name].astype("float64") for name in NUMBERS})


@dataclass(frozen=True, kw_only=True)
class _Pairs:
    """Right and all pairs by level of the first and of the second patient: (draws, levels, levels)."""

    right: Floats
    all: Floats

    def share(self, levels: Sequence[int]) -> Floats:
        """The share of right pairs among patients of these levels, (draws,); NaN where there is no pair."""
        place = np.ix_(range(len(self.all)), levels, levels)
        total = self.all[place].sum((1, 2))
        made: Floats = np.divide(self.right[place].sum((1, 2)), total, out=np.full(len(total), np.nan), where=total > 0)
        return made


def _levels(table: pd.DataFrame, name: str) -> dict[str, str]:
    """Unit id -> level."""
    once = table.drop_duplicates("unit_id")
    return dict(zip(once["unit_id"], once[name].fillna(UNKNOWN_SUBGROUP).astype(str), strict=True))


def _column(group: Sets, name: str, of: dict[str, str], questions: Sequence[Question]) -> list[dict[str, Any]]:
    levels = sorted({of[str(u)] for fold in group.folds for u in fold.unit_id}, key=_in_order)
    place = {level: i for i, level in enumerate(levels)}
    codes = [np.array([place[of[str(u)]] for u in fold.unit_id], dtype=np.intp) for fold in group.folds]
    patients = np.concatenate([fold.patient for fold in group.folds])
    level = np.zeros(int(patients.max()) + 1, dtype=np.intp)
    level[patients] = np.concatenate(codes)
    weights = _drawn(np.unique(patients), level, seed=int(key_of(["subgroup", name, levels]), 16) % 2**63)
    rows = []
    for asked in questions:
        pairs = _pairs(group, codes, asked, len(levels), weights)
        counts = [_counted(group, codes, asked, k) for k in range(len(levels))]
        for k, text in enumerate(levels):
            key = {**group.key, "metric": asked.metric, "class": asked.part, "column": name.removeprefix(SUBGROUP)}
            row = _row(pairs, k, counts, asked)
            rows.append({**key, "level": text, **row, "twice": len(levels) == 2 and k == 1})
    return rows


def _in_order(level: str) -> tuple[bool, bool, float, str]:
    """Numbers by size, from "under 50" on; what is not known comes last."""
    number = re.search(r"-?\d+(\.\d+)?", level)
    return level == UNKNOWN_SUBGROUP, not level.startswith("under "), float(number[0]) if number else 0.0, level


def _drawn(patients: npt.NDArray[np.int64], level: Places, *, seed: int) -> Weights:
    """How often each patient counts: (codes, 1 + draws); once in the first column, drawn within its level in others.

    Counts and half pairs are exact in float32, which is twice as fast as float64.
    """
    rng = np.random.default_rng(seed)
    weights = np.zeros((len(level), 1 + BOOTSTRAP), dtype=np.float32)
    weights[patients, 0] = 1
    for k in np.unique(level[patients]):
        own = patients[level[patients] == k]
        weights[own, 1:] = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), size=BOOTSTRAP).T
    return weights


def _pairs(group: Sets, codes: Sequence[Places], asked: Question, levels: int, weights: Weights) -> _Pairs:
    right, total = np.zeros((2, weights.shape[1], levels, levels))
    for fold, code, held in zip(group.folds, codes, asked.pairs, strict=True):
        of, other = code[held.first], code[held.second]
        counts, counts_of_other = weights[fold.patient[held.first]], weights[fold.patient[held.second]]
        others = [(other == b, counts_of_other[other == b]) for b in range(levels)]
        for a in range(levels):
            mine = of == a
            won = held.right[mine].T @ counts[mine]
            number = None if held.all is None else held.all[mine].T @ counts[mine]
            alone = counts[mine].sum(0, dtype=np.float64)
            for b, (there, drawn) in enumerate(others):
                right[:, a, b] += (won[there] * drawn).sum(0, dtype=np.float64)
                if number is None:
                    total[:, a, b] += alone * drawn.sum(0, dtype=np.float64)
                else:
                    total[:, a, b] += (number[there] * drawn).sum(0, dtype=np.float64)
    return _Pairs(right=right, all=total)


def _counted(group: Sets, codes: Sequence[Places], asked: Question, k: int) -> tuple[int, int, int]:
    """Distinct test patients of a level: with the event, without it, and all."""
    mine = [code == k for code in codes]
    patient = np.concatenate([fold.patient[own] for fold, own in zip(group.folds, mine, strict=True)])
    with_it = np.concatenate([event[own] for event, own in zip(asked.event, mine, strict=True)])
    return len(np.unique(patient[with_it])), len(np.unique(patient[~with_it])), len(np.unique(patient))


def _row(pairs: _Pairs, k: int, counts: Sequence[tuple[int, int, int]], asked: Question) -> dict[str, Any]:
    """Value, difference and their limits of level k."""
    others = [j for j in range(len(counts)) if j != k]
    rest = (sum(counts[j][0] for j in others), sum(counts[j][1] for j in others))
    row: dict[str, Any] = dict.fromkeys(NUMBERS, np.nan)
    row |= {"n_patients": counts[k][2], "n_events": counts[k][0], "rest_events": rest[0], "method": "", "note": ""}
    if why := asked.short(*counts[k][:2]):
        return {**row, "note": f"not estimable: {why}"}
    own = pairs.share([k])
    if np.isnan(own[0]):
        return {**row, "note": f"not estimable: {asked.lacks}"}
    row |= {"value": own[0], **_limits(own, ""), "method": METHOD}
    if why := asked.short(*rest):
        return {**row, "note": f"no difference: {why} in the rest" if others else "no difference: everyone is in it"}
    apart = own - pairs.share(others)
    row |= {"difference": apart[0], **_limits(apart, "difference_"), "p": _p(apart[1:])}
    return row


def _limits(values: Floats, prefix: str) -> dict[str, float]:
    made = percentile_interval(values[1:][np.isfinite(values[1:])])
    return {} if made is None else {f"{prefix}low": made.low, f"{prefix}high": made.high}


def _p(drawn: Floats) -> float:
    """Twice the share of draws on the rarer side of no difference (Davison & Hinkley 1997, section 4.4)."""
    known = drawn[np.isfinite(drawn)]
    if len(known) < 0.9 * BOOTSTRAP:
        return float("nan")
    return float(min(1.0, 2 * (1 + min((known <= 0).sum(), (known >= 0).sum())) / (len(known) + 1)))


def _adjusted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with Holm's p; the second level of a column of two repeats the comparison of the first."""
    p = holm([np.nan if row["twice"] else row["p"] for row in rows])
    made = []
    for i, row in enumerate(rows):
        mirrored = row.pop("twice")
        made.append({**row, "p_holm": p[i - 1] if mirrored else p[i]})
    return made
