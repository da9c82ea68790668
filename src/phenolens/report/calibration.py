"""Calibration and decision curves for a reader: a picture, a table and a line for a clinician, model by model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from phenolens.evaluate import calibration, curves
from phenolens.evaluate.decision import DECISION_NOTE, decision_curves, positive_of
from phenolens.evaluate.folds import ONE_CLASS_EACH, Group, groups, once
from phenolens.report import figures_calibration as figures
from phenolens.report import words
from phenolens.report.names import Names
from phenolens.report.pictures import Album
from phenolens.report.record import Record
from phenolens.report.tables import Cell, Table, label, plain

_MEASURES = ("intercept", "slope", "ICI", "E50", "E90")
_MOST = 9
"""Classes with a picture; all of them are in the table."""
_RUNS = 3


def view(record: Record, names: Names, album: Album) -> dict[str, Any]:  # noqa: ARG001  (no name is shown)
    """Every model of the main scheme: figure, words, table; decision curve and its words. Empty where there are no
    probabilities of classes.

    A smooth curve is drawn from 200 patients on, bins below that.
    """
    if record.finds_masks or not record.classes or record.predictions.table.empty:
        return {}
    mine = record.of_scheme(record.main)
    mended = calibration.recalibrated(mine)
    task = record.manifest["study"].get("task", {})
    name, threshold = positive_of(record.classes, task.get("positive")), task.get("threshold")
    told = {
        "smooth": calibration.smooth(mine),
        "mended": calibration.smooth(mended) if mended is not None else pd.DataFrame({"model": [], "class": []}),
        "bins": curves.calibration(mine),
        "summary": calibration.summary(mine),
        "summary_mended": calibration.summary(mended) if mended is not None else pd.DataFrame({"model": []}),
        "decision": decision_curves(mine, task.get("positive")),
    }
    found = {group.key["model"]: group for group in groups(mine)}
    models = [
        _model(found[m], {k: t[t["model"] == m] for k, t in told.items()}, (name, threshold), album, record.unit)
        for m in record.models
    ]
    note = calibration.CURVE_NOTE if any(m["smooth"] for m in models) else curves.CALIBRATION_NOTE
    notes = [f"Calibration: {note}"]
    if any(m["decision"] for m in models):
        notes.append(f"Decision curve: {DECISION_NOTE}")
    return {"models": models, "notes": notes}


def _model(
    group: Group, told: Mapping[str, pd.DataFrame], asked: tuple[str | None, float | None], album: Album, unit: str
) -> dict[str, Any]:
    name, threshold = asked
    shown = _shown(group.classes, name)
    fold = once(group)
    stated = {}
    for part in shown:
        i = group.classes.index(part)
        own = {k: told[k][told[k]["class"] == part] for k in ("smooth", "mended", "bins")}
        stated[part] = figures.Stated(
            curve=own["smooth"], mended=own["mended"], bins=own["bins"], p=fold.p[:, i], positive=fold.truth == i
        )
    smooth = any(len(s.curve) for s in stated.values())
    drawable = not group.one_class_each
    decided = told["decision"]
    return {
        "model": group.key["model"],
        "smooth": smooth,
        "figure": album.figure(figures.reliability(stated)) if drawable else "",
        "words": read(told, shown, unit) if drawable else words.sentence(f"not shown: {ONE_CLASS_EACH}"),
        "table": _table(told, shown),
        "decision": album.figure(figures.decision(decided, name=str(name), threshold=threshold))
        if len(decided)
        else "",
        "decision_words": read_decision(decided, name, threshold, unit),
    }


def _shown(classes: tuple[str, ...], positive: str | None) -> list[str]:
    """The classes with a picture: of two the positive one, the other being its mirror image; of more the first ones."""
    return [positive or classes[-1]] if len(classes) == 2 else list(classes[:_MOST])


def read(told: Mapping[str, pd.DataFrame], shown: list[str], unit: str) -> str:
    """The picture in a sentence: how far stated and observed lie apart, and in which direction."""
    rows = told["summary"][told["summary"]["class"].isin(shown)]
    if told["smooth"].empty:
        return read_bins(told["bins"][told["bins"]["class"].isin(shown)], unit)
    by = rows.set_index(["class", "measure"])["value"]
    worst = max((c for c in shown if np.isfinite(by[c, "ICI"])), key=lambda c: float(by[c, "ICI"]))
    row = rows[(rows["class"] == worst) & (rows["measure"] == "ICI")].iloc[0]
    text = (
        f"Stated and observed probability of {worst}{' (the worst class)' if len(shown) > 1 else ''} lie "
        f"{_points(row['value'])} percentage points apart on average ({_points(row['low'])} to "
        f"{_points(row['high'])}), and in nine {unit}s of ten at most {_points(by[worst, 'E90'])}."
    )
    return f"{text} {_direction(rows[rows['class'] == worst])}".strip()


def _direction(rows: pd.DataFrame) -> str:
    """What slope and intercept say, where their intervals leave 1 and 0."""
    by = rows.set_index("measure")
    slope, shift = by.loc["slope"], by.loc["intercept"]
    said = []
    if slope["high"] < 1:
        said.append("too extreme: read a very high or very low probability as a milder one")
    elif slope["low"] > 1:
        said.append("too timid: they could be further from the middle")
    if shift["low"] > 0:
        said.append("too low on the whole")
    elif shift["high"] < 0:
        said.append("too high on the whole")
    if said:
        thin = " (few patients: exploratory)" if str(slope["note"]).startswith("exploratory") else ""
        return f"The probabilities are {words.listed(said)}{thin}."
    if not np.isfinite([slope["value"], shift["value"]]).all():
        return ""
    return "Neither a wrong spread nor a wrong level of the probabilities was shown."


def _points(share: float) -> str:
    return f"{100 * share:.0f}" if share >= 0.0095 else f"{100 * share:.1f}"


def read_bins(bins: pd.DataFrame, unit: str) -> str:
    """The bins in a sentence: whether their intervals hold the line on which a stated chance is the real one."""
    n = len(bins)
    inside = int(((bins["low"] <= bins["predicted"]) & (bins["predicted"] <= bins["high"])).sum())
    text = f"In {inside} of {words.count(n, 'group')} of {unit}s the interval holds the dashed line, on which "
    text += "a stated probability is what really happens."
    if inside < n:
        off = bins[(bins["low"] > bins["predicted"]) | (bins["predicted"] > bins["high"])]
        over = int((off["predicted"] > off["observed"]).sum())
        text += f" Elsewhere the model states too much in {over} and too little in {n - inside - over}."
    few = int(bins["units"].min()) if n else 0
    return text + (f" The smallest group has {words.count(few, unit)}: read it with care." if few < 20 else "")


def read_decision(curve: pd.DataFrame, name: str | None, threshold: float | None, unit: str) -> str:
    """The decision curve in a sentence: where acting by the model is better than acting on everyone or no one."""
    if name is None:
        return "No decision curve: with several classes, task.positive must name the one that a decision is about."
    if curve.empty:
        return f"No decision curve: fewer than 10 {unit}s with or without {name}, or test sets of one class only."
    runs = _runs(curve[curve["gain_low"] > 1e-12]["threshold"].tolist())
    if runs:
        text = f"Acting on {name} by the model does more good than acting on everyone or no one at thresholds from "
        text += words.listed([f"{low:.0%} to {high:.0%}" for low, high in runs])
        text += " (there the interval of the difference lies above 0)."
    else:
        text = f"At no threshold was acting on {name} by the model shown to do more good than acting on everyone or "
        text += "no one."
    if threshold is None:
        return text
    row = curve.iloc[(curve["threshold"] - threshold).abs().argmin()]
    gain = f"{words.number(row['gain'], 3)} ({words.limits(row['gain_low'], row['gain_high'], 3)})"
    return f"{text} At the threshold fixed beforehand, {threshold:g}, the gain is {gain} true positives a {unit}."


def _runs(thresholds: list[float]) -> list[tuple[float, float]]:
    """The longest few stretches of neighbouring thresholds, in their order; single ones say nothing."""
    runs: list[list[float]] = []
    for t in thresholds:
        if runs and t - runs[-1][-1] < 0.015:
            runs[-1].append(t)
        else:
            runs.append([t])
    longest = sorted((r for r in runs if len(r) > 1), key=len, reverse=True)[:_RUNS]
    return sorted((r[0], r[-1]) for r in longest)


def _table(told: Mapping[str, pd.DataFrame], shown: list[str]) -> Table:
    table = Table("Calibration in numbers", ["class", "probability", *_MEASURES])
    table.words = (
        "Perfect is an intercept of 0 (above: probabilities too low), a slope of 1 (below: too extreme) and distances "
        "near 0: ICI is their mean, E50 and E90 what half and nine tenths of the units do not exceed."
    )
    kinds = [("as stated", told["summary"])]
    if len(told["summary_mended"]):
        kinds.append(("recalibrated", told["summary_mended"]))
    names = list(dict.fromkeys(told["summary"]["class"]))
    for part in shown if len(names) == 2 else names:
        for i, (kind, rows) in enumerate(kinds):
            mine = rows[rows["class"] == part].set_index("measure")
            cells = [_cell(mine.loc[m].to_dict(), table) for m in _MEASURES]
            table.rows.append([label("" if i else part), plain(kind), *cells])
    return table


def _cell(row: Mapping[Any, Any], table: Table) -> Cell:
    note = str(row["note"])
    if pd.isna(row["value"]):
        return Cell("not estimable", mark=table.mark(note), kind="none")
    return Cell(words.number(row["value"]), words.limits(row["low"], row["high"]), table.mark(note) if note else "")
