"""Survival for a reader: curves by risk group and by subgroup, scores over time, calibration, and the estimates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from phenolens.core.predictions import SurvivalPredictions
from phenolens.evaluate import survival_tables
from phenolens.evaluate.compare import compare_survival
from phenolens.evaluate.folds import HOLDOUT
from phenolens.evaluate.survival_tables import FLOOR, OUT_OF_FOLD_NOTE
from phenolens.report import figures_survival as figures
from phenolens.report import words
from phenolens.report.names import Names
from phenolens.report.pictures import Album
from phenolens.report.tables import P_HEAD, P_READING, Cell, Table, cell, difference, label, p_cells, plain

WHOLE = ("uno_c", "scaled_integrated_brier", "integrated_brier")
AT_HORIZON = ("cumulative_auc", "brier_at_horizon")


def view(
    predictions: SurvivalPredictions | None,
    estimates: pd.DataFrame,
    names: Names,
    album: Album,
    *,
    scheme: str = "",
    time: str = "time",
) -> dict[str, Any]:
    """What survival.html shows of one scheme (default: the first that is not the holdout); empty where nothing is.

    `estimates` are those of `survival_estimates`; `time` names the time axis, with its unit where the study tells one.
    """
    table = None if predictions is None else predictions.table[predictions.table["part"] == "test"]
    if predictions is None or table is None or table.empty:
        return {}
    found = sorted(set(map(str, table["scheme"])), key=lambda s: (s == HOLDOUT, s))
    chosen = scheme or found[0]
    mine = replace(predictions, table=predictions.table[predictions.table["scheme"] == chosen])
    models = sorted(set(map(str, mine.table["model"])))
    rows = estimates[(estimates["scheme"] == chosen) & estimates["model"].isin(models)]
    tests = survival_tables.calibration_tests(mine)
    return {
        "scheme": chosen,
        "table": _whole(rows, models, tests, names, mine.tau),
        "horizons": _horizons(rows, models, tests, mine.horizons, names),
        "comparison": _comparison(mine, models),
        "groups": [_by(mine, model, "group", names, album, time) for model in models],
        "columns": [_by(mine, models[0], c, names, album, time) for c in _columns(mine)],
        "over_time": _over_time(mine, models, album, time),
        "calibration": [_calibration(mine, model, tests, album) for model in models],
        "notes": {"groups": OUT_OF_FOLD_NOTE, "floor": _floor()},
    }


def _floor() -> str:
    few = f"under {FLOOR} patients"
    return f"Nothing is said of a time before which {few} have the event, or beyond which {few} are followed."


def _columns(predictions: SurvivalPredictions) -> list[str]:
    """The subgroup columns of the study."""
    return [c for c in map(str, predictions.table.columns) if c.startswith("g_")]


def _of(predictions: SurvivalPredictions, model: str) -> SurvivalPredictions:
    return replace(predictions, table=predictions.table[predictions.table["model"].astype(str) == model])


def _found(rows: pd.DataFrame, **wanted: str) -> dict[str, Any] | None:
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    return None if rows.empty else {str(k): v for k, v in rows.iloc[0].items()}


def _whole(rows: pd.DataFrame, models: Sequence[str], tests: pd.DataFrame, names: Names, tau: float) -> Table:
    """Model by metric, then the sites each on its own."""
    heads = [f"{words.metric(m)} {words.direction(m)}".strip() for m in WHOLE]
    table = Table(f"Models by metric, up to {tau:g}", ["patients", "model", "n", "events", *heads, "D-calibration p"])
    subgroups = sorted({s for s in rows["subgroup"] if "horizon=" not in s}, key=lambda s: (s != "all", s))
    for subgroup in subgroups:
        shown = "all" if subgroup == "all" else names.site(subgroup.removeprefix("site="))
        for i, model in enumerate(models):
            found = {m: _found(rows, subgroup=subgroup, model=model, metric=m) for m in WHOLE}
            first = next((row for row in found.values() if row is not None), None)
            if first is not None:
                counts = [Cell(f"{int(first[c]):,}") for c in ("n_patients", "n_events")]
                p = _p_cell(tests, table, model, "d_calibration") if subgroup == "all" else Cell("–", kind="none")
                cells = [cell(found[m], table, names) for m in WHOLE]
                table.rows.append([label(shown if i == 0 else ""), plain(model), *counts, *cells, p])
    methods = sorted({str(m) for m in rows[rows["low"].notna()]["method"]})
    table.words = words.sentence("Intervals (second line): " + "; ".join(methods)) if methods else ""
    return table


def _p_cell(tests: pd.DataFrame, table: Table, model: str, test: str, horizon: float | None = None) -> Cell:
    mine = tests[(tests["model"].astype(str) == model) & (tests["test"] == test)]
    row = _found(mine if horizon is None else mine[mine["horizon"] == horizon])
    if row is None or pd.isna(row["p"]):
        why = "" if row is None else str(row["note"])
        return Cell("–", mark=table.mark(why) if why else "", kind="none")
    return Cell(words.p_value(row["p"]))


def _horizons(
    rows: pd.DataFrame, models: Sequence[str], tests: pd.DataFrame, horizons: Sequence[float], names: Names
) -> Table:
    """Horizon and model by metric."""
    heads = [f"{words.metric(m)} {words.direction(m)}".strip() for m in AT_HORIZON]
    table = Table("At each horizon", ["at", "model", "events by then", *heads, "calibration p", "ICI"])
    for horizon in horizons:
        for i, model in enumerate(models):
            found = {m: _found(rows, subgroup=f"horizon={horizon:g}", model=model, metric=m) for m in AT_HORIZON}
            first = next((row for row in found.values() if row is not None), None)
            mine = _found(tests[tests["horizon"] == horizon], model=model)
            if first is not None and mine is not None:
                values = [cell(found[m], table, names) for m in AT_HORIZON]
                p = _p_cell(tests, table, model, "horizon", horizon)
                events = Cell(f"{int(first['n_events']):,}")
                ici = Cell(words.number(mine["ici"]))
                table.rows.append([label(f"{horizon:g}" if i == 0 else ""), plain(model), events, *values, p, ici])
    table.words = (
        "A calibration p under 0.05 says that forecast and observed survival differ at that time. ICI is their mean "
        "distance along a smooth curve (Cox model of a spline of the forecast; from 200 patients on)."
    )
    return table


def _comparison(predictions: SurvivalPredictions, models: Sequence[str]) -> Table | None:
    """Every pair of models in Uno's C on the same splits; None with one model."""
    if len(models) < 2:
        return None
    table = Table("Models compared on the same splits, in Uno's C", ["models", "difference", *P_HEAD])
    pairs = compare_survival(predictions)
    for row in pairs.to_dict("records"):
        pair = label(f"{row['model_a']} minus {row['model_b']}")
        table.rows.append([pair, difference(row, table), *p_cells(row)])
    table.words = words.sentence("Tests: " + "; ".join(sorted({m for m in pairs["method"] if m}))) + " " + P_READING
    return table


