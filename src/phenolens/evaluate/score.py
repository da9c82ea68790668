"""From the Predictions table to estimates: one row a model, scheme, metric and subgroup.

How an estimate is made depends on the scheme:

- Cross-validation: the mean over folds of the fold's value, with the Nadeau-Bengio interval. Scores of different folds
  are never pooled: each fold's model has its own scale, and pooling makes a good model of a dummy (leave-one-out) or a
  dummy of a good model. A fold whose test set lacks a class has no AUC and is left out, counted in the note. Where
  every test set holds one class (leave-one-out), nothing is estimated.
- One test set (`holdout`): its value; DeLong for AUC, Wilson for shares such as accuracy, Wald for calibration
  intercept and slope, a patient bootstrap for the rest and wherever patients have several units.
- `leave_one_site_out`: each site is one test set; the row "all" is the random-effects mean over sites, and its limits
  are those for a new site.

The floor of a metric (AUC: 10 patients with and 10 without the class) looks at the distinct test patients of the whole
scheme in the subgroup, not of a fold. Below it `value` is empty and `note` says why. A metric may also need a
least number of patients in each test set, because what it gives in smaller ones is mostly noise. Where the unit is an
image, metrics are over units; `n_patients`, `n_events`, floors and intervals count patients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from phenolens.core.predictions import Predictions
from phenolens.core.types import Interval
from phenolens.evaluate import interval as limits
from phenolens.evaluate.folds import LEAVE_ONE_SITE_OUT, groups
from phenolens.evaluate.metric import (
    Metric,
    Probabilities,
    Truth,
    bounds_of,
    least_of,
    metrics_reading,
    parts_of,
    remark_of,
    values_of,
)
from phenolens.evaluate.oneset import Cell, Key, on_one_set
from phenolens.evaluate.sets import Sets

COLUMNS = (
    "experiment",
    "scheme",
    "target",
    "model",
    "metric",
    "subgroup",
    "value",
    "low",
    "high",
    "method",
    "n_patients",
    "n_events",
    "note",
)


def estimates(
    predictions: Predictions,
    metrics: Sequence[str] | None = None,
    params: Mapping[str, Mapping[str, Any]] | None = None,
) -> pd.DataFrame:
    """Estimates of every metric (default: all that read probabilities) for every model, scheme, class and site.

    `params` gives the parameters of a metric by its name; the others keep their defaults.

    Columns as in `COLUMNS`. `subgroup` is "all", "class=A", "site=X" or "class=A;site=X"; `value`, `low` and `high` are
    empty (NaN) where not estimable. `n_patients` counts distinct test patients, `n_events` those with the class, or of
    the smallest class where the metric is over all classes. Only test rows are read. Deterministic.

    Raises:
        ModelError: a truth that is none of the classes. PluginError: an unknown metric.
    """
    return estimated(groups(predictions), metrics_reading("probabilities", metrics, params))


def estimated(sets: Iterable[Sets], chosen: Mapping[str, Any]) -> pd.DataFrame:
    """The table of `COLUMNS` for every group of test sets and metric."""
    rows: list[dict[str, Any]] = []
    for group in sets:
        rows += _rows(group, chosen)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    floats = {name: table[name].astype("float64") for name in ("value", "low", "high")}
    counts = {name: table[name].astype("Int64") for name in ("n_patients", "n_events")}
    return table.assign(**floats, **counts)


def fold_values(
    metric: Metric, folds: Iterable[tuple[Truth, Probabilities]], classes: Sequence[str]
) -> list[dict[str | None, float]]:
    """The metric on each test set, by class (None: the one number); empty for a test set on which it has no value."""
    return [values_of(metric, parts_of(metric, classes), "", truth, p, classes)[0] for truth, p in folds]


def fold_mean(metric: Metric, folds: Iterable[tuple[Truth, Probabilities]], classes: Sequence[str]) -> float:
    """The mean over folds of the fold's value, then over classes where the metric has one a class; NaN where none has.

    Where every test set holds every class, the mean of `auc` is that of `macro_auc`.
    """
    found = fold_values(metric, folds, classes)
    parts: Sequence[str | None] = classes if metric.per_class else [None]
    means = [[values[part] for values in found if part in values] for part in parts]
    return float(np.mean([np.mean(m) for m in means])) if all(means) else float("nan")


def _rows(group: Sets, chosen: Mapping[str, Any]) -> list[dict[str, Any]]:
    leaving = group.scheme == LEAVE_ONE_SITE_OUT
    if leaving:
        first = group.folds[0].name[0]
        group = replace(group, folds=tuple(fold for fold in group.folds if fold.name[0] == first))
    if group.nothing:
        empty = Cell(note=f"not estimable: {group.nothing}")
        return _as_rows(group, dict.fromkeys(_keys(group, chosen), empty), None)
    sites = group.sites
    by_site = {site: _cells(group.at(site), chosen) for site in sites} if leaving or len(sites) > 1 else {}
    whole = _over_sites(group, by_site, chosen) if leaving else _cells(group, chosen)
    rows = _as_rows(group, whole, None)
    for site, cells in by_site.items():
        rows += _as_rows(group.at(site), cells, site)
    return rows


def _cells(group: Sets, chosen: Mapping[str, Any]) -> dict[Key, Cell]:
    below = {}
    for name, part in _keys(group, chosen):
        metric = chosen[name]
        below[name, part] = group.below_floor(metric, part) or _too_small(group, metric)
    asked = {name: metric for name, metric in chosen.items() if any(not below[k] for k in below if k[0] == name)}
    made = on_one_set(group, asked) if len(group.folds) == 1 else _over_folds(group, asked)
    return {
        key: Cell(note=f"not estimable: {why}") if why else _with_notes(made[key], group, chosen[key[0]], key[1])
        for key, why in below.items()
    }


def _keys(group: Sets, chosen: Mapping[str, Any]) -> list[Key]:
    return [(name, part) for name, metric in chosen.items() for part in group.parts(metric)]


def _too_small(group: Sets, metric: Any) -> str:
    smallest = min(len(np.unique(fold.patient)) for fold in group.folds)
    if smallest >= least_of(metric):
        return ""
    where = "the test set" if len(group.folds) == 1 else "the smallest test set"
    return f"{where} has {smallest} patients ({least_of(metric)} needed in each)"


def _with_notes(cell: Cell, group: Sets, metric: Any, part: str | None) -> Cell:
    """The cell with what the metric says of all its estimates, and of those from few patients."""
    if cell.value is None:
        return cell
    thin = group.exploratory(metric, part)
    told = [cell.note, remark_of(metric), f"exploratory: {thin}" if thin else ""]
    return replace(cell, note="; ".join(t for t in told if t))


def _over_folds(group: Sets, chosen: Mapping[str, Any]) -> dict[Key, Cell]:
    cells = {}
    for name, metric in chosen.items():
        found = [group.values(metric, fold) for fold in group.folds]
        for part in group.parts(metric):
            values = [v[part] for v, _ in found if part in v]
            reasons = [why[part] for _, why in found if part in why]
            why = [reason.of_folds or f"{group.lacks} in their test sets" for reason in reasons]
            cells[name, part] = _mean(values, why, group.ratio, bounds_of(metric))
    return cells


def _mean(found: list[float], why: list[str], ratio: float | None, bounds: tuple[float, float]) -> Cell:
    total = len(found) + len(why)
    left = [f"{count} of {total} folds left out: {reason}" for reason, count in sorted(Counter(why).items())]
    if not found:
        return Cell(note=f"not estimable: {'; '.join(left)}; scores are never pooled over folds")
    made = None if ratio is None else limits.nadeau_bengio(found, ratio, bounds)
    if made is None:
        if ratio is None:
            left.append("no interval: the table does not show the training patients")
        else:
            left.append("no interval: one fold only" if len(found) == 1 else "no interval: all folds have this value")
    return Cell(value=float(np.mean(found)), interval=made, method=f"mean of {len(found)} folds", note="; ".join(left))


def _over_sites(group: Sets, by_site: Mapping[str, dict[Key, Cell]], chosen: Mapping[str, Any]) -> dict[Key, Cell]:
    cells = {}
    for key in _keys(group, chosen):
        why = group.below_floor(chosen[key[0]], key[1])
        told = {s: c[key] for s, c in by_site.items() if c[key].value is not None and c[key].variance is not None}
        if why or len(told) < 2:
            why = why or f"{len(told)} of {len(by_site)} sites can be estimated on their own (2 needed)"
            cells[key] = Cell(note=f"not estimable: {why}")
            continue
        values = [float(cell.value or 0.0) for cell in told.values()]
        sizes = [group.at(site).n_patients for site in told]
        variances = [max(float(c.variance or 0.0), _least(n)) for c, n in zip(told.values(), sizes, strict=True)]
        effects = limits.random_effects(values, variances, bounds_of(chosen[key[0]]))
        cells[key] = _with_notes(_site_mean(effects, len(told), len(by_site)), group, chosen[key[0]], key[1])
    return cells


def _least(patients: int) -> float:
    """The variance of a share of (n + 1/2) / (n + 1) in n patients: no site counts as measured without error."""
    share = (patients + 0.5) / (patients + 1)
    return share * (1 - share) / patients


def _site_mean(effects: limits.RandomEffects, used: int, sites: int) -> Cell:
    method = f"random-effects mean over {used} sites (DerSimonian–Laird)"
    low, high = effects.confidence
    notes = [f"95% confidence interval of the mean {low:.3f} to {high:.3f} (Hartung–Knapp); tau {effects.tau:.3f}"]
    if used < sites:
        notes.append(f"{sites - used} of {sites} sites left out: not estimable on their own")
    made = None
    if effects.prediction is None:
        notes.append("no prediction interval: 3 sites needed")
    else:
        made = Interval(
            low=effects.prediction[0],
            high=effects.prediction[1],
            method=f"{method}, prediction interval for a new site",
        )
    return Cell(value=effects.mean, interval=made, method=method, note="; ".join(notes))


def _as_rows(group: Sets, cells: Mapping[Key, Cell], site: str | None) -> list[dict[str, Any]]:
    rows = []
    for (name, part), cell in cells.items():
        names = [] if part is None else [group.label(part)]
        names += [] if site is None else [f"site={site}"]
        row = {
            **group.key,
            "metric": name,
            "subgroup": ";".join(names) or "all",
            "value": cell.value,
            "low": cell.interval.low if cell.interval else None,
            "high": cell.interval.high if cell.interval else None,
            "method": cell.interval.method if cell.interval else cell.method,
            "n_patients": group.n_patients,
            "n_events": group.n_events(part),
            "note": cell.note,
        }
        rows.append(row)
    return rows
