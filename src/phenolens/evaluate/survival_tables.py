"""Plain tables behind the report's survival figures: curves by group, scores over time, calibration at horizons.

Curves by group, tests and calibration look at each patient's first test prediction (repeat 0 where every repeat tests
everyone). Groups are columns that came with the predictions: `group`, cut on the training patients of the fold, or
`g_NAME`, a column of the study. Nothing here cuts a risk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from phenolens.core.errors import ModelError
from phenolens.core.predictions import SurvivalPredictions
from phenolens.evaluate import survival_calibration as calibration
from phenolens.evaluate import survival_measures as measures
from phenolens.evaluate.folds import GROUP
from phenolens.evaluate.metric import NotEstimable
from phenolens.evaluate.survival_curves import Bools, Floats, kaplan_meier
from phenolens.evaluate.survival_folds import SurvivalGroup, follow_up, sample_of, survival_groups
from phenolens.evaluate.survival_measures import SurvivalSample
from phenolens.evaluate.survival_tests import log_rank, rmst, rmst_difference

FLOOR = 10
"""Events before, and patients followed beyond, a time below which nothing is said of it."""

OUT_OF_FOLD_NOTE = (
    "Every patient counts once, with the first test prediction. The risk group was cut on the training patients of the "
    "fold, never on the patients shown. The log-rank p takes the groups as given: it does not know that they came from "
    "models that share training patients, so significance comes from the permutation test."
)


def first_predictions(predictions: SurvivalPredictions) -> pd.DataFrame:
    """Each patient's first test row by repeat and fold in every experiment, scheme, target and model, sorted."""
    table = predictions.table[predictions.table["part"] == "test"]
    ordered = table.sort_values([*GROUP, "repeat", "fold", "patient", "unit_id"], kind="stable")
    return ordered.drop_duplicates([*GROUP, "patient"], ignore_index=True)


