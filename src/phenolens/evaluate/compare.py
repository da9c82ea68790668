"""Are two models different? Only on the very same test sets, and with Holm's correction over all pairs."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from phenolens.core.errors import SplitError
from phenolens.core.predictions import Predictions, SurvivalPredictions
from phenolens.core.registry import METRICS
from phenolens.core.store import key_of
from phenolens.evaluate.folds import HOLDOUT, LEAVE_ONE_SITE_OUT, Group, groups
from phenolens.evaluate.interval import (
    delong_pair,
    nadeau_bengio,
    patient_bootstrap,
    patient_counts,
    percentile_interval,
    wald,
)
from phenolens.evaluate.metric import floor_of, metrics_reading
from phenolens.evaluate.oneset import seed_of
from phenolens.evaluate.sets import Sets
from phenolens.evaluate.survival_folds import survival_groups

PERMUTATIONS = 1999
COLUMNS = (
    "experiment",
    "scheme",
    "target",
    "metric",
    "model_a",
    "model_b",
    "difference",
    "low",
    "high",
    "p",
    "p_holm",
    "p_bh",
    "n_folds",
    "method",
    "note",
)


def compare(predictions: Predictions, metric: str = "macro_auc", *, floor: bool = True) -> pd.DataFrame:
    """Every pair of models of one experiment, scheme and target: a's mean minus b's, interval, p and corrected p.

    Cross-validation: the corrected resampled t test on fold differences (Nadeau & Bengio 2003). One test set, two
    classes, one unit a patient and the metric macro AUC (then the AUC): the paired DeLong test (1988). Otherwise one
    test set gives the middle 95% of the differences over 2,000 resamples of its patients, and there and with
    leave-one-site-out (no interval) p comes from swapping the predictions of the two models patient by patient, 1,999
    times. `p_holm` (Holm 1979) is for primary claims, `p_bh` (Benjamini & Hochberg 1995) for exploratory ones; both are
    over the pairs of the same experiment, scheme and target. Folds on which the metric has no value are left out.
    `metric` must be one number, not one a class. What may not be estimated of one model (`evaluate.score`: under the
    floor of the metric) is not of two; `floor=False` tells it all the same, for a search and not for a claim.

    Raises:
        SplitError: the two models were not tested on the same splits and units. ValueError: a metric that is per class.
    """
    measure = metrics_reading("probabilities", [metric])[metric]
    if measure.per_class:
        raise ValueError(f"{metric} gives one number a class; compare models by a metric that is one number")
    return _compare(groups(predictions), metric, measure, floor)


def compare_survival(predictions: SurvivalPredictions, metric: str = "uno_c", *, floor: bool = True) -> pd.DataFrame:
    """As `compare`, of survival: patients' risks and curves change places together.

    Raises:
        SplitError: as `compare`. ValueError: a metric that is per horizon.
    """
    measure = metrics_reading("survival", [metric])[metric]
    if measure.per_horizon:
        raise ValueError(f"{metric} gives one number a horizon; compare models by a metric that is one number")
    return _compare(survival_groups(predictions), metric, measure, floor)


def _compare(sets: Iterable[Sets], metric: str, measure: Any, floor: bool) -> pd.DataFrame:
    families: dict[tuple[str, ...], list[Sets]] = {}
    for group in sets:
        families.setdefault(tuple(group.key[k] for k in ("experiment", "scheme", "target")), []).append(group)
    rows: list[dict[str, Any]] = []
    for family in families.values():
        found = [_pair(a, b, metric, measure, floor) for a, b in combinations(family, 2)]
        p = [row["p"] for row in found]
        for row, primary, exploratory in zip(found, holm(p), benjamini_hochberg(p), strict=True):
            rows.append({**row, "p_holm": primary, "p_bh": exploratory})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values (Holm 1979), in the order given; NaN stays NaN and counts for nothing."""
    values = np.asarray(p, dtype=float)
    adjusted = np.full(len(values), np.nan)
    known = np.flatnonzero(~np.isnan(values))
    ordered = known[np.argsort(values[known], kind="stable")]
    raised = values[ordered] * (len(ordered) - np.arange(len(ordered)))
    adjusted[ordered] = np.minimum(1.0, np.maximum.accumulate(raised)) if len(ordered) else raised
    return [float(x) for x in adjusted]


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Step-up p values that hold the false discovery rate (Benjamini & Hochberg 1995), in the order given."""
    values = np.asarray(p, dtype=float)
    adjusted = np.full(len(values), np.nan)
    known = np.flatnonzero(~np.isnan(values))
    ordered = known[np.argsort(-values[known], kind="stable")]
    raised = values[ordered] * len(ordered) / np.arange(len(ordered), 0, -1)
    adjusted[ordered] = np.minimum(1.0, np.minimum.accumulate(raised)) if len(ordered) else raised
    return [float(x) for x in adjusted]


def _pair(a: Sets, b: Sets, name: str, metric: Any, floor: bool) -> dict[str, Any]:
    _same_splits(a, b)
    row: dict[str, Any] = {k: a.key[k] for k in ("experiment", "scheme", "target")}
    row |= {"metric": name, "model_a": a.key["model"], "model_b": b.key["model"], "note": ""}
    row |= dict.fromkeys(("difference", "low", "high", "p"), np.nan)
    short = floor and (a.nothing or a.below_floor(metric, None))
    differences = np.empty(0) if short else _differences(a, a.folds, b.folds, metric)
    row["n_folds"] = len(differences)
    if not len(differences):
        why = short or "no test set has a value of this metric"
        return {**row, "method": "", "note": f"not estimable: {why}"}
    row["difference"] = float(differences.mean())
    if isinstance(a, Group) and isinstance(b, Group) and _delong_holds(a, name):
        return {**row, **_delong(a, b)}
    if a.scheme in (HOLDOUT, LEAVE_ONE_SITE_OUT) or len(a.folds) == 1:
        method = f"models swapped patient by patient, {PERMUTATIONS} times"
        return {**row, **_resampled(a, b, metric), "p": _swap(a, b, metric), "method": method}
    return {**row, **corrected_t(differences, a.ratio)}


def _resampled(a: Sets, b: Sets, metric: Any) -> dict[str, Any]:
    """The limits of the difference on one test set: the same resamples of its patients for both models."""
    if len(a.folds) != 1:
        return {"note": "no interval: over left-out sites the models are swapped only"}
    patient, seed = a.folds[0].patient, seed_of(a, a.folds[0])
    if hasattr(metric, "resampled"):
        counts = patient_counts(patient, seed=seed)
        one, other = (np.asarray(g.resampled(metric, g.folds[0], counts)) for g in (a, b))
        found = (one - other)[np.isfinite(one - other)]
    else:

        def statistics(rows: npt.NDArray[np.intp]) -> dict[Hashable, float]:
            return dict(enumerate(_differences(a, [a.folds[0].rows(rows)], [b.folds[0].rows(rows)], metric)))

        found = patient_bootstrap(statistics, patient, seed=seed).get(0, np.empty(0))
    made = percentile_interval(found) if len(found) else None
    if made is None:
        return {"note": "no interval: its spread cannot be told from one test set like this"}
    return {"low": made.low, "high": made.high}


def _delong_holds(group: Group, metric: str) -> bool:
    """Whether the areas of two models are paired areas of independent units on one test set, large enough."""
    binary = metric == "macro_auc" and len(group.classes) == 2
    enough = not group.short_of(floor_of(METRICS.create("auc")))
    return binary and len(group.folds) == 1 and not group.folds[0].clustered and enough


def _delong(a: Group, b: Group) -> dict[str, Any]:
    """The paired DeLong test of a's area minus b's, with its interval."""
    positive = a.folds[0].truth == 1
    areas, covariance = delong_pair(np.array([g.folds[0].p[:, 1] for g in (a, b)]), positive)
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    difference = float(areas[0] - areas[1])
    method = "paired DeLong test on one test set"
    if variance <= 1e-16:
        if difference == 0:
            return {"p": 1.0, "method": method, "note": "no interval: the models order the patients alike"}
        return {"method": method, "note": "no test: the difference has no spread"}
    limits = wald(difference, variance, (-1.0, 1.0))
    p = 2 * float(stats.norm.sf(abs(difference) / np.sqrt(variance)))
    return {"low": limits.low, "high": limits.high, "p": p, "method": method}


def _same_splits(a: Sets, b: Sets) -> None:
    names = [{fold.name: tuple(fold.unit_id) for fold in group.folds} for group in (a, b)]
    if names[0] != names[1]:
        what = "splits" if set(names[0]) != set(names[1]) else "units in the same splits"
        raise SplitError(
            f"models {a.key['model']!r} and {b.key['model']!r} tested on different {what} of {a.scheme!r}",
            expected="paired predictions: every unit predicted by both in the same folds",
            todo="run both models in one study, or compare each with its own interval only",
        )


def _differences(group: Sets, folds_a: Sequence[Any], folds_b: Sequence[Any], metric: Any) -> npt.NDArray[np.float64]:
    of_a, of_b = ([group.values(metric, fold)[0] for fold in folds] for folds in (folds_a, folds_b))
    return np.array([x[None] - y[None] for x, y in zip(of_a, of_b, strict=True) if None in x and None in y])


def corrected_t(differences: npt.NDArray[np.float64], ratio: float | None) -> dict[str, Any]:
    """Interval and two-sided p of the mean of fold differences (J,); `ratio` is test over training patients of a fold.

    Nadeau & Bengio, Inference for the generalization error, 2003, equation 9: a t test with J - 1 degrees of freedom.
    """
    count = len(differences)
    method = f"corrected resampled t on {count} folds (Nadeau–Bengio)"
    if not np.any(differences):
        return {"p": 1.0, "method": method, "note": "no interval: the models agree in every fold"}
    made = None if ratio is None else nadeau_bengio(list(differences), ratio)
    if made is None or ratio is None:
        return {"method": method, "note": "no test: too few folds, no spread, or unknown training patients"}
    error = float(np.sqrt(differences.var(ddof=1) * (1 / count + ratio)))
    p = 2 * float(stats.t.sf(abs(differences.mean()) / error, count - 1))
    return {"low": made.low, "high": made.high, "p": p, "method": method}


def _swap(a: Sets, b: Sets, metric: Any) -> float:
    """Two-sided p of the mean difference when each patient's two predictions change places by a coin."""
    patients = np.unique(np.concatenate([fold.patient for fold in a.folds]))
    rng = np.random.default_rng(int(key_of(["swap", a.key, b.key["model"]]), 16) % 2**63)
    observed = abs(_differences(a, a.folds, b.folds, metric).mean())
    coins = rng.integers(0, 2, (PERMUTATIONS, len(patients))).astype(bool)
    if hasattr(metric, "swap_gains"):
        swapped = _swapped_at_once(a, b, metric, patients, coins)
    else:
        swapped = _swapped_each(a, b, metric, patients, coins)
    reached = int((np.abs(swapped) >= observed - 1e-12).sum())
    return (1 + reached) / (PERMUTATIONS + 1)


