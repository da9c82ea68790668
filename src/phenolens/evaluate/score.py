"""From the Predictions table to estimates: one row a model, scheme, metric and subgroup.

How an estimate is made depends on the scheme:

- Cross-validation: the mean over folds of the fold's value, with the Nadeau-Bengio interval. Scores of different folds
  are never pooled: each fold's model has its own scale, and pooling makes a good model of a dummy (leave-one-out) or a
  dummy of a good model. A fold whose test set lacks a class has no AUC and is left out, counted in the note.
- One test set (`holdout`): its value; DeLong for AUC, Wilson for accuracy, a patient bootstrap for the rest and
  wherever patients have several units.
- `leave_one_site_out`: each site is one test set; the row "all" is the random-effects mean over sites, and its limits
  are those for a new site.

The floor of a metric (AUC: 10 patients with and 10 without the class) looks at the distinct test patients of the whole
scheme in the subgroup, not of a fold. Below it `value` is empty and `note` says why. Where the unit is an image,
metrics are over units; `n_patients`, `n_events`, floors and intervals count patients.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from phenolens.core.predictions import Predictions
from phenolens.core.registry import METRICS
from phenolens.core.store import key_of
from phenolens.core.types import Interval
from phenolens.evaluate import interval as limits
from phenolens.evaluate.folds import LEAVE_ONE_SITE_OUT, Fold, Group, groups
from phenolens.evaluate.metric import (
    Metric,
    NotEstimable,
    Probabilities,
    Truth,
    bounds_of,
    floor_of,
    single_of,
)

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

Key = tuple[str, str | None]
"""A metric's name and a class, or None where the metric is one number."""


@dataclass(frozen=True, kw_only=True)
class _Cell:
    """One number before it becomes a row; `variance` is its sampling variance where it was measured on one test set."""

    value: float | None = None
    interval: Interval | None = None
    variance: float | None = None
    method: str = ""
    note: str = ""


def estimates(predictions: Predictions, metrics: Sequence[str] | None = None) -> pd.DataFrame:
    """Estimates of every metric (default: all behind the door) for every model, scheme, class and site.

    Columns as in `COLUMNS`. `subgroup` is "all", "class=A", "site=X" or "class=A;site=X"; `value`, `low` and `high` are
    empty (NaN) where not estimable. `n_patients` counts distinct test patients, `n_events` those with the class, or of
    the smallest class where the metric is over all classes. Only test rows are read. Deterministic.

    Raises:
        ModelError: a truth that is none of the classes. PluginError: an unknown metric.
    """
    chosen: dict[str, Metric] = {name: METRICS.create(name) for name in (metrics or METRICS.names())}
    rows: list[dict[str, Any]] = []
    for group in groups(predictions):
        rows += _rows(group, chosen)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    floats = {name: table[name].astype("float64") for name in ("value", "low", "high")}
    counts = {name: table[name].astype("Int64") for name in ("n_patients", "n_events")}
    return table.assign(**floats, **counts)


def fold_values(
    metric: Metric, folds: Iterable[tuple[Truth, Probabilities]], classes: Sequence[str]
) -> list[dict[str | None, float]]:
    """The metric on each test set, by class (None: the one number); empty for a test set on which it has no value."""
    return [_values(metric, truth, p, classes)[0] for truth, p in folds]


def fold_mean(metric: Metric, folds: Iterable[tuple[Truth, Probabilities]], classes: Sequence[str]) -> float:
    """The mean over folds of the fold's value, then over classes where the metric has one a class; NaN where none has.

    Where every test set holds every class, the mean of `auc` is that of `macro_auc`.
    """
    found = fold_values(metric, folds, classes)
    parts: Sequence[str | None] = classes if metric.per_class else [None]
    means = [[values[part] for values in found if part in values] for part in parts]
    return float(np.mean([np.mean(m) for m in means])) if all(means) else float("nan")


def _values(
    metric: Metric, truth: Truth, p: Probabilities, classes: Sequence[str]
) -> tuple[dict[str | None, float], str]:
    try:
        value = metric.compute(truth, p, classes)
    except NotEstimable as reason:
        return {}, str(reason)
    if isinstance(value, Mapping):
        return {name: float(x) for name, x in value.items()}, "the test set has no patient with, or none without, it"
    return {None: float(value)}, ""


