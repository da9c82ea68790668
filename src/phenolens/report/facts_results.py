"""Facts of the results: measures, performance by class, site and subgroup, uncertainty, calibration, failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import pandas as pd

from phenolens.core.registry import MODELS
from phenolens.evaluate.curves import confusion
from phenolens.report import caveats, words
from phenolens.report.baselines import paired
from phenolens.report.fact import (
    ESTIMATES,
    PREDICTIONS,
    Fact,
    headline,
    joined,
    models,
    rows_of,
    scheme_words,
    schemes,
    valued,
)
from phenolens.report.names import Names
from phenolens.report.record import Record, model_name

_CALIBRATES = ("calibration", "slope", "intercept", "ici", "eci", "ece")
_OVERALL = ("brier", "log_loss", "ibs", "integrated_brier")
_SIMPLE = ("logistic", "cox")
_MOST = 12


def _classifies(record: Record) -> bool:
    return "truth" in record.predictions.table and len(record.predictions.table) > 0


def _main(record: Record) -> str:
    return next(iter(schemes(record)), "")


def measures(record: Record) -> Fact | None:
    """The metrics that were measured."""
    found = words.in_order(sorted(set(record.estimates["metric"])))
    if not found:
        return None
    told = [f"Measured: {words.listed([words.metric(m) for m in found])}"]
    told.append("Models are compared on the same splits" if len(models(record)) > 1 else "")
    return Fact(text=joined(told), where=ESTIMATES)


def performance(record: Record) -> Fact | None:
    """The headline of every scheme and model, with its interval."""
    told = []
    for scheme in schemes(record):
        metric = headline(record, scheme)
        rows = rows_of(record, scheme, metric)
        if rows:
            values = "; ".join(f"{row['model']} {valued(row)}" for row in rows)
            told.append(f"{scheme_words(record, scheme)}, {words.metric(metric)}: {values}")
    return Fact(text=joined(told), where=ESTIMATES) if told else None


def by_class(record: Record) -> Fact | None:
    """AUC of every class in the main scheme."""
    main = _main(record)
    told = []
    for name in map(str, record.manifest.get("classes") or ()):
        rows = rows_of(record, main, "auc", f"class={name}")
        if rows:
            told.append(f"AUC of {name}: " + "; ".join(f"{row['model']} {valued(row)}" for row in rows))
    return Fact(text=joined(told), where=ESTIMATES) if told else None


def by_site(record: Record, names: Names) -> Fact | None:
    """The headline at each site, by model."""
    rows = record.estimates
    scheme = next((s for s in ("leave_one_site_out", _main(record)) if s in set(rows["scheme"])), "")
    metric = headline(record, scheme)
    mine = rows[(rows["scheme"] == scheme) & (rows["metric"] == metric) & rows["subgroup"].str.startswith("site=")]
    if mine.empty or mine["subgroup"].nunique() < 2:
        return None
    told = []
    for model in models(record):
        own = mine[(mine["model"] == model) & mine["value"].notna()]
        values = sorted((names.site(str(r["subgroup"])[5:]), words.number(r["value"])) for r in own.to_dict("records"))
        none = int((mine["model"] == model).sum()) - len(own)
        shown = ", ".join(f"{site} {value}" for site, value in values[:_MOST])
        more = f" and {len(values) - _MOST} more" if len(values) > _MOST else ""
        told.append(f"{model}: {shown or 'no site'}{more}" + (f"; not estimable at {none}" if none else ""))
    return Fact(
        text=joined([f"{scheme_words(record, scheme)}, {words.metric(metric)} by site", *told]), where=ESTIMATES
    )


def subgroups(record: Record, names: Names) -> Fact | None:
    """Subgroups by a column the study names; classes and sites are told elsewhere."""
    rows = record.estimates
    kinds = rows["subgroup"].astype(str)
    mine = rows[kinds.str.contains("=", regex=False) & ~kinds.str.contains(r"(?:^|;)(?:class|site)=", regex=True)]
    mine = mine[mine["scheme"] == _main(record)]
    metric = headline(record, _main(record))
    metric = metric if metric in set(mine["metric"]) else next(iter(words.in_order(sorted(set(mine["metric"])))), "")
    told = []
    for row in mine[mine["metric"] == metric].to_dict("records"):
        value = words.number(row["value"]) if pd.notna(row["value"]) else "not estimable"
        told.append(
            f"{row['model']}, {names.text(str(row['subgroup']).replace('=', ' '))}: {value} (n {row['n_patients']:g})"
        )
    return Fact(text=joined([words.metric(metric), *told]), where=ESTIMATES) if told else None


def uncertainty(record: Record) -> Fact | None:
    """How limits were made, permutation p, and the coverage of conformal sets."""
    rows = record.estimates
    methods = sorted({str(m) for m in rows[rows["low"].notna() & (rows["subgroup"] == "all")]["method"]})
    told = [f"95% limits: {'; '.join(methods)}" if methods else ""]
    told += [
        f"{model_name(str(t.get('model', '')))}: permutation p {words.p_value(t['p'])} of {t['permutations']} refits"
        for t in record.tests
        if "p" in t and "permutations" in t
    ]
    told += _coverage(record)
    audited = ", results/audit.json" if record.tests else ""
    return Fact(text=joined(told), where=f"{ESTIMATES}{audited}") if any(told) else None


def _coverage(record: Record) -> list[str]:
    table = record.predictions.table
    told = []
    for name, alpha in (("set_90", "0.1"), ("set_80", "0.2")):
        if name in table and "truth" in table:
            rows = table[(table["part"] == "test") & (table[name].astype(str) != "-")]
            held = [str(t) in str(s).split("|") for t, s in zip(rows["truth"], rows[name], strict=True)]
            if held:
                share = sum(held) / len(held)
                told.append(
                    f"Conformal sets at alpha {alpha} held the true class in {share:.0%} of {len(held):,} predictions"
                )
    return told


def calibration(record: Record) -> Fact | None:
    """Calibration figures and overall scores of the probabilities."""
    main, told = _main(record), []
    found = words.in_order(sorted(set(record.estimates["metric"])))
    for metric in found:
        if metric in _OVERALL or any(part in metric.split("_") for part in _CALIBRATES):
            rows = rows_of(record, main, metric)
            if rows:
                told.append(f"{words.metric(metric)}: " + "; ".join(f"{r['model']} {valued(r)}" for r in rows))
    if _classifies(record):
        told.append("Observed shares are drawn over stated probabilities for every model (figures of the report)")
    return Fact(text=joined(told), where=ESTIMATES) if told else None


def failures(record: Record) -> Fact | None:
    """How many are wrong, and which confusion is the most frequent."""
    if not _classifies(record):
        return None
    table = confusion(record.of_scheme(record.main))
    told = []
    for model in models(record):
        mine = table[table["model"] == model]
        wrong = mine[mine["truth"] != mine["predicted"]].sort_values(["units", "truth"], ascending=[False, True])
        if len(wrong) and wrong["units"].sum():
            first = wrong.iloc[0]
            most = f"most often {first['truth']} called {first['predicted']} ({int(first['units'])})"
            told.append(
                f"{model}: {int(wrong['units'].sum())} of {int(mine['units'].sum())} {record.unit}s wrong, {most}"
            )
    return Fact(text=joined(told), where=PREDICTIONS) if told else None


def explanations(record: Record) -> Fact | None:
    """Maps with their fidelity, and weights over the folds."""
    told = []
    methods = Counter(str(m.get("method")) for m in record.maps)
    if methods:
        judged = [dict(m["fidelity"]) for m in record.maps if m.get("fidelity")]
        better = sum(
            f["deletion"] < f["deletion_random"] and f["insertion"] > f["insertion_random"]
            for f in judged
            if {"deletion", "deletion_random", "insertion", "insertion_random"} <= set(f)
        )
        told.append(", ".join(f"{n} maps by {method}" for method, n in sorted(methods.items())))
        told.append(f"{better} of {len(judged)} beat a random order by deletion and insertion" if judged else "")
    for name, what in (("coefficients", "Weights of features"), ("sequences", "Shares of sequences")):
        table = record.more.get(name)
        if table is not None:
            told.append(f"{what} over the folds: {words.listed(sorted(set(map(str, table['model']))))}")
    return Fact(text=joined(told), where="results/maps/index.json, results/coefficients.csv") if told else None


def pairs(record: Record) -> pd.DataFrame:
    """Every pair of models in the main scheme; empty where they cannot be compared."""
    metric = headline(record, _main(record))
    if not (_classifies(record) or record.survival is not None) or len(models(record)) < 2 or not metric:
        return pd.DataFrame()
    found = paired(record, metric)
    return pd.DataFrame() if found is None else found


def _against(compared: pd.DataFrame, chosen: list[str]) -> Fact | None:
    """Every other model against the chosen ones, with the interval of the difference and Holm's p."""
    told = []
    for row in compared.to_dict("records"):
        if (row["model_a"] in chosen) != (row["model_b"] in chosen) and pd.notna(row["difference"]):
            limits = words.limits(row["low"], row["high"]) or "no interval"
            value = f"{words.number(row['difference'])} ({limits}), p {words.p_value(row['p_holm'])} after Holm"
            told.append(f"{words.metric(row['metric'])}, {row['model_a']} minus {row['model_b']}: {value}")
    return Fact(text=joined(told), where=PREDICTIONS) if told else None


