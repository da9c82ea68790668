"""Can the outcome be told without looking at tissue? From how images were made, what is missing, or size alone.

Each test fits a closed-form model of a few columns in every fold of the study, and again on every relabelling. What
such a model scores, a model of the images could score for the same reason.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from phenolens.audit.evidence import Evidence
from phenolens.audit.findings import ALPHA, Test
from phenolens.audit.ridge import Matrix, places_of, refits
from phenolens.core.errors import SplitError
from phenolens.core.registry import MODELS
from phenolens.evaluate.compare import holm

ACQUISITION = "acquisition-shortcut"
MISSINGNESS = "missingness-shortcut"
SIZE = "size-alone"
_LISTED = 4


def acquisition(evidence: Evidence, table: pd.DataFrame) -> Test:
    """A model on metadata alone; `table` is that of `metadata.acquisition`. The finding names what carries it.

    An error where no model of the study is shown to do better than the metadata, else a warning.
    """
    if table.empty:
        return _not_run(ACQUISITION, "no metadata that differ between units")
    fitted, values, p = evidence.test(table)
    columns = ", ".join(map(str, table.columns))
    told = f"metadata alone ({columns}), without a look at tissue, give a fold-mean {evidence.score} of {values[0]:.2f}"
    if p >= ALPHA:
        return Test(name=ACQUISITION, statistic=_value(values), p=p, what=told)
    carry, better = carriers(evidence, table), beats(evidence, table)
    return Test(
        name=ACQUISITION,
        statistic=_value(values),
        p=p,
        what=f"{told}, carried by {_named(carry)}; {_compared(better)}",
        who=evidence.right(fitted),
        inflates=f"{evidence.the} up to {values[0]:.2f} with no biology at all",
        todo=f"compare {evidence.who} within one level of {carry[0]}, match patients on it, or harmonise it in the "
        "fold; report the result for each level",
        severity="warning" if better else "error",
    )


def missingness(evidence: Evidence, present: pd.DataFrame) -> Test:
    """A model on which parts (sequences) are there and nothing else must be near 0.5; `present` is that of `look`."""
    if present.empty:
        return _not_run(MISSINGNESS, "no part is missing")
    fitted, values, p = evidence.test(present)
    columns = ", ".join(map(str, present.columns))
    told = f"which of {columns} are missing gives, on its own, a fold-mean {evidence.score} of {values[0]:.2f}"
    if p >= ALPHA:
        return Test(name=MISSINGNESS, statistic=_value(values), p=p, what=told)
    carry, better = carriers(evidence, present), beats(evidence, present)
    lacking = present[carry].min(axis=1).to_numpy() < 1
    who = sorted({e.patient for e, lacks in zip(evidence.examples, lacking, strict=True) if lacks})
    return Test(
        name=MISSINGNESS,
        statistic=_value(values),
        p=p,
        what=f"{told}, carried by {_named(carry)}; {_compared(better)}",
        who=tuple(who) or evidence.right(fitted),
        inflates=f"{evidence.the} up to {values[0]:.2f} for models that can see what is missing",
        todo="ask why these are missing; use patients who have every sequence (scan: missing: left_out), or leave "
        f"{carry[0]} out for everyone",
        severity="warning" if better else "error",
    )


def size(evidence: Evidence, table: pd.DataFrame) -> Test:
    """Size alone beside the models; `table` is the size of `look`. A finding where size is predictive and no model is
    shown to do better than it.
    """
    if table.empty:
        return _not_run(SIZE, "no size that differs between units")
    fitted, values, p = evidence.test(table)
    told = f"size alone ({', '.join(table.columns)}) gives a fold-mean {evidence.score} of {values[0]:.2f}"
    if p >= ALPHA:
        return Test(name=SIZE, statistic=_value(values), p=p, what=told)
    better = beats(evidence, table)
    if better:
        return Test(name=SIZE, statistic=_value(values), p=p, what=f"{told}; {_compared(better)}")
    return Test(
        name=SIZE,
        statistic=_value(values),
        p=p,
        what=f"{told}; {_compared(better)}, so nothing beyond size is shown",
        who=evidence.right(fitted),
        inflates=f"{evidence.the} up to {values[0]:.2f} by size, where texture is claimed",
        todo="report size beside the model (models: volume_only), or show on more patients that the model adds to it",
        severity="warning",
    )


def _named(columns: Sequence[str]) -> str:
    return ", ".join(columns[:_LISTED]) + (", …" if len(columns) > _LISTED else "")


def _compared(better: Sequence[str]) -> str:
    return f"{', '.join(better)} shown to do better" if better else "no model is shown to do better"


def carriers(evidence: Evidence, table: pd.DataFrame) -> list[str]:
    """The columns that carry the label alone (p below 0.05 by Holm over them), the strongest first; at least one."""
    found = []
    for name in table.columns:
        _, values, p = evidence.test(table[[name]])
        found.append((float(np.nan_to_num(values[0], nan=0.5)), p, str(name)))
    adjusted = holm([p for _, p, _ in found])
    order = sorted(range(len(found)), key=lambda i: (adjusted[i], -found[i][0]))
    carry = [found[i][2] for i in order if adjusted[i] < ALPHA]
    return carry or [found[order[0]][2]]


def beats(evidence: Evidence, table: pd.DataFrame) -> list[str]:
    """The models shown to do better than the columns alone: same splits, p below 0.05 by Holm over the models."""
    whole = evidence.predictions.table
    scheme = evidence.splits[0].scheme
    rows = whole[whole["scheme"] == scheme]
    models = [m for m in sorted(set(rows["model"])) if not _is_baseline(m)]
    if not models:
        return []
    beside = _as_model(evidence, table, rows[rows["model"] == models[0]])
    both = pd.concat([rows[rows["model"].isin(models)], beside], ignore_index=True)
    try:
        pairs = evidence.pairs(both)
    except SplitError:  # models of several sets of units have no common test sets
        return []
    pairs = pairs[(pairs["model_a"] == _BESIDE) | (pairs["model_b"] == _BESIDE)].reset_index(drop=True)
    ahead = np.where(pairs["model_b"] == _BESIDE, pairs["difference"], -pairs["difference"])
    names = np.where(pairs["model_b"] == _BESIDE, pairs["model_a"], pairs["model_b"])
    small = np.array(holm(pairs["p"].tolist())) < ALPHA
    return [str(n) for n in names[small & (ahead > 0)]]


_BESIDE = "(these columns alone)"


def _as_model(evidence: Evidence, table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of one model with what a closed-form model of the columns says in its place."""
    number = {e.unit_id: i for i, e in enumerate(evidence.examples)}
    shown = rows[rows["unit_id"].isin(list(number))].assign(model=_BESIDE)
    columns = list(evidence.told)
    made = shown[columns].to_numpy(dtype=float).copy()
    made[:] = 1 / len(columns)
    place = {(s.repeat, s.fold): p for s in evidence.splits for p in places_of(evidence.patients, [s])}
    for key, fold in shown[shown["part"] == "test"].groupby(["repeat", "fold"]):
        if key in place:
            p = evidence.forecast(refits(table, [place[key]])[0])
            at = {evidence.examples[i].unit_id: n for n, i in enumerate(place[key].test)}
            where = shown.index.get_indexer(fold.index)
            made[where] = p[[at[u] for u in fold["unit_id"]]]
    shown[columns] = made
    return shown


def _is_baseline(model: str) -> bool:
    return model in MODELS.names() and bool(getattr(MODELS.plugin(model)[0], "baseline", False))


def _value(values: Matrix) -> float | None:
    return float(values[0]) if np.isfinite(values[0]) else None


def _not_run(name: str, why: str) -> Test:
    return Test(name=name, statistic=None, p=None, what=f"not tested: {why}")