def _rows(group: Group, chosen: Mapping[str, Metric]) -> list[dict[str, Any]]:
    leaving = group.scheme == LEAVE_ONE_SITE_OUT
    if leaving:
        first = group.folds[0].name[0]
        group = replace(group, folds=tuple(fold for fold in group.folds if fold.name[0] == first))
    sites = group.sites
    by_site = {site: _cells(group.at(site), chosen) for site in sites} if leaving or len(sites) > 1 else {}
    whole = _over_sites(group, by_site, chosen) if leaving else _cells(group, chosen)
    rows = _as_rows(group, whole, None)
    for site, cells in by_site.items():
        rows += _as_rows(group.at(site), cells, site)
    return rows


def _cells(group: Group, chosen: Mapping[str, Metric]) -> dict[Key, _Cell]:
    below = {key: _below_floor(group, chosen[key[0]], key[1]) for key in _keys(group, chosen)}
    asked = {name: metric for name, metric in chosen.items() if any(not below[k] for k in below if k[0] == name)}
    made = _on_one_set(group, asked) if len(group.folds) == 1 else _over_folds(group, asked)
    return {key: _Cell(note=f"not estimable: {why}") if why else made[key] for key, why in below.items()}


def _keys(group: Group, chosen: Mapping[str, Metric]) -> list[Key]:
    per_class: dict[bool, list[str | None]] = {True: [*group.classes], False: [None]}
    return [(name, part) for name, metric in chosen.items() for part in per_class[metric.per_class]]


def _below_floor(group: Group, metric: Metric, part: str | None) -> str:
    floor = floor_of(metric)
    short = []
    for name, counts in zip(group.classes, group.patients_with().T.tolist(), strict=True):
        if part in (None, name):
            pairs = zip(counts, ("with", "without"), strict=True)
            short += [f"{n} patients {word} {name}" for n, word in pairs if n < floor]
    return f"{' and '.join(short)} ({floor} needed)" if short else ""


def _over_folds(group: Group, chosen: Mapping[str, Metric]) -> dict[Key, _Cell]:
    cells = {}
    total = len(group.folds)
    for name, metric in chosen.items():
        values = fold_values(metric, ((fold.truth, fold.p) for fold in group.folds), group.classes)
        for key in _keys(group, {name: metric}):
            found = [v[key[1]] for v in values if key[1] in v]
            cells[key] = _mean(found, total, group.ratio, bounds_of(metric))
    return cells


def _mean(found: list[float], total: int, ratio: float | None, bounds: tuple[float, float]) -> _Cell:
    if not found:
        return _Cell(
            note=f"not estimable: a class is missing in the test set of each of the {total} folds, and scores are "
            "never pooled over folds"
        )
    notes = []
    if len(found) < total:
        notes.append(f"{total - len(found)} of {total} folds left out: a class is missing in their test sets")
    made = None if ratio is None else limits.nadeau_bengio(found, ratio, bounds)
    if made is None:
        if ratio is None:
            notes.append("no interval: the table does not show the training patients")
        else:
            notes.append("no interval: one fold only" if len(found) == 1 else "no interval: all folds have this value")
    value = float(np.mean(found))
    return _Cell(value=value, interval=made, method=f"mean of {len(found)} folds", note="; ".join(notes))


def _on_one_set(group: Group, chosen: Mapping[str, Metric]) -> dict[Key, _Cell]:
    fold = group.folds[0]
    resampled = {n: m for n, m in chosen.items() if fold.clustered or single_of(m) not in ("delong", "wilson")}
    drawn = _bootstrap(group, fold, resampled)
    cells = {}
    for name, metric in chosen.items():
        values, why = _values(metric, fold.truth, fold.p, group.classes)
        for key in _keys(group, {name: metric}):
            if key[1] not in values:
                cells[key] = _Cell(note=f"not estimable: {why}")
                continue
            if name in resampled:
                made, variance = _from_draws(drawn.get(key))
            else:
                made, variance = _by_formula(single_of(metric), fold, values[key[1]], key[1], group.classes)
            note = "" if made else "no interval: its spread cannot be told from one test set like this"
            cells[key] = _Cell(value=values[key[1]], interval=made, variance=variance, method="one test set", note=note)
    return cells