def kaplan_meier_by(predictions: SurvivalPredictions, column: str = "group") -> pd.DataFrame:
    """Kaplan–Meier by a stored column: GROUP, by, level, time, survival, low, high, at_risk, events.

    Each level starts with a row at time 0. Patients without a level are left out.

    Raises:
        ModelError: a column that did not come with the predictions as a group.
    """
    parts = []
    for key, rows in _levels(predictions, column):
        for level, mine in rows.groupby("_level", sort=True):
            made = kaplan_meier(*_followed(mine))
            steps = {"time": made.times, "survival": made.survival, "low": made.low, "high": made.high}
            body = pd.DataFrame({**steps, "at_risk": made.at_risk, "events": made.events})
            start = pd.DataFrame(
                {"time": [0.0], "survival": 1.0, "low": np.nan, "high": np.nan, "at_risk": len(mine), "events": 0}
            )
            parts.append(pd.concat([start, body], ignore_index=True).assign(**key, by=column, level=str(level)))
    columns = [*GROUP, "by", "level", "time", "survival", "low", "high", "at_risk", "events"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def compare_levels(predictions: SurvivalPredictions, column: str = "group") -> pd.DataFrame:
    """The log-rank test over the levels of a stored column, and the difference in restricted mean survival of two.

    GROUP, by, levels (joined by |), patients, events, statistic, df, p (log-rank), rmst_of (the two levels), rmst, low,
    high, rmst_p (first minus second level, up to tau) and note. Empty (NaN) where not estimable.

    Raises:
        ModelError: a column that did not come with the predictions as a group.
    """
    rows = []
    for key, mine in _levels(predictions, column):
        time, event = _followed(mine)
        levels = sorted(set(mine["_level"]))
        row: dict[str, Any] = {**key, "by": column, "levels": "|".join(levels), "patients": len(mine)}
        row |= {"events": int(event.sum()), "rmst_of": "", "note": ""}
        row |= dict.fromkeys(("statistic", "df", "p", "rmst", "low", "high", "rmst_p"), np.nan)
        try:
            if event.sum() < FLOOR:
                raise NotEstimable(f"{event.sum()} patients with the event ({FLOOR} needed)")
            test = log_rank(time, event, mine["_level"].to_numpy())
            row |= {"statistic": test.statistic, "df": test.df, "p": test.p}
            if len(levels) == 2:
                order = ("low", "high") if levels == ["high", "low"] else tuple(levels)
                made = rmst_difference(time, event, (mine["_level"] == order[0]).to_numpy(), predictions.tau)
                row |= {"rmst_of": " minus ".join(order), "rmst": made.value, "low": made.low, "high": made.high}
                row["rmst_p"] = made.p
        except NotEstimable as reason:
            row["note"] = f"not estimable: {reason}"
        rows.append(row)
    names = ("patients", "events", "statistic", "df", "p", "rmst_of", "rmst", "low", "high", "rmst_p", "note")
    return pd.DataFrame(rows, columns=[*GROUP, "by", "levels", *names])


def level_summary(predictions: SurvivalPredictions, column: str = "group") -> pd.DataFrame:
    """One row a level: GROUP, by, level, patients, events, median, rmst, rmst_error (NaN where not reached)."""
    rows = []
    for key, mine in _levels(predictions, column):
        for level, own in mine.groupby("_level", sort=True):
            time, event = _followed(own)
            row = {**key, "by": column, "level": str(level), "patients": len(own), "events": int(event.sum())}
            mean = _or_none(rmst, time, event, predictions.tau) or (np.nan, np.nan)
            rows.append({**row, "median": kaplan_meier(time, event).median, "rmst": mean[0], "rmst_error": mean[1]})
    names = ["by", "level", "patients", "events", "median", "rmst", "rmst_error"]
    return pd.DataFrame(rows, columns=[*GROUP, *names])


def scores_over_time(predictions: SurvivalPredictions) -> pd.DataFrame:
    """Cumulative AUC and Brier score at every time of the curves, as the mean over folds of the folds' own values.

    GROUP, time, auc, brier, brier_everyone (Kaplan–Meier of all patients for each), folds. Times with under `FLOOR`
    events before or patients followed beyond them are left out.
    """
    rows = []
    for group in survival_groups(predictions):
        for time in _told_times(group):
            samples = [fold.sample for fold in group.folds]
            found = {
                "auc": [measures.cumulative_auc(s, time)[0] for s in samples],
                "brier": [measures.brier(s, [time])[0, 0] for s in samples],
                "brier_everyone": [measures.brier_of_everyone(s, [time])[0, 0] for s in samples],
            }
            row: dict[str, Any] = {**group.key, "time": time, "folds": len(samples)}
            rows.append(row | {name: _mean(np.array(values)) for name, values in found.items()})
    return pd.DataFrame(rows, columns=[*GROUP, "time", "auc", "brier", "brier_everyone", "folds"])


def calibration_at_horizons(predictions: SurvivalPredictions) -> pd.DataFrame:
    """Forecast and observed survival by groups of forecast: GROUP, horizon, bin, forecast, observed, low, high,
    patients, events. Horizons under the floor have no rows; `calibration_tests` says why."""
    parts = []
    for key, sample in _samples(predictions):
        for horizon in predictions.horizons:
            made = None if _short(sample, horizon) else _or_none(_groups, sample, horizon)
            if made is not None:
                names = ("forecast", "observed", "low", "high", "patients", "events")
                body = pd.DataFrame({name: getattr(made, name) for name in names})
                parts.append(body.assign(**key, horizon=horizon, bin=range(len(body))))
    columns = [*GROUP, "horizon", "bin", "forecast", "observed", "low", "high", "patients", "events"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def calibration_tests(predictions: SurvivalPredictions) -> pd.DataFrame:
    """Is survival what the curves say? GROUP, test, horizon, statistic, df, p, ici, e90, patients, note.

    `test` is "horizon" (one row a horizon, with the integrated calibration index where there are enough patients) or
    "d_calibration" (all times; horizon empty).
    """
    rows = []
    for key, sample in _samples(predictions):
        for horizon in predictions.horizons:
            rows.append({**key, "test": "horizon", "horizon": horizon, **_horizon_row(sample, horizon)})
        probability, event = calibration.at_own_time(sample)
        few = int(event.sum()) < FLOOR
        row: dict[str, Any] = {**key, "test": "d_calibration", "patients": len(event)}
        if few:
            row["note"] = f"not estimable: {int(event.sum())} patients with the event by tau ({FLOOR} needed)"
        else:
            test = calibration.d_calibration(probability, event).test
            row |= {"statistic": test.statistic, "df": test.df, "p": test.p, "note": ""}
        rows.append(row)
    names = ("test", "horizon", "statistic", "df", "p", "ici", "e90", "patients", "note")
    return pd.DataFrame(rows, columns=[*GROUP, *names])


def _horizon_row(sample: SurvivalSample, horizon: float) -> dict[str, Any]:
    row: dict[str, Any] = {"patients": len(sample.time), "note": ""}
    if short := _short(sample, horizon):
        return {**row, "note": f"not estimable: {short}"}
    try:
        test = calibration.horizon_test(_groups(sample, horizon))
        row |= {"statistic": test.statistic, "df": test.df, "p": test.p}
        made = calibration.integrated_calibration_index(sample.at(horizon), sample.time, sample.event, horizon)
        row |= {"ici": made.ici, "e90": made.e90}
    except NotEstimable as reason:
        row["note"] = f"not estimable: {reason}"
    return row


def _groups(sample: SurvivalSample, horizon: float) -> calibration.HorizonGroups:
    return calibration.horizon_groups(sample.at(horizon), sample.time, sample.event, horizon)


def _short(sample: SurvivalSample, horizon: float) -> str:
    """Why nothing is said of a horizon; empty where enough is known."""
    events, beyond = int((sample.event & (sample.time <= horizon)).sum()), int((sample.time > horizon).sum())
    told = [f"{events} patients with the event by {horizon:g}"] * (events < FLOOR)
    told += [f"{beyond} patients followed beyond {horizon:g}"] * (beyond < FLOOR)
    return f"{' and '.join(told)} ({FLOOR} needed)" if told else ""


def _told_times(group: SurvivalGroup) -> list[float]:
    people = pd.DataFrame(
        {
            "patient": np.concatenate([fold.patient for fold in group.folds]),
            "time": np.concatenate([fold.sample.time for fold in group.folds]),
            "event": np.concatenate([fold.sample.event for fold in group.folds]),
        }
    ).drop_duplicates("patient")
    time, event = people["time"].to_numpy(dtype=float), people["event"].to_numpy(dtype=bool)
    times = group.follow_up.times
    enough = [(event & (time <= t)).sum() >= FLOOR and (time > t).sum() >= FLOOR for t in times]
    return [float(t) for t in times[np.array(enough, dtype=bool)]]


def _samples(predictions: SurvivalPredictions) -> Iterator[tuple[dict[str, str], SurvivalSample]]:
    """Every group's first predictions as a sample, one row a patient."""
    for key, rows in first_predictions(predictions).groupby(GROUP, sort=True):
        names = dict(zip(GROUP, map(str, key), strict=True))
        told = follow_up(predictions, names["experiment"], names["target"])
        yield names, sample_of(rows, predictions, told)


def _levels(predictions: SurvivalPredictions, column: str) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    table = predictions.table
    stored = [c for c in table.columns if c == "group" or str(c).startswith("g_")]
    if column not in stored:
        raise ModelError(
            f"survival by the column {column!r}",
            expected=f"a group that came with the predictions: {', '.join(stored)}",
            todo="groups are cut on training patients or named by the study (subgroups); none is cut on test patients",
        )
    first = first_predictions(predictions)
    level = first[column].astype("string").fillna("").str.strip()
    for key, rows in first.assign(_level=level.astype(str))[(level != "").to_numpy()].groupby(GROUP, sort=True):
        yield dict(zip(GROUP, map(str, key), strict=True)), rows


def _followed(rows: pd.DataFrame) -> tuple[Floats, Bools]:
    return rows["time"].to_numpy(dtype=np.float64), rows["event"].to_numpy(dtype=np.float64) == 1


def _mean(values: Floats) -> float:
    """The mean of the folds that have a value."""
    told = values[np.isfinite(values)]
    return float(told.mean()) if len(told) else float("nan")


def _or_none(compute: Callable[..., Any], *given: Any) -> Any:
    try:
        return compute(*given)
    except NotEstimable:
        return None
