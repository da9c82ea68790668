"""How well a model does in parts of the cohort (by sex, age, scanner), and how far that is from the rest.

The area under the ROC curve of a subgroup is the share of pairs of its patients, one with the class and one without,
both in one test set, in which the one with the class has the higher probability. Scores of different folds are never
ranked together, and no fold is lost because a class is missing in its part of a subgroup, as in a mean over folds.

Intervals are of whole patients drawn again within each subgroup, over all folds and repeats, with the fitted models as
they are. For a difference between subgroups that is the honest choice: both sides are scored by the same models, so
what models owe to their training patients is common to both and falls out, and what is left is which patients were
tested. A Nadeau-Bengio interval of fold differences would need both classes of both sides in every fold, has as few
degrees of freedom as there are folds, and finds little. How often it errs and how often it finds a planted difference
is measured in `tests/evaluate/test_subgroup_power.py`, with a ridge that is refitted in every fold.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from phenolens.core.predictions import SUBGROUP, UNKNOWN_SUBGROUP, Predictions
from phenolens.core.registry import METRICS
from phenolens.core.store import key_of
from phenolens.evaluate.compare import holm
from phenolens.evaluate.folds import GROUP, Group, groups
from phenolens.evaluate.interval import BOOTSTRAP, percentile_interval
from phenolens.evaluate.metric import floor_of

METRIC = "auc"
METHOD = f"pairs within folds; patients drawn again {BOOTSTRAP} times within each subgroup"
NOTE = (
    "A difference is told with its interval, never as a verdict: an interval that holds 0 does not show that the "
    "subgroups are served alike, least of all where it is wide. p after Holm counts all comparisons of a model."
)
"""What the report prints beside the table."""
COLUMNS = (
    *GROUP,
    "metric",
    "class",
    "column",
    "level",
    "n_patients",
    "n_events",
    "value",
    "low",
    "high",
    "difference",
    "difference_low",
    "difference_high",
    "p",
    "p_holm",
    "method",
    "note",
)
Floats = npt.NDArray[np.float64]
Weights = npt.NDArray[np.float32]


def subgroups(predictions: Predictions) -> pd.DataFrame:
    """One row a model, scheme, class, column `g_NAME` and level of it (COLUMNS); none without a `g_` column.

    `value` is the AUC of the level with limits `low` and `high`; `difference` is it minus the AUC of everyone else,
    with its limits, `p` (two-sided, from the resamples) and `p_holm` (over the comparisons of a model and scheme; a
    column of two levels counts once). Numbers are empty (NaN) where not estimable: under 10 test patients with the
    class and 10 without, in the level or, for the difference, in the rest; `note` says so. Of two classes only the last
    is told.
    Only test rows are read. Deterministic.

    Raises:
        ModelError: a truth that is none of the classes.
    """
    names = [str(c) for c in predictions.table.columns if str(c).startswith(SUBGROUP)]
    rows: list[dict[str, Any]] = []
    for group in groups(predictions) if names else ():
        found = [row for name in names for row in _column(group, name, _levels(predictions, name))]
        rows += _adjusted(found)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    counts = {name: table[name].astype("Int64") for name in ("n_patients", "n_events")}
    floats = {name: table[name].astype("float64") for name in COLUMNS[10:18]}
    return table.assign(**counts, **floats)


@dataclass(frozen=True, kw_only=True)
class _Pairs:
    """Right and all pairs by level of the patient with the class and of the one without: (draws, levels, levels)."""

    right: Floats
    all: Floats

    def share(self, levels: Sequence[int]) -> Floats:
        """The share of right pairs among patients of these levels, (draws,); NaN where there is no pair."""
        place = np.ix_(range(len(self.all)), levels, levels)
        total = self.all[place].sum((1, 2))
        made: Floats = np.divide(self.right[place].sum((1, 2)), total, out=np.full(len(total), np.nan), where=total > 0)
        return made


def _levels(predictions: Predictions, name: str) -> dict[str, str]:
    """Unit id -> level."""
    table = predictions.table.drop_duplicates("unit_id")
    return dict(zip(table["unit_id"], table[name].fillna(UNKNOWN_SUBGROUP).astype(str), strict=True))


def _column(group: Group, name: str, of: dict[str, str]) -> list[dict[str, Any]]:
    levels = sorted({of[str(u)] for fold in group.folds for u in fold.unit_id}, key=_in_order)
    place = {level: i for i, level in enumerate(levels)}
    codes = [np.array([place[of[str(u)]] for u in fold.unit_id], dtype=np.intp) for fold in group.folds]
    patients = np.concatenate([fold.patient for fold in group.folds])
    level = np.zeros(int(patients.max()) + 1, dtype=np.intp)
    level[patients] = np.concatenate(codes)
    weights = _drawn(np.unique(patients), level, seed=int(key_of(["subgroup", name, levels]), 16) % 2**63)
    rows = []
    for i in range(len(group.classes))[-1:] if len(group.classes) == 2 else range(len(group.classes)):
        pairs = _pairs(group, codes, i, len(levels), weights)
        counts = [_with_and_without(group, codes, i, k) for k in range(len(levels))]
        for k, text in enumerate(levels):
            key = {**group.key, "metric": METRIC, "class": group.classes[i], "column": name.removeprefix(SUBGROUP)}
            rows.append({**key, "level": text, **_row(pairs, k, counts), "twice": len(levels) == 2 and k == 1})
    return rows


def _in_order(level: str) -> tuple[bool, bool, float, str]:
    """Numbers by size, from "under 50" on; what is not known comes last."""
    number = re.search(r"-?\d+(\.\d+)?", level)
    return level == UNKNOWN_SUBGROUP, not level.startswith("under "), float(number[0]) if number else 0.0, level


def _drawn(patients: npt.NDArray[np.int64], level: npt.NDArray[np.intp], *, seed: int) -> Weights:
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


def _pairs(group: Group, codes: Sequence[npt.NDArray[np.intp]], i: int, levels: int, weights: Weights) -> _Pairs:
    right, total = np.zeros((2, weights.shape[1], levels, levels))
    for fold, code in zip(group.folds, codes, strict=True):
        ours, theirs = fold.truth == i, fold.truth != i
        apart = fold.p[theirs, i][:, None]
        score, of, counts = fold.p[ours, i][None], code[ours], weights[fold.patient[ours]]
        beaten = ((score > apart) + 0.5 * (score == apart)).astype(np.float32)
        others = [(code[theirs] == b, weights[fold.patient[theirs]][code[theirs] == b]) for b in range(levels)]
        for a in range(levels):
            mine = of == a
            won = beaten[:, mine] @ counts[mine]
            number = counts[mine].sum(0, dtype=np.float64)
            for b, (there, other) in enumerate(others):
                right[:, a, b] += (won[there] * other).sum(0, dtype=np.float64)
                total[:, a, b] += number * other.sum(0, dtype=np.float64)
    return _Pairs(right=right, all=total)


def _with_and_without(group: Group, codes: Sequence[npt.NDArray[np.intp]], i: int, k: int) -> tuple[int, int, int]:
    """Distinct test patients of a level: with the class, without it, and all."""
    patient = np.concatenate([fold.patient[code == k] for fold, code in zip(group.folds, codes, strict=True)])
    with_it = np.concatenate([fold.truth[code == k] == i for fold, code in zip(group.folds, codes, strict=True)])
    return len(np.unique(patient[with_it])), len(np.unique(patient[~with_it])), len(np.unique(patient))


def _row(pairs: _Pairs, k: int, counts: Sequence[tuple[int, int, int]]) -> dict[str, Any]:
    """Value, difference and their limits of level k."""
    others = [j for j in range(len(counts)) if j != k]
    rest = (sum(counts[j][0] for j in others), sum(counts[j][1] for j in others))
    row: dict[str, Any] = dict.fromkeys(COLUMNS[10:18], np.nan)
    row |= {"n_patients": counts[k][2], "n_events": counts[k][0], "method": "", "note": ""}
    if why := _short(counts[k][:2]):
        return {**row, "note": f"not estimable: {why}"}
    own = pairs.share([k])
    if np.isnan(own[0]):
        return {**row, "note": "not estimable: no test set holds a patient with the class and one without"}
    row |= {"value": own[0], **_limits(own, ""), "method": METHOD}
    if why := _short(rest):
        return {**row, "note": f"no difference: {why} in the rest" if others else "no difference: everyone is in it"}
    apart = own - pairs.share(others)
    row |= {"difference": apart[0], **_limits(apart, "difference_"), "p": _p(apart[1:])}
    return row


def _short(counts: Sequence[int]) -> str:
    floor = floor_of(METRICS.create(METRIC))
    told = [f"{n} {word}" for n, word in zip(counts, ("with", "without"), strict=True) if n < floor]
    return f"{' and '.join(told)} the class ({floor} patients needed)" if told else ""


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
