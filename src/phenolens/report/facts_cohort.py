"""Facts of the cohort: who was studied, who fell out, what is missing, when, and what the checks found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from phenolens.report import words
from phenolens.report.fact import (
    COHORT,
    IMAGES,
    MANIFEST,
    PREDICTIONS,
    Fact,
    asked_models,
    held_out,
    joined,
    outcomes,
    section,
    site_counts,
    units,
)
from phenolens.report.mask_words import words_of
from phenolens.report.names import Names
from phenolens.report.record import Record

_ALWAYS = ("age", "sex", "gender")
_FEW_VALUES = 8
_LOST = ("quarantined", "missing", "excluded")


def participants(record: Record) -> Fact | None:
    """Patients and predictions, and the images they come from."""
    table = units(record)
    if table.empty:
        return None
    used = int((record.images["status"] == "used").sum()) if "status" in record.images else 0
    of = f", from {words.count(used, _row_word(record))}" if used else ""
    unit = words_of(record.manifest).image if record.finds_masks else record.unit
    text = f"{words.count(table['patient'].nunique(), 'patient')} with {words.count(len(table), 'prediction')}, "
    return Fact(text=joined([f"{text}one a {unit}{of}"]), where=f"{PREDICTIONS}, {IMAGES}")


def classes(record: Record, names: Names) -> Fact | None:
    """Patients tested of each class or with the event, by site where there are several."""
    table = units(record)
    whole = outcomes(table, record)
    if not whole:
        return None
    known = site_counts(record)
    by_site = [
        f"{names.site(site)}: {outcomes(table[table['site'] == site], record)}"
        for site in sorted(known, key=names.site)
    ]
    return Fact(text=joined([f"Patients tested: {whole}", *(by_site if len(by_site) > 1 else [])]), where=PREDICTIONS)


def sites(record: Record, names: Names) -> Fact | None:
    """Patients tested at each known site."""
    counts = site_counts(record)
    if not counts:
        return None
    told = ", ".join(f"{names.site(s)} {n}" for s, n in sorted(counts.items(), key=lambda p: names.site(p[0])))
    text = f"Patients tested at {words.count(len(counts), 'site')}: {told}"
    return Fact(text=joined([text]), where=PREDICTIONS)


def multi_centre(record: Record, names: Names) -> Fact | None:
    """The sites, where there are several."""
    return sites(record, names) if len(site_counts(record)) > 1 else None


def class_balance(record: Record) -> Fact | None:
    """The shares of the largest and smallest class, and models that weigh classes."""
    table = units(record)
    if "truth" not in table or table.empty:
        return None
    shares = table["truth"].value_counts(normalize=True)
    told = f"The largest class is {shares.index[0]} with {shares.iloc[0]:.0%} of the {record.unit}s tested"
    told += f", the smallest {shares.index[-1]} with {shares.iloc[-1]:.0%}"
    weighing = [m["name"] for m in asked_models(record) if (m.get("parameters") or {}).get("balanced")]
    more = f"Classes weigh alike in the fits of {words.listed(weighing)}" if weighing else ""
    return Fact(text=joined([told, more]), where=f"{PREDICTIONS}, {MANIFEST} (models)")


def flow(record: Record) -> Fact | None:
    """From the tables to the predictions, with how many fell out and how."""
    steps = record.manifest.get("flow") or ()
    told = []
    for step in steps:
        kinds = Counter(str(d.get("status", "fell out")) for d in step.get("dropped", ()))
        lost = f" ({', '.join(f'{n} {k}' for k, n in sorted(kinds.items()))})" if kinds else ""
        of = f" of {step['of']}" if step.get("of") is not None else ""
        told.append(f"{step['step']} {step['n']}{of}{lost}".replace("units", f"{record.unit}s"))
    seen = outcomes(units(record), record)
    parts = ["; ".join(told), f"Tested: {seen}" if seen else ""]
    return Fact(text=joined(parts), where=f"{MANIFEST} (flow), results/quarantine.csv") if told else None


def eligibility(record: Record, names: Names) -> Fact | None:
    """The condition on the patients table, and who was left out by a rule."""
    condition = record.manifest["study"].get("where")
    steps = [s for s in record.manifest.get("flow") or () if s.get("dropped")]
    ruled = int((record.images["status"] == "excluded").sum()) if "status" in record.images else 0
    left = [
        f"{s['step']}: {s['n']} left, {len(s['dropped'])} out"
        for s in steps
        if not s["step"].startswith(("images", "units", "patients that can be used"))
    ]
    told = [f"Of the patients table those with {names.text(str(condition))}" if condition else "", "; ".join(left)]
    told.append(f"{words.count(ruled, 'image')} left out by a rule of the study" if ruled else "")
    return Fact(text=joined(told), where=f"{MANIFEST} (where, flow)") if any(told) else None


def missing_data(record: Record) -> Fact | None:
    """Images that could not be used, absent sequences, and what models do about them."""
    if "status" not in record.images or record.images.empty:
        return None
    status = record.images["status"].value_counts()
    lost = ", ".join(f"{int(status[k])} {k}" for k in _LOST if k in status) or "none was lost"
    told = [f"{int(status.get('used', 0))} of {words.count(len(record.images), _row_word(record))} were used ({lost})"]
    used = record.images[record.images["status"] == "used"]
    if "sequence" in used and (used["sequence"] != "").any():
        have = used[used["sequence"] != ""].groupby("sequence")["patient"].nunique()
        told.append(f"Of {words.count(used['patient'].nunique(), 'patient')} have " + _pairs(have.to_dict()))
    rule = section(record, "scan").get("missing")
    told.append(f"Units without one of the sequences: {str(rule).replace('_', ' ')}" if rule else "")
    handled = {m["name"]: (m.get("parameters") or {}).get("missing") for m in asked_models(record)}
    told.append("; ".join(f"{m}: missing values {v}" for m, v in handled.items() if v))
    return Fact(text=joined(told), where=f"{IMAGES}, results/quarantine.csv, {MANIFEST}")


def _row_word(record: Record) -> str:
    """What images.csv has a row of: of a user's own table a row is no image."""
    return "row" if record.images_are == "table" else "image"


