"""The answer in a paragraph, and the counts it stands on; the caveats that go with it are in `caveats.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from phenolens.evaluate.curves import confusion
from phenolens.evaluate.folds import EXTERNAL, HOLDOUT, LEAVE_ONE_SITE_OUT
from phenolens.report import words
from phenolens.report.names import Names
from phenolens.report.record import Record, model_name
from phenolens.report.tables import headline, no_information, whole

FEW = 10
"""Patients below which the answer gives counts only: the floor under every AUC holds for the claim, too."""


def counts(record: Record) -> dict[str, Any]:
    """Patients, units, images and sites of the whole study, and the main scheme's test units."""
    tests = record.table[record.table["part"] == "test"]
    used = record.images[record.images["status"] == "used"]
    sites = sorted(set(tests["site"]))
    return {
        "patients": int(tests["patient"].nunique()),
        "units": int(tests["unit_id"].nunique()),
        "images": len(used),
        "all_images": len(record.images),
        "sites": sites,
        "n_sites": len([s for s in sites if s != "unknown"]),
    }


def answer(record: Record, names: Names) -> list[str]:
    """What was predicted from what, and how well, in a few sentences."""
    n, study = counts(record), record.manifest["study"]
    classes = words.listed([*record.classes], "or") if len(record.classes) <= 6 else f"{len(record.classes)} classes"
    of = "" if record.unit == "patient" else f", one prediction for each of {words.count(n['units'], record.unit)}"
    where = words.count(n["n_sites"], "site") if n["n_sites"] else "an unknown number of sites"
    models = words.count(len(record.models), "model")
    target = str(record.manifest.get("target", study["task"]["target"]))
    first = (
        f"The {target} ({classes}) was predicted from {words.count(n['images'], 'image')} of "
        f"{words.count(n['patients'], 'patient')} from {where}{of}, with {models}. "
    )
    if record.main == EXTERNAL:
        first += "It was made elsewhere and is used as it is: nothing was fitted on these patients."
    else:
        first += f"The models were tested by {words.scheme(record.main, study['validation'])}"
        alone = record.main == HOLDOUT
        first += "." if alone else ": every prediction counted here is of a patient the model never saw."
    return [first, *_results(record, names)]


def _counts_only(record: Record) -> list[str]:
    """Right predictions of each model, for cohorts so small that no figure of merit is claimed."""
    table = confusion(record.of_scheme(record.main))
    told = []
    for model in record.models:
        mine = table[table["model"] == model]
        right = int(mine[mine["truth"] == mine["predicted"]]["units"].sum())
        told.append(f"{model} {right} of {words.count(int(mine['units'].sum()), record.unit)}")
    few = words.count(counts(record)["patients"], "patient")
    return [f"Right predictions: {'; '.join(told)}.", f"With {few} this is an exercise: no accuracy is claimed."]


def _results(record: Record, names: Names) -> list[str]:
    if counts(record)["patients"] < FEW:
        return _counts_only(record)
    name = headline(record)
    rows = whole(record, record.main)
    rows = rows[rows["metric"] == name]
    said = []
    if name != "macro_auc":
        why = _why_no_auc(record, names)
        said.append(f"The area under the ROC curve is not estimable{why}; {words.metric(name)} is given instead.")
    told = []
    for model in record.models:
        mine = rows[rows["model"] == model]
        if len(mine) and pd.notna(mine["value"].iloc[0]):
            row = mine.iloc[0]
            interval = words.limits(row["low"], row["high"])
            told.append(f"{model} {words.number(row['value'])} ({interval or 'no interval'}{_p(record, model)})")
    if not told:
        said.append("No model's result is estimable: there are too few patients.")
        return said
    meaning = words.meaning(name, record.unit)
    floor = no_information(record, record.main).get(name)
    without = (
        f"; without any information it is {words.number(floor)}" if floor is not None and name != "macro_auc" else ""
    )
    said.append(f"{words.metric(name)[:1].upper()}{words.metric(name)[1:]}, with its interval: {'; '.join(told)}.")
    said.append(f"It is {meaning}{without}." if meaning else "")
    said += [_elsewhere(record, scheme) for scheme in (LEAVE_ONE_SITE_OUT, HOLDOUT) if scheme != record.main]
    if not record.tests and record.main != EXTERNAL:
        said.append("Not audited: run phenolens audit to learn whether chance explains this result.")
    return [s for s in said if s]


def _elsewhere(record: Record, scheme: str) -> str:
    """Leave-one-site-out or the holdout in a sentence; empty where there is none or nothing can be estimated."""
    if scheme not in record.schemes:
        return ""
    name = headline(record, scheme)
    rows = whole(record, scheme)
    rows = rows[(rows["metric"] == name) & rows["value"].notna()]
    order = {model: i for i, model in enumerate(record.models)}
    told = []
    for row in sorted(rows.to_dict("records"), key=lambda r: order[r["model"]]):
        interval = words.limits(row["low"], row["high"])
        told.append(f"{row['model']} {words.number(row['value'])}" + (f" ({interval})" if interval else ""))
    if not told:
        return ""
    n = int(record.test_rows(scheme)["patient"].nunique())
    if scheme == HOLDOUT:
        return f"On the locked holdout of {words.count(n, 'patient')} the {words.metric(name)} is {'; '.join(told)}."
    sites = record.test_rows(scheme)["site"].nunique()
    return (
        f"When each of the {sites} sites is left out in turn, the mean {words.metric(name)} over sites is "
        f"{'; '.join(told)}{' (where a new site is expected to lie)' if '(' in told[0] else ''}."
    )


def test_of(record: Record, model: str) -> Mapping[str, Any] | None:
    """The permutation test that stands for a model; None where there is none."""
    for test in record.tests:
        named = {model_name(str(m)) for m in test.get("models", [test.get("model", "")])}
        if model in named:
            return test
    return None


def _p(record: Record, model: str) -> str:
    test = test_of(record, model)
    if test is None or test["p"] is None:
        return ""
    own = model_name(str(test.get("refitted", ""))) == model
    return f"; permutation p {is_p(test['p'])}{'' if own else ' by a simpler stand-in'}"


def is_p(p: float) -> str:
    """ "= 0.010" or "< 0.001"."""
    shown = words.p_value(p)
    return shown if shown.startswith("<") else f"= {shown}"


def _why_no_auc(record: Record, names: Names) -> str:
    rows = whole(record, record.main)
    rows = rows[(rows["metric"] == "macro_auc") & rows["value"].isna()]
    if rows.empty:
        return ""
    note = str(rows["note"].iloc[0])
    if "needed)" in note:
        return " (every class needs at least 10 patients with it and 10 without)"
    return f" ({names.text(note.removeprefix('not estimable: '))})" if note else ""
