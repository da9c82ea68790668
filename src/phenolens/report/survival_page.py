"""The report of a study of survival: who was followed how long, how well risks are ordered, and what weighs in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from phenolens.core.predictions import SurvivalPredictions
from phenolens.core.registry import MODELS
from phenolens.evaluate.folds import HOLDOUT, LEAVE_ONE_SITE_OUT
from phenolens.evaluate.interval import COVERAGE_NOTE
from phenolens.report import audit, caveats, cohort, evidence, settings, story, subgroups, survival, views, words
from phenolens.report.names import Names
from phenolens.report.pictures import Album
from phenolens.report.record import Record
from phenolens.report.tables import Cell, Table, cell, label, plain

HEADLINE = "uno_c"


def content(record: Record, names: Names) -> dict[str, Any]:
    """Everything the template shows."""
    held = record.survival
    assert held is not None, "a study of survival"
    album, study = Album(record.folder, names.all(), home=record.home), record.manifest["study"]
    return {
        "title": str(study.get("study", "study")),
        "study_id": str(record.manifest.get("study_id", "")),
        "version": str(record.manifest.get("versions", {}).get("phenolens", "")),
        "pseudonyms": names.hidden,
        "kind": words.kind(record.images_are),
        "answer": answer(record, held),
        "caveats": caveats.caveats(record, names),
        "flow": cohort.flow(record, names),
        "followed": followed(record, names, held),
        "findings": cohort.findings(record, names),
        "main": words.scheme(record.main, study["validation"]),
        "blocks": [t for s in record.schemes if s != record.main for t in _blocks(record, names, s)],
        "meanings": _meanings(record),
        "coverage": COVERAGE_NOTE,
        "survival": survival.view(
            held, record.estimates, names, album, scheme=record.main, time=str(study["task"]["time"])
        ),
        "subgroups": subgroups.view(record, names, album),
        "coefficients": evidence.view(record, names)["coefficients"],
        "slides": views.slides(record, names, album),
        "audit": audit.view(record, names, album),
        "settings": settings.groups(record, names),
        "splits": cohort.shown_split(record),
        "run_notes": [words.sentence(names.text(str(t))) for t in record.manifest.get("notes", [])],
        "limits": limits(record, names, held),
    }


def answer(record: Record, held: SurvivalPredictions) -> list[str]:
    """What was predicted from what, and how well, in a few sentences."""
    n, study = story.counts(record), record.manifest["study"]
    people = _people(record)
    events = int((people["event"] == 1).sum())
    where = words.count(n["n_sites"], "site") if n["n_sites"] else "an unknown number of sites"
    were = "was" if events == 1 else "were"
    patients, models = words.count(n["patients"], "patient"), words.count(len(record.models), "model")
    first = (
        f"The time to {record.manifest['target']} was predicted for {patients} from {where}, with {models}. "
        f"{words.count(events, 'event')} {were} seen; {_followed_for(people)} The models were tested by "
        f"{words.scheme(record.main, study['validation'])}: every risk here is of a patient the model never saw."
    )
    said = [first]
    for scheme in [s for s in record.schemes if s in (record.main, HOLDOUT, LEAVE_ONE_SITE_OUT)]:
        said.append(_ordered(record, scheme, held.tau))
    if not record.tests:
        said.append("Not audited: run phenolens audit to learn whether chance explains this result.")
    return [s for s in said if s]


def _followed_for(people: pd.DataFrame) -> str:
    without = people[people["event"] == 0]["time"]
    if without.empty:
        return "nobody was censored."
    return f"half of the {len(without):,} without it were followed for {without.median():,.4g} or longer."


def _ordered(record: Record, scheme: str, tau: float) -> str:
    """Uno's C of every model under one scheme, in a sentence."""
    rows = record.estimates
    rows = rows[(rows["scheme"] == scheme) & (rows["metric"] == HEADLINE) & (rows["subgroup"] == "all")]
    by = {str(r["model"]): r for r in rows.to_dict("records")}
    told = []
    for model in [m for m in record.models if m in by and pd.notna(by[m]["value"])]:
        test = story.test_of(record, model) if scheme == record.main else None
        p = "" if test is None else f"; permutation p {words.p_value(test['p'])}"
        interval = words.limits(by[model]["low"], by[model]["high"]) or "no interval"
        told.append(f"{model} {words.number(by[model]['value'])} ({interval}{p})")
    if not told:
        return "How well risks are ordered is not estimable: too few events." if scheme == record.main else ""
    how = {HOLDOUT: " on the locked holdout", LEAVE_ONE_SITE_OUT: " with each site left out in turn"}
    where = "" if scheme == record.main else how[scheme]
    return (
        f"Uno's C up to {tau:g}{where}, the chance that of two patients the one with the earlier event had the higher "
        f"risk (0.5 is guessing): {'; '.join(told)}."
    )


def _people(record: Record) -> pd.DataFrame:
    """Every test patient once."""
    rows = record.table[record.table["part"] == "test"]
    return rows.drop_duplicates("patient")