def _by(
    predictions: SurvivalPredictions, model: str, column: str, names: Names, album: Album, time: str
) -> dict[str, Any]:
    """Kaplan–Meier by a stored column, with its reading."""
    mine = _of(predictions, model)
    steps, summary = survival_tables.kaplan_meier_by(mine, column), survival_tables.level_summary(mine, column)
    test = _found(survival_tables.compare_levels(mine, column))
    title = model if column == "group" else column.removeprefix("g_").replace("_", " ")
    if test is None:
        return {"title": title, "figure": "", "reading": "No patient has a group.", "more": ""}
    order = ["low", "high"] if column == "group" else summary.sort_values("patients", ascending=False)["level"].tolist()
    levels = [level for level in order if level in set(steps["level"])][: figures.MOST_LEVELS]
    shown = {level: names.text(level) for level in levels}
    drawn = steps[steps["level"].isin(levels)].assign(level=lambda t: t["level"].map(shown))
    picture = figures.kaplan_meier(drawn, [shown[level] for level in levels], until=mine.tau, time=time)
    more = len(set(steps["level"])) - len(levels)
    return {
        "title": title,
        "figure": album.figure(picture),
        "reading": _reading(summary[summary["level"].isin(levels)], test, mine.tau, shown),
        "more": f"{words.count(more, 'smaller group')} not drawn." if more else "",
    }


