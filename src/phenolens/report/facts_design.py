"""Facts of the design: splits, who was in which part, internal and external testing, sites."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from phenolens.cohort import split
from phenolens.evaluate.folds import HOLDOUT, LEAVE_ONE_SITE_OUT
from phenolens.report import words
from phenolens.report.fact import (
    ESTIMATES,
    MANIFEST,
    PREDICTIONS,
    Fact,
    asked_models,
    headline,
    held_out,
    joined,
    outcomes,
    rows_of,
    scheme_words,
    schemes,
    section,
    site_counts,
    units,
)
from phenolens.report.names import UNKNOWN, Names
from phenolens.report.record import Record

_SPLITS = "results/splits.csv"
_BY_SITE = {LEAVE_ONE_SITE_OUT, "site_preserved"}


def _splits(record: Record) -> pd.DataFrame:
    return pd.DataFrame(list(record.manifest.get("splits") or ()))


def _sizes(rows: pd.DataFrame) -> str:
    parts = (("n_train", "to train"), ("n_tune", "to tune"), ("n_test", "to test"))
    told = ", ".join(f"{rows[c].mean():.0f} {what}" for c, what in parts if c in rows and rows[c].max() > 0)
    return f"{words.count(len(rows), 'split')}, patients{' on average' * (len(rows) > 1)} {told}"


def splits(record: Record, names: Names) -> Fact | None:
    """Every scheme with its splits and their sizes, the holdout and how often it was read."""
    table = _splits(record)
    if table.empty:
        return None
    order = sorted(set(table["scheme"]), key=lambda s: [*schemes(record), s].index(s))
    told = [f"{scheme_words(record, s)}: {_sizes(table[table['scheme'] == s])}" for s in order]
    asked = section(record, "validation")
    told.append("Patients, never images, were split, and the splits were frozen before anything was fitted")
    told.append(f"Holdout: {names.text(str(asked['holdout']))}{_reads(record)}" if asked.get("holdout") else "")
    told.append(f"Seed {asked['seed']}" if "seed" in asked else "")
    return Fact(text=joined(told), where=f"{_SPLITS}, {MANIFEST} (splits)")


def _reads(record: Record) -> str:
    """How often procedures have read the holdout, where the study folder has kept count."""
    path = record.folder / "holdout_reads.csv"
    if not path.exists():
        return ""
    return f", read {words.count(int(pd.read_csv(path)['read'].nunique()), 'time')}"


def disjoint(record: Record) -> Fact | None:
    """That no patient stands in two parts of a split, read from the frozen splits."""
    path = record.folder / _SPLITS
    if not path.exists():
        return None
    number = len(split.read(path))  # refuses a patient who stands in two parts
    several = units(record).groupby("patient").size() if len(units(record)) else pd.Series(dtype=int)
    many = int((several > 1).sum())
    told = [f"In each of {words.count(number, 'split')} no patient stands in two of train, tune and test"]
    told.append(
        f"{words.count(many, 'patient')} with several {record.unit}s have all of them on one side" if many else ""
    )
    return Fact(text=joined(told), where=_SPLITS)


def analysed(record: Record) -> Fact | None:
    """Patients and events in each analysis."""
    table, found = _splits(record), units(record)
    if table.empty or found.empty:
        return None
    held = held_out(record)
    parts = [(str(s), table[table["scheme"] == s]) for s in dict.fromkeys(table["scheme"])]
    told = [f"{scheme_words(record, s)}: {_sizes(rows)}" for s, rows in parts]
    mine = found[~found["patient"].isin(held)]
    told.append(
        f"Tested by cross-validation: {words.count(mine['patient'].nunique(), 'patient')} ({_seen(mine, record)})"
    )
    if held:
        mine = found[found["patient"].isin(held)]
        told.append(f"Tested on the holdout: {words.count(len(held), 'patient')} ({_seen(mine, record)})")
    return Fact(text=joined(told), where=f"{MANIFEST} (splits), {PREDICTIONS}")


def _seen(rows: pd.DataFrame, record: Record) -> str:
    return outcomes(rows, record) or words.count(len(rows), "scan")


def internal_test(record: Record) -> Fact | None:
    """The schemes in which something could be estimated."""
    found = [s for s in schemes(record) if rows_of(record, s, headline(record, s))]
    if not found:
        return None
    told = words.listed([scheme_words(record, s) for s in found])
    text = f"Tested by {told}; every test patient was predicted by a model that had not seen the patient"
    return Fact(text=joined([text]), where=f"{PREDICTIONS}, {_SPLITS}")


def external_test(record: Record, names: Names) -> Fact | None:
    """A holdout whose known sites gave no patient to the development; leaving sites out in turn is not external."""
    held, table = held_out(record), units(record)
    theirs = {str(s) for s in table[table["patient"].isin(held)]["site"]}
    others = {str(s) for s in table[~table["patient"].isin(held)]["site"]}
    if not held or theirs & others or (theirs | others) & {UNKNOWN, ""}:
        return None
    places = words.listed(sorted(map(names.site, theirs)))
    text = (
        f"The locked holdout of {words.count(len(held), 'patient')} is of {places}, where nobody of the development is"
    )
    return Fact(text=joined([f"{text} from: {_told(record, HOLDOUT)}"]), where=f"{PREDICTIONS}, {ESTIMATES}")


def _told(record: Record, scheme: str) -> str:
    metric = headline(record, scheme)
    rows = rows_of(record, scheme, metric)
    told = ", ".join(f"{r['model']} {words.number(r['value'])}" for r in rows)
    return f"{words.metric(metric)} {told}" if told else "nothing is estimable"


def across_sites(record: Record, names: Names) -> Fact | None:
    """Performance on an external holdout, or with sites kept whole."""
    outside = external_test(record, names)
    if outside is not None:
        return outside
    kept = [s for s in schemes(record) if s in _BY_SITE]
    n = len(site_counts(record))
    if not kept or n < 2:
        return None
    told = [f"{scheme_words(record, s)}: {_told(record, s)}" for s in kept]
    return Fact(text=joined([f"Sites were kept whole, {words.count(n, 'site')}", *told]), where=ESTIMATES)


def further_schemes(record: Record) -> Fact | None:
    """The headline in every scheme, where there are several."""
    found = [s for s in schemes(record) if s != HOLDOUT]
    if len(found) < 2:
        return None
    told = [f"{scheme_words(record, s)}: {_told(record, s)}" for s in found]
    return Fact(text=joined(["The same models were evaluated by more than one scheme", *told]), where=ESTIMATES)


def heterogeneity(record: Record) -> Fact | None:
    """How sites were handled: apart, pooled or harmonised."""
    n = len(site_counts(record))
    by_site = record.estimates[record.estimates["subgroup"].str.contains("site=", regex=False)]
    if n < 2 or by_site.empty:
        return None
    told = [f"Performance is estimated at each of {words.count(n, 'site')} apart"]
    leaving = record.estimates[record.estimates["scheme"] == LEAVE_ONE_SITE_OUT]
    means = sorted(set(leaving[(leaving["subgroup"] == "all") & leaving["value"].notna()]["method"]))
    told += [f"Over sites left out in turn: {m}" for m in means]
    corrected = {m["name"]: (m.get("parameters") or {}).get("combat") for m in asked_models(record)}
    told += [f"{model}: features harmonised in the fold by {by}" for model, by in corrected.items() if by]
    return Fact(text=joined(told), where=f"{ESTIMATES}, {MANIFEST}")


def factors(record: Record) -> Fact | None:
    """By which factors results are given."""
    groups = {part.partition("=")[0] for s in record.estimates["subgroup"] for part in str(s).split(";") if "=" in part}
    if not groups:
        return None
    return Fact(text=joined([f"Results are given by {words.listed(sorted(groups))}"]), where=ESTIMATES)


FACTS: Mapping[str, Callable[[Record], Fact | None]] = {
    "disjoint": disjoint,
    "analysed": analysed,
    "internal_test": internal_test,
    "further_schemes": further_schemes,
    "heterogeneity": heterogeneity,
    "factors": factors,
}
NAMED: Mapping[str, Callable[[Record, Names], Fact | None]] = {
    "splits": splits,
    "external_test": external_test,
    "across_sites": across_sites,
}
"""Facts that may hold names of patients, sites or files."""