def beyond_size(record: Record, compared: pd.DataFrame) -> Fact | None:
    """Every model against those that know the size alone."""
    known = set(MODELS.names())
    size = [m for m in models(record) if m in known and getattr(MODELS.plugin(m)[0], "baseline", False)]
    return _against(compared, size) if size else None


def simple_model(record: Record, compared: pd.DataFrame) -> Fact | None:
    """Every model against a linear one."""
    simple = [m for m in models(record) if m in _SIMPLE]
    return _against(compared, simple) if simple else None


def mask_agreement(record: Record) -> Fact | None:
    """Dice of found and drawn masks."""
    rows = rows_of(record, _main(record), "dice") if record.finds_masks else []
    if not rows:
        return None
    told = [f"Dice of {row['model']} with the drawn masks: {valued(row)}" for row in rows]
    return Fact(text=joined(told), where=f"{ESTIMATES}, results/segmentation.csv")


def readers(record: Record) -> Fact | None:
    """How often readers were right on the same patients."""
    table = record.predictions.table
    columns = [str(c) for c in table if str(c).startswith("r_")]
    if not columns or "truth" not in table:
        return None
    rows = table[table["part"] == "test"].drop_duplicates("unit_id")
    told = []
    for number, column in enumerate(columns, 1):
        called = rows[rows[column].notna() & (rows[column].astype(str) != "")]
        right = int((called[column].astype(str) == called["truth"].astype(str)).sum())
        told.append(f"Reader {number} is right in {right} of {len(called)}")
    return Fact(text=joined(told), where=PREDICTIONS)


def limits(record: Record, names: Names) -> Fact | None:
    """What the numbers cannot say."""
    if not _classifies(record):
        return None
    told = f"What the numbers cannot say: {joined(caveats.limits_(record, names)['cannot'])}"
    return Fact(text=told, where="report, What the numbers can and cannot say")


FACTS: Mapping[str, Callable[[Record], Fact | None]] = {
    "measures": measures,
    "performance": performance,
    "by_class": by_class,
    "uncertainty": uncertainty,
    "calibration": calibration,
    "failures": failures,
    "explanations": explanations,
    "mask_agreement": mask_agreement,
    "readers": readers,
}
NAMED: Mapping[str, Callable[[Record, Names], Fact | None]] = {
    "by_site": by_site,
    "subgroups": subgroups,
    "limits": limits,
}
"""Facts that may hold names of patients, sites or files."""
COMPARED: Mapping[str, Callable[[Record, pd.DataFrame], Fact | None]] = {
    "beyond_size": beyond_size,
    "simple_model": simple_model,
}
"""Facts of how models differ, from `pairs`, which is slow and so computed once."""