def _pairs(counts: Mapping[Any, Any]) -> str:
    return ", ".join(f"{k} {int(v)}" for k, v in sorted(counts.items()))


def characteristics(record: Record, names: Names) -> Fact | None:
    """Age, sex and the columns of the subgroups; development and holdout apart."""
    people = {str(p): dict(row) for p, row in dict(record.snapshot.get("patients") or {}).items()}
    named = [next(iter(s)) if isinstance(s, dict) else str(s) for s in record.manifest["study"].get("subgroups") or ()]
    tested = set(units(record)["patient"])
    table = pd.DataFrame.from_dict({p: row for p, row in people.items() if p in tested}, orient="index")
    columns = [c for c in table.columns if c in named or str(c).lower() in _ALWAYS]
    if table.empty or not columns:
        return None
    held = held_out(record)
    parts = {"Development": table[~table.index.isin(held)], "Holdout": table[table.index.isin(held)]}
    told = []
    for title, rows in parts.items():
        if len(rows):
            first = f"{title}, {words.count(len(rows), 'patient')}: " if held else ""
            told.append(first + "; ".join(_spread(rows[c], str(c), names) for c in columns))
    return Fact(text=joined(told), where=COHORT)


def _spread(column: pd.Series[Any], name: str, names: Names) -> str:
    """Median and range of numbers, or counts of few values, with how many are missing."""
    known = column[column.notna() & (column.astype(str) != "")]
    numbers = pd.to_numeric(known, errors="coerce")
    missing = f", missing {len(column) - len(known)}" if len(known) < len(column) else ""
    if len(known) and numbers.notna().all() and numbers.nunique() > _FEW_VALUES:
        return f"{name} median {numbers.median():g} (range {numbers.min():g} to {numbers.max():g}){missing}"
    counts = known.astype(str).value_counts()
    if len(counts) > _FEW_VALUES:
        return f"{name} with {len(counts)} values{missing}"
    return f"{name} " + ", ".join(f"{names.text(str(v))} {counts[v]}" for v in sorted(counts.index)) + missing


def dates(record: Record, names: Names) -> Fact | None:
    """First and last date of prediction and of imaging; years only where names are hidden."""
    timing, kept = section(record, "timing"), record.snapshot
    people = [dict(row) for row in dict(kept.get("patients") or {}).values()]
    images = [dict(row) for row in dict(kept.get("images") or {}).values()]
    found = (
        [(f"Times of prediction ({timing['t0']})", [row.get(timing["t0"]) for row in people])]
        if timing.get("t0")
        else []
    )
    found.append(("Images acquired", [row.get("acquired") for row in images]))
    told = [f"{title}: {span}" for title, values in found if (span := _span(values, years=names.hidden))]
    return Fact(text=joined(told), where=COHORT) if told else None


def _span(values: list[Any], *, years: bool) -> str:
    read = pd.to_datetime(pd.Series([v for v in values if v], dtype=object), format="ISO8601", errors="coerce").dropna()
    if read.empty:
        return ""
    form = "%Y" if years else "%Y-%m-%d"
    first, last = read.min().strftime(form), read.max().strftime(form)
    return f"{first} to {last} ({len(read)} dates)"


def checks(record: Record, names: Names) -> Fact | None:
    """What the checks found, and what was signed off."""
    if not (record.folder / "results" / "findings.json").exists():
        return None
    count = Counter(str(f.get("severity")) for f in record.findings)
    rules = ", ".join(sorted({str(f.get("rule")) for f in record.findings}))
    kinds = ", ".join(words.count(count[k], k) for k in ("error", "warning", "note") if count[k])
    told = [
        f"The checks raised {kinds} ({rules})" if kinds else "The checks of tables, splits and images raised nothing"
    ]
    signed = [(str(f["rule"]), str(f["signed_off"])) for f in record.findings if f.get("signed_off")]
    told += [f"{rule} was signed off: {names.text(why)}" for rule, why in signed]
    return Fact(text=joined(told), where="results/findings.json")


def partition_mix(record: Record, names: Names) -> Fact | None:
    """Holdout beside development: patients, classes and sites."""
    held, table = held_out(record), units(record)
    if not held:
        return None
    told = []
    for title, rows in (
        ("Development", table[~table["patient"].isin(held)]),
        ("Holdout", table[table["patient"].isin(held)]),
    ):
        known = sorted({names.site(str(s)) for s in rows["site"] if s})
        n = words.count(rows["patient"].nunique(), "patient")
        told.append(f"{title}: {n} ({outcomes(rows, record)}) of {words.listed(known)}")
    return Fact(text=joined(told), where=PREDICTIONS)


FACTS: Mapping[str, Callable[[Record], Fact | None]] = {
    "participants": participants,
    "class_balance": class_balance,
    "flow": flow,
    "missing_data": missing_data,
}
NAMED: Mapping[str, Callable[[Record, Names], Fact | None]] = {
    "classes": classes,
    "sites": sites,
    "multi_centre": multi_centre,
    "eligibility": eligibility,
    "characteristics": characteristics,
    "dates": dates,
    "checks": checks,
    "partition_mix": partition_mix,
}
"""Facts that may hold names of patients, sites or files."""
