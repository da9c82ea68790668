"""Subgroups and sites for a reader: forest plots, what each says in a line, and the numbers behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from phenolens.evaluate.folds import LEAVE_ONE_SITE_OUT
from phenolens.evaluate.levels import METHOD, NOTE
from phenolens.report import figures_subgroups, words
from phenolens.report.figures_subgroups import Line, Sum
from phenolens.report.names import Names
from phenolens.report.pictures import Album
from phenolens.report.record import Record
from phenolens.report.tables import OVER_SITES, headline, no_information, whole

MANY = 6
"""Classes above which no figure of subgroups is drawn for each."""
RISKS = "uno_c"


def view(record: Record, names: Names, album: Album) -> dict[str, Any]:
    """`subgroups` and `sites`: a figure with its reading for each model (and class); empty where there is nothing."""
    found = record.more.get("subgroups")
    groups = [] if found is None or found.empty else _subgroups(record, found, names, album)
    sites = _sites(record, names, album) if LEAVE_ONE_SITE_OUT in record.schemes else []
    if not groups and not sites:
        return {}
    return {"subgroups": groups, "sites": sites, "note": NOTE, "method": METHOD}


def _subgroups(record: Record, found: pd.DataFrame, names: Names, album: Album) -> list[dict[str, Any]]:
    mine = found[found["scheme"] == record.main]
    made = []
    for model in record.models:
        for name in _asked(record):
            rows = mine[(mine["model"] == model) & (mine["class"] == name)]
            if rows.empty:
                continue
            lines = _lines(rows, names)
            score = f"AUC of {name} against the rest" if name else words.metric(RISKS)
            head = f"patients ({name})" if name else "patients (events / in the rest)"
            picture = figures_subgroups.forest(
                lines,
                everyone=_everyone(record, model, name),
                label=f"{score}, with its 95% interval",
                head=("subgroup", head, "difference from the rest"),
            )
            title = f"{model}, {name}" if len(record.classes) > 2 else model
            made.append({"title": title, "figure": album.figure(picture), "reading": reading(rows, name, names)})
    return made


def _asked(record: Record) -> Sequence[str]:
    """The classes with a figure each; one without a name where survival is predicted."""
    if record.survival is not None:
        return ("",)
    return record.classes if len(record.classes) <= MANY else ()


def _everyone(record: Record, model: str, name: str) -> float | None:
    metric, subgroup = ("auc", f"class={name}") if name else (RISKS, "all")
    rows = record.estimates
    rows = rows[(rows["scheme"] == record.main) & (rows["model"] == model) & (rows["metric"] == metric)]
    value = rows[rows["subgroup"] == subgroup]["value"]
    return None if value.empty or pd.isna(value.iloc[0]) else float(value.iloc[0])


def _lines(rows: pd.DataFrame, names: Names) -> list[Line]:
    lines = []
    for column, own in rows.groupby("column", sort=False):
        lines.append(Line(name=str(column), heading=True))
        for row in own.to_dict("records"):
            value = _number(row["value"])
            told = words.number(row["difference"])
            if value is None:
                few = "too few patients" if row["class"] else "too few events"
                told = f"not estimable: {few}" if "needed)" in str(row["note"]) else "not estimable"
            elif _number(row["difference"]) is None:
                told = "no difference estimable"
            elif limits := words.limits(row["difference_low"], row["difference_high"]):
                told += f" ({limits})"
            rest = "" if row["class"] else f" / {int(row['rest_events'])}"
            counts = f"{int(row['n_patients'])} ({int(row['n_events'])}{rest})"
            low, high = _number(row["low"]), _number(row["high"])
            name = _level(str(column), str(row["level"]), names)
            lines.append(
                Line(name=name, counts=counts, value=value, low=low, high=high, told=told, differs=_differs(row))
            )
    return lines


def _level(column: str, level: str, names: Names) -> str:
    return names.site(level) if column == "site" else names.text(level)


def _differs(row: Any) -> bool:
    return bool(row["p_holm"] < 0.05)


def _mirrors(row: Any, before: Sequence[Any]) -> bool:
    """Whether a row is the other side of a difference that was told: the same column, the opposite number."""
    return any(b["column"] == row["column"] and math.isclose(b["difference"], -row["difference"]) for b in before)


def _number(value: Any) -> float | None:
    return float(value) if pd.notna(value) and math.isfinite(value) else None


def reading(rows: pd.DataFrame, name: str, names: Names) -> str:
    """The forest of one model in a few words: what differs more than chance explains, what cannot be told.

    `name` is the class; empty where survival is predicted.
    """
    said, score = [], f"the AUC of {name}" if name else words.metric(RISKS)
    differing = [r for r in rows.to_dict("records") if _differs(r)]
    differing = [r for i, r in enumerate(differing) if not _mirrors(r, differing[:i])]
    for row in differing[:4]:
        way = "lower" if row["difference"] < 0 else "higher"
        which = f"{row['column']} {_level(str(row['column']), str(row['level']), names)}"
        limits = words.limits(row["difference_low"], row["difference_high"])
        said.append(
            f"For {which} {score} is {words.number(abs(row['difference']))} {way} than for everyone else "
            f"(difference {limits}): more than chance explains."
        )
    known = rows[rows["difference_low"].notna() & rows["difference_high"].notna()]
    if not differing and len(known):
        far = max(abs(float(known["difference_low"].min())), abs(float(known["difference_high"].max())))
        said.append(
            "No difference between subgroups is told apart from chance; differences of up to "
            f"{words.number(far)} are not ruled out by these intervals."
        )
    if short := int(rows["value"].isna().sum()):
        few = "with or without it" if name else "with the event"
        said.append(f"{words.count(short, 'subgroup')} cannot be estimated: fewer than 10 patients {few}.")
    return " ".join(said)


def _sites(record: Record, names: Names, album: Album) -> list[dict[str, Any]]:
    """A forest a model: the sites that were left out in turn, their mean, and where a new site is expected."""
    followed = record.survival is not None
    metric = RISKS if followed else headline(record, LEAVE_ONE_SITE_OUT)
    rows = record.estimates
    rows = rows[(rows["scheme"] == LEAVE_ONE_SITE_OUT) & (rows["metric"] == metric)]
    whole_ = whole(record, LEAVE_ONE_SITE_OUT)
    nothing = 0.5 if followed else no_information(record, LEAVE_ONE_SITE_OUT).get(metric)
    made = []
    for model in record.models:
        mine = rows[(rows["model"] == model) & rows["subgroup"].str.startswith("site=")]
        total = whole_[(whole_["model"] == model) & (whole_["metric"] == metric) & whole_["value"].notna()]
        if mine.empty or total.empty:
            continue
        sum_ = _sum(total.iloc[0])
        lines = sorted((_site(row, names) for row in mine.to_dict("records")), key=lambda line: line.name)
        label = f"{words.metric(metric)} of each site left out, with its 95% interval"
        head = ("site", "patients (events)" if followed else "patients (rarest class)", "95% interval")
        picture = figures_subgroups.sites(lines, sum_, nothing=nothing, label=label, head=head)
        said = site_reading(sum_, lines, metric, nothing)
        made.append({"title": model, "figure": album.figure(picture), "reading": said})
    return made


def _site(row: Any, names: Names) -> Line:
    value, low, high = (_number(row[c]) for c in ("value", "low", "high"))
    told = "not estimable on its own" if value is None else words.limits(low, high) or "no interval"
    counts = f"{int(row['n_patients'])} ({int(row['n_events'])})"
    name = names.site(str(row["subgroup"]).removeprefix("site="))
    return Line(name=name, counts=counts, value=value, low=low, high=high, told=told)


def _sum(row: Any) -> Sum:
    over = OVER_SITES.match(str(row["note"]))
    confidence = None if over is None else (float(over[1]), float(over[2]))
    low, high = _number(row["low"]), _number(row["high"])
    return Sum(
        value=float(row["value"]),
        confidence=confidence,
        prediction=None if low is None or high is None else (low, high),
    )


def site_reading(total: Sum, lines: Sequence[Line], metric: str, nothing: float | None = None) -> str:
    """The forest of sites in a sentence."""
    known = [line for line in lines if line.value is not None]
    said = (
        f"Each site was predicted by models that never saw it; over {len(known)} of {words.count(len(lines), 'site')} "
    )
    said += f"the mean {words.metric(metric)} is {words.number(total.value)}"
    if total.prediction is None:
        return said + "; where a new site lies cannot be told from so few."
    low, high = total.prediction
    said += f", and in a new, similar hospital it is expected between {words.number(low)} and {words.number(high)}"
    if nothing is not None and low <= nothing:
        return said + f": at such a site the model may tell nothing ({words.number(nothing)})."
    return said + "."