def _reading(summary: pd.DataFrame, test: Mapping[str, Any], tau: float, shown: Mapping[str, str]) -> str:
    """The figure in a line for a clinician."""
    risk = set(shown) <= {"low", "high"}
    told = []
    for level, name in shown.items():
        row = summary[summary["level"] == level].iloc[0]
        half = "not reached" if math.isnan(row["median"]) else f"{row['median']:.3g}"
        who = f"{name} risk" if risk else name
        told.append(f"{who}: {int(row['events'])} of {int(row['patients'])} had the event, median {half}")
    said = [words.sentence("; ".join(told))]
    if not math.isnan(test["rmst"]):
        first = str(test["rmst_of"]).split(" minus ")[0]
        who = "low-risk patients" if risk else f"patients with {shown[first]}"
        size, low, high = (words.number(x, 1) for x in (abs(test["rmst"]), test["low"], test["high"]))
        more = "longer" if test["rmst"] >= 0 else "shorter"
        mean = f"were without the event {size} {more} on average (difference {low} to {high})"
        said.append(f"Up to {tau:g}, {who} {mean}.")
    if not math.isnan(test["p"]):
        verdict = "the curves differ" if test["p"] < 0.05 else "a difference is not shown"
        said.append(f"Log-rank p {_equal(test['p'])}: {verdict}.")
    if test["note"]:
        said.append(words.sentence(str(test["note"])))
    return " ".join(said)


def _equal(p: float) -> str:
    shown = words.p_value(p)
    return shown if shown.startswith("<") else f"= {shown}"


def _over_time(predictions: SurvivalPredictions, models: Sequence[str], album: Album, time: str) -> dict[str, str]:
    scores = survival_tables.scores_over_time(predictions)
    if scores.empty:
        return {"figure": "", "reading": f"No time has {FLOOR} events before it and {FLOOR} patients beyond it."}
    reading = (
        "Left: the chance that a patient with the event by that time had a higher risk than one still without it; 0.5 "
        "is guessing. Right: the error of the forecast; a line below the dashed one knows more than one curve for all."
    )
    return {"figure": album.figure(figures.over_time(scores, models, time=time)), "reading": reading}


def _calibration(predictions: SurvivalPredictions, model: str, tests: pd.DataFrame, album: Album) -> dict[str, str]:
    bins = survival_tables.calibration_at_horizons(_of(predictions, model))
    mine = tests[(tests["model"].astype(str) == model) & (tests["test"] == "horizon")]
    told = [(f"{row['horizon']:g}", float(row["p"])) for row in mine.to_dict("records") if not pd.isna(row["p"])]
    if bins.empty:
        why = next((str(n) for n in mine["note"] if n), "not estimable")
        return {"title": model, "figure": "", "reading": words.sentence(why)}
    wrong = [h for h, p in told if p < 0.05]
    bad = f"Forecasts cannot be taken at their word at {words.listed(wrong)}"
    verdict = bad if wrong else "No miscalibration is shown"
    p = "; ".join(f"at {h} p {_equal(value)}" for h, value in told)
    reading = (
        "Each dot is a group of patients: where it lies on the diagonal, as many stayed without the event as forecast; "
        f"above it, patients did better than forecast. {verdict}{f' ({p})' if told else ''}."
    )
    return {"title": model, "figure": album.figure(figures.calibration(bins)), "reading": reading}
