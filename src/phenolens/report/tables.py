"""Estimates as tables for a reader: a value, its interval, and marked notes below."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from phenolens.core.errors import SplitError
from phenolens.evaluate.compare import compare
from phenolens.evaluate.folds import LEAVE_ONE_SITE_OUT
from phenolens.report import words
from phenolens.report.names import Names
from phenolens.report.record import Record

_TOLD = "not estimable"
P_HEAD = ["p", "primary: p (Holm)", "exploratory: p (BH)"]
P_READING = (
    "For a comparison that was planned read p (Holm): under 0.05 the two differ, even with all pairs counted. p (BH, "
    "Benjamini–Hochberg) is for looking around: of the pairs under 0.05 about one in 20 is expected to be chance."
)
OVER_SITES = re.compile(r"95% confidence interval of the mean (\S+) to (\S+) \(Hartung–Knapp\); tau ([\d.]+)")


@dataclass(frozen=True)
class Cell:
    """One cell: a text, a smaller line below it (the interval), the mark of a note, and how it is set."""

    text: str
    sub: str = ""
    mark: str = ""
    kind: str = "number"


@dataclass
class Table:
    """Head, rows and marked notes; `total` rows are set apart."""

    title: str
    head: list[str]
    rows: list[list[Cell]] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    words: str = ""
    last: str = ""

    def mark(self, note: str) -> str:
        """The letter of a note; equal notes share one."""
        if note not in self.notes:
            self.notes[note] = _letter(len(self.notes))
        return self.notes[note]

    @property
    def told(self) -> list[tuple[str, str]]:
        """Letters and notes in their order."""
        return [(mark, words.sentence(note)) for note, mark in self.notes.items()]


def _letter(i: int) -> str:
    return chr(ord("a") + i % 26) * (1 + i // 26)


def label(text: str) -> Cell:
    """A cell at the head of a row."""
    return Cell(text, kind="label")


def plain(text: str) -> Cell:
    """A cell of words."""
    return Cell(text, kind="text")


def headline(record: Record, scheme: str = "") -> str:
    """The metric in which a scheme (default: the main one) is told: macro AUC where it can be estimated, else balanced
    accuracy."""
    mine = whole(record, scheme or record.main)
    told = set(mine[mine["value"].notna()]["metric"])
    for name in ("macro_auc", "balanced_accuracy", *words.in_order(sorted(told))):
        if name in told:
            return name
    return "macro_auc"


def whole(record: Record, scheme: str) -> pd.DataFrame:
    """The estimates of one scheme over all its units (one row a model and metric)."""
    table = record.estimates
    return table[(table["scheme"] == scheme) & (table["subgroup"] == "all")]


def cell(row: Mapping[str, Any] | None, table: Table, names: Names, classes: Sequence[str] = ()) -> Cell:
    """One estimate; "not estimable" with its reason as a note, a dash where the table has no such row."""
    if row is None:
        return Cell("–", kind="none")
    note = names.text(str(row["note"]))
    if pd.isna(row["value"]):
        why = shorter(note.removeprefix(_TOLD).removeprefix(": "), classes) or "no reason was given"
        return Cell(_TOLD, mark=table.mark(f"{_TOLD}: {why}"), kind="none")
    interval = words.limits(row["low"], row["high"])
    if over := OVER_SITES.match(note):
        note = note[over.end() :].removeprefix("; ")
        low, high, tau = (float(x) for x in over.groups())
        interval = f"new site {interval or '–'}\nmean {words.limits(low, high)}\ntau {words.number(tau)}"
    return Cell(words.number(row["value"]), interval, table.mark(note) if note else "")


def shorter(why: str, classes: Sequence[str]) -> str:
    """A reason that lists the counts of more than two classes, told in one line; what stands before it is kept."""
    if why.startswith(f"{_TOLD}: "):
        return f"{_TOLD}: {shorter(why.removeprefix(f'{_TOLD}: '), classes)}"
    short = [c for c in classes if f" with {c} " in f"{why} " or f" without {c} " in f"{why} "]
    needed = why.rpartition("(")[2].rstrip(")") if why.endswith("needed)") else ""
    if len(short) < 3 or not needed:
        return why
    return f"too few patients with or without {words.listed(short)} ({needed} of each)"


def _find(rows: pd.DataFrame, **wanted: str) -> dict[str, Any] | None:
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    return None if rows.empty else {str(k): v for k, v in rows.iloc[0].items()}


def main_table(record: Record, scheme: str, names: Names) -> Table:
    """Model by metric over all test units of one scheme, above what no information would score."""
    rows = whole(record, scheme)
    kinds = shown_metrics(rows)
    table = Table(
        f"Models by metric: {words.scheme(scheme, record.manifest['study']['validation'])}",
        ["model", *(f"{words.metric(m)} {words.direction(m)}".strip() for m in kinds)],
    )
    for model in record.models:
        mine = rows[rows["model"] == model]
        if len(mine):
            table.rows.append(
                [label(model), *(cell(_find(mine, metric=m), table, names, record.classes) for m in kinds)]
            )
    floor = no_information(record, scheme)
    table.rows.append([label("no information"), *(Cell(words.number(floor.get(m)), kind="number") for m in kinds)])
    table.last = "reference"
    table.words = _methods(rows)
    return table


def shown_metrics(rows: pd.DataFrame) -> list[str]:
    """Metrics that are one number; macro recall only where balanced accuracy, its equal, is not there."""
    names = words.in_order(sorted(set(rows["metric"])))
    return [m for m in names if m != "macro_recall" or "balanced_accuracy" not in names]


def no_information(record: Record, scheme: str) -> dict[str, float]:
    """What each metric gives for the same probabilities for everyone: the shares of the classes in this cohort."""
    rows = record.test_rows(scheme).drop_duplicates("unit_id")
    share = np.array([(rows["truth"] == c).mean() for c in record.classes]) if len(rows) else np.array([1.0])
    there = share[share > 0]
    k = len(there)
    return {
        "macro_auc": 0.5,
        "accuracy": float(share.max()),
        "balanced_accuracy": 1 / k,
        "macro_recall": 1 / k,
        "macro_precision": float(share.max()) / k,
        "brier": float(1 - (share**2).sum()) / 2,
        "log_loss": float(-(there * np.log(there)).sum()),
    }


def _methods(rows: pd.DataFrame) -> str:
    found = sorted({str(m) for m in rows[rows["low"].notna()]["method"]})
    return words.sentence("Intervals (second line): " + "; ".join(found)) if found else ""


def class_table(record: Record, scheme: str, names: Names) -> Table | None:
    """The AUC of each class against the rest, one column a model; None where a mean over sites has none."""
    rows = record.estimates
    rows = rows[(rows["scheme"] == scheme) & (rows["metric"] == "auc")]
    if rows.empty or (scheme == LEAVE_ONE_SITE_OUT and rows["value"].isna().all()):
        return None
    table = Table("AUC of each class against the others", ["class", "patients with it", *record.models])
    if scheme == LEAVE_ONE_SITE_OUT:
        table.words = "Random-effects mean over sites, as above."
    for name in record.classes:
        mine = rows[rows["subgroup"] == f"class={name}"]
        if len(mine):
            cells = [cell(_find(mine, model=m), table, names, record.classes) for m in record.models]
            table.rows.append([label(name), Cell(_whole(mine["n_events"].iloc[0])), *cells])
    return table


def reader_table(record: Record, names: Names) -> Table | None:
    """Readers beside models on the same patients; None where no reader was named."""
    rows = record.more.get("readers")
    if rows is None or rows.empty:
        return None
    rows = rows[rows["scheme"] == record.main]
    head = ["reader", "model", "share of right calls", "reader", "model", "difference", "p", "patients"]
    table = Table("Readers beside the models, on the same patients", head)
    for row in rows.to_dict("records"):
        what = "all" if row["measure"] == "accuracy" else f"of {row['class']}"
        if pd.isna(row["difference"]):
            cells = [plain(names.text(str(row["note"]))), plain(""), plain(""), plain("")]
        else:
            spread = words.limits(row["reader_low"], row["reader_high"])
            apart = words.limits(row["low"], row["high"])
            cells = [
                Cell(words.number(row["reader_value"]), spread),
                Cell(words.number(row["model_value"])),
                Cell(words.number(row["difference"]), apart),
                Cell(words.p_value(row["p"])),
            ]
        first = [label(names.text(str(row["reader"]))), plain(str(row["model"])), plain(what)]
        table.rows.append([*first, *cells, Cell(f"{int(row['n_patients']):,}")])
    table.words = (
        "Model minus reader: above 0 the model was right more often. Limits are 95%, of the difference by resampling "
        "patients; p is the exact McNemar test."
    )
    return table


def site_table(record: Record, scheme: str, names: Names) -> Table | None:
    """Every site on its own, a row a site and model; leave-one-site-out ends with the mean over sites."""
    rows = record.estimates
    rows = rows[rows["scheme"] == scheme]
    sites = sorted({s.removeprefix("site=") for s in rows["subgroup"] if s.startswith("site=")}, key=names.site)
    if not sites:
        return None
    kinds = [m for m in ("macro_auc", "balanced_accuracy", "accuracy") if m in set(rows["metric"])]
    table = Table("Each site on its own", ["site", "model", "patients", *(words.metric(m) for m in kinds)])
    shown = [(names.site(s), f"site={s}") for s in sites]
    if scheme == LEAVE_ONE_SITE_OUT:
        shown.append(("mean over sites", "all"))
        table.words = (
            "Each site was predicted by models that never saw it. The last rows are the random-effects mean over sites "
            "(DerSimonian–Laird): 'new site' is the 95% prediction interval, where the value of a new, similar site is "
            "expected; 'mean' the 95% confidence interval of the mean (Hartung–Knapp); tau the spread between sites."
        )
    for title, subgroup in shown:
        for i, model in enumerate(record.models):
            mine = rows[(rows["subgroup"] == subgroup) & (rows["model"] == model)]
            if len(mine):
                cells = [cell(_find(mine, metric=m), table, names, record.classes) for m in kinds]
                n = Cell(_whole(mine["n_patients"].iloc[0]))
                table.rows.append([label(title if i == 0 else ""), plain(model), n, *cells])
    return table


def comparison(record: Record) -> Table | None:
    """Every pair of models on the same splits, in each scheme's headline metric; None with one model."""
    if len(record.models) < 2:
        return None
    table = Table("Models compared on the same splits", ["scheme", "metric", "models", "difference", *P_HEAD])
    methods: set[str] = set()
    for scheme in record.schemes:
        metric = headline(record, scheme)
        try:
            pairs = compare(record.of_scheme(scheme), metric)
        except SplitError as fault:
            table.words = f"Not compared: {fault.found}; {fault.todo}."
            return table
        methods |= {m for m in pairs["method"] if m}
        title = words.scheme(scheme, record.manifest["study"]["validation"])
        for i, row in enumerate(pairs.to_dict("records")):
            first = [label("" if i else title), plain("" if i else words.metric(metric))]
            table.rows.append(
                [
                    *first,
                    plain(f"{row['model_a']} minus {row['model_b']}"),
                    difference(row, table, record.classes),
                    *p_cells(row),
                ]
            )
    if methods:
        table.words = f"Tests: {'; '.join(sorted(methods))}. {P_READING}"
    return table


def difference(row: Mapping[Any, Any], table: Table, classes: Sequence[str] = (), more: str = "") -> Cell:
    """What one model is ahead of another (`evaluate.compare`), with its interval, its note and one more."""
    note = "; ".join(text for text in (shorter(str(row["note"]), classes), more) if text)
    mark = table.mark(note) if note else ""
    if pd.isna(row["difference"]):
        return Cell(_TOLD, mark=mark, kind="none")
    return Cell(words.number(row["difference"]), words.limits(row["low"], row["high"]), mark)


def p_cells(row: Mapping[Any, Any]) -> list[Cell]:
    """p of a pair of models as it is, for primary and for exploratory claims: the cells under `P_HEAD`."""
    return [Cell(words.p_value(row[name])) for name in ("p", "p_holm", "p_bh")]


def _whole(value: Any) -> str:
    return "–" if pd.isna(value) else f"{int(value):,}"