def _swapped_each(
    a: Sets, b: Sets, metric: Any, patients: npt.NDArray[np.int64], coins: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """The mean difference under each row of coins (times, patients), computed anew each time."""
    found = []
    for row in coins:
        flips = [row[np.searchsorted(patients, fold.patient)] for fold in a.folds]
        mine, other = _mixed(flips, a.folds, b.folds), _mixed(flips, b.folds, a.folds)
        found.append(_differences(a, mine, other, metric).mean())
    return np.array(found)


def _swapped_at_once(
    a: Sets, b: Sets, metric: Any, patients: npt.NDArray[np.int64], coins: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """The same, where the difference is linear in the swaps: what each patient adds, summed over those swapped."""
    assert isinstance(a, Group), "only metrics of probabilities have swap_gains"
    gains, differences = np.zeros(len(patients)), []
    for mine, other in zip(a.folds, b.folds, strict=True):
        found = _differences(replace(a, folds=(mine,)), [mine], [other], metric)
        if len(found):
            differences.append(found[0])
            own = metric.swap_gains(mine.truth, mine.p, other.p, a.classes)
            np.add.at(gains, np.searchsorted(patients, mine.patient), own)
    means: npt.NDArray[np.float64] = (np.sum(differences) + coins @ gains) / len(differences)
    return means


def _mixed(flips: Sequence[npt.NDArray[np.bool_]], mine: Sequence[Any], other: Sequence[Any]) -> list[Any]:
    return [x.mixed(flip, y) for flip, x, y in zip(flips, mine, other, strict=True)]