def _bootstrap(group: Group, fold: Fold, chosen: Mapping[str, Metric]) -> dict[Hashable, npt.NDArray[np.float64]]:
    if not chosen:
        return {}

    def statistics(rows: npt.NDArray[np.intp]) -> dict[Hashable, float]:
        truth, p = fold.truth[rows], fold.p[rows]
        found: dict[Hashable, float] = {}
        for name, metric in chosen.items():
            values, _ = _values(metric, truth, p, group.classes)
            found.update({(name, part): value for part, value in values.items()})
        return found

    names = {k: v for k, v in group.key.items() if k != "model"}
    seed = int(key_of(["bootstrap", names, *fold.name[:2], sorted(set(map(str, fold.site)))]), 16) % 2**63
    return limits.patient_bootstrap(statistics, fold.patient, seed=seed)


def _from_draws(values: npt.NDArray[np.float64] | None) -> tuple[Interval | None, float | None]:
    if values is None or len(values) < 2:
        return None, None
    return limits.percentile_interval(values), float(values.var(ddof=1))


def _by_formula(
    kind: str, fold: Fold, value: float, part: str | None, classes: Sequence[str]
) -> tuple[Interval | None, float | None]:
    if kind == "wilson":
        n = len(fold.truth)
        low, high = limits.wilson(round(value * n), n)
        return Interval(low=low, high=high, method="one test set, Wilson interval"), value * (1 - value) / n
    column = classes.index(str(part))
    positive = fold.truth == column
    return limits.delong_interval(fold.p[:, column], positive), limits.delong(fold.p[:, column], positive)[1]


def _over_sites(
    group: Group, by_site: Mapping[str, dict[Key, _Cell]], chosen: Mapping[str, Metric]
) -> dict[Key, _Cell]:
    below = {key: _below_floor(group, chosen[key[0]], key[1]) for key in _keys(group, chosen)}
    cells = {}
    for key, why in below.items():
        told = {s: c[key] for s, c in by_site.items() if c[key].value is not None and c[key].variance is not None}
        if why or len(told) < 2:
            why = why or f"{len(told)} of {len(by_site)} sites can be estimated on their own (2 needed)"
            cells[key] = _Cell(note=f"not estimable: {why}")
            continue
        values = [float(cell.value or 0.0) for cell in told.values()]
        sizes = [group.at(site).n_patients for site in told]
        variances = [max(float(c.variance or 0.0), _least(n)) for c, n in zip(told.values(), sizes, strict=True)]
        effects = limits.random_effects(values, variances, bounds_of(chosen[key[0]]))
        cells[key] = _site_mean(effects, len(told), len(by_site))
    return cells


def _least(patients: int) -> float:
    """The variance of a share of (n + 1/2) / (n + 1) in n patients: no site counts as measured without error."""
    share = (patients + 0.5) / (patients + 1)
    return share * (1 - share) / patients


def _site_mean(effects: limits.RandomEffects, used: int, sites: int) -> _Cell:
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
    return _Cell(value=effects.mean, interval=made, method=method, note="; ".join(notes))


def _as_rows(group: Group, cells: Mapping[Key, _Cell], site: str | None) -> list[dict[str, Any]]:
    with_it = dict(zip(group.classes, group.patients_with()[0].tolist(), strict=True))
    rows = []
    for (name, part), cell in cells.items():
        names = [f"class={part}"] * (part is not None) + [f"site={site}"] * (site is not None)
        row = {
            **group.key,
            "metric": name,
            "subgroup": ";".join(names) or "all",
            "value": cell.value,
            "low": cell.interval.low if cell.interval else None,
            "high": cell.interval.high if cell.interval else None,
            "method": cell.interval.method if cell.interval else cell.method,
            "n_patients": group.n_patients,
            "n_events": min(with_it.values()) if part is None else with_it[part],
            "note": cell.note,
        }
        rows.append(row)
    return rows