def followed(record: Record, names: Names, held: SurvivalPredictions) -> Table:
    """Patients, events and follow-up by site, and who was still followed at each horizon."""
    people = _people(record)
    at = [f"events by {h:g}" for h in held.horizons] + [f"followed beyond {h:g}" for h in held.horizons]
    table = Table("Predicted patients by site", ["site", "patients", "events", "median time", *at])
    groups = [(names.site(str(s)), rows) for s, rows in people.groupby("site")]
    for title, rows in [*sorted(groups, key=lambda g: g[0]), ("all", people)]:
        seen = rows["event"] == 1
        numbers = [len(rows), int(seen.sum())]
        counts = [int((seen & (rows["time"] <= h)).sum()) for h in held.horizons]
        counts += [int((rows["time"] > h).sum()) for h in held.horizons]
        cells = [Cell(f"{n:,}") for n in numbers]
        middle = Cell(f"{rows['time'].median():,.4g}")
        table.rows.append([label(title), *cells, middle, *(Cell(f"{n:,}") for n in counts)])
    table.last = "total"
    table.words = "Median time: from the start to the event or to the end of the follow-up, whichever came first."
    return table


def _blocks(record: Record, names: Names, scheme: str) -> list[Table]:
    """The estimates of one scheme: up to tau, and at each horizon where there are such."""
    rows = record.estimates[record.estimates["scheme"] == scheme]
    parts = rows["subgroup"].str.extract(r"^(?:horizon=(?P<horizon>[^;]+))?;?(?:site=(?P<site>.*))?$").fillna("")
    rows = rows.assign(at=parts["horizon"], place=parts["site"])
    rows = rows[(rows["subgroup"] == "all") | (rows["at"] != "") | (rows["place"] != "")]
    title = words.scheme(scheme, record.manifest["study"]["validation"])
    whole = _block(record, names, rows[rows["at"] == ""], Table(f"Estimates: {title}", ["patients", "model"]))
    by = _block(record, names, rows[rows["at"] != ""], Table(f"At each horizon: {title}", ["patients", "model", "at"]))
    return [table for table in (whole, by) if table.rows]


def _block(record: Record, names: Names, rows: pd.DataFrame, table: Table) -> Table:
    """Patients, model (and horizon) by metric."""
    kinds = words.in_order(sorted(set(rows["metric"])))
    by_horizon = "at" in table.head
    table.head += ["n", "events", *(f"{words.metric(m)} {words.direction(m)}".strip() for m in kinds)]
    order = {model: i for i, model in enumerate(record.models)}
    keys = {(str(r["place"]), str(r["model"]), str(r["at"])) for r in rows.to_dict("records")}

    def rank(key: tuple[str, str, str]) -> tuple[bool, str, int, float]:
        place, model, at = key
        return place != "", names.site(place) if place else "", order.get(model, len(order)), float(at or 0)

    for place, model, at in sorted(keys, key=rank):
        mine = rows[(rows["place"] == place) & (rows["model"] == model) & (rows["at"] == at)]
        by = {str(r["metric"]): {str(k): v for k, v in r.items()} for r in mine.to_dict("records")}
        who = [label(names.site(place) if place else "all"), plain(model), *([Cell(at)] if by_horizon else [])]
        numbers = [Cell(f"{int(mine[c].max()):,}") for c in ("n_patients", "n_events")]
        table.rows.append([*who, *numbers, *(cell(by.get(m), table, names) for m in kinds)])
    methods = sorted({str(m) for m in rows[rows["low"].notna() & (rows["place"] == "")]["method"]})
    table.words = words.sentence("Intervals (second line): " + "; ".join(methods)) if methods else ""
    return table


def _meanings(record: Record) -> list[tuple[str, str]]:
    """Metrics and models in words; a lab's own file is not opened for it."""
    metrics = words.in_order(sorted(set(record.estimates["metric"])))
    told = [(words.metric(m), words.meaning(m, "patient")) for m in metrics if m in words.MEANING]
    known = set(MODELS.names())
    named: list[Mapping[str, Any]] = list(record.manifest.get("models", []))
    return told + [(str(m["name"]), MODELS.plugin(str(m["name"]))[0].summary) for m in named if m["name"] in known]


def limits(record: Record, names: Names, held: SurvivalPredictions) -> dict[str, list[str]]:
    """What the numbers can say and what they cannot, from the facts of this run."""
    n = story.counts(record)
    sites = sorted(names.site(s) for s in n["sites"] if s != "unknown")
    like = f" ({words.listed(sites)})" if 0 < len(sites) <= 8 else ""
    can = [
        (
            f"How well these models, fitted in this way, order patients like the {n['patients']:,} of this cohort{like}"
            f" by the time to their event, up to {held.tau:g}. Patients were split: none was in both training and test."
        ),
        (
            "How the groups of high and low risk differ: they were cut at the median risk of the training patients of "
            "each fold, so that they were not chosen to differ."
        ),
    ]
    cannot = [
        "Why a patient lives longer or shorter: the features are not causes, and treatment is not accounted for.",
        (
            "What holds after the last horizon, or for patients whose follow-up ended for a reason that has to do with "
            "their outcome: censoring is taken to say nothing of the time to the event."
        ),
        "Whether the model adds to what is known without it, such as stage or age: that needs a model of those.",
    ]
    if n["n_sites"] < 3:
        cannot.append("How the models would do in another hospital, on another scanner or protocol.")
    if not record.tests:
        cannot.append("Whether chance explains the result: the study was not audited.")
    return {"can": can, "cannot": cannot}
