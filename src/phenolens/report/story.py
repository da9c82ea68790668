"""The answer in a paragraph, the caveats that go with it, and what the numbers can and cannot say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from phenolens.evaluate.curves import confusion
from phenolens.evaluate.folds import EXTERNAL, HOLDOUT, LEAVE_ONE_SITE_OUT
from phenolens.report import words
from phenolens.report.baselines import size_alone
from phenolens.report.names import Names
from phenolens.report.record import Record, model_name
from phenolens.report.tables import headline, no_information, whole

SMALL = 100
"""Patients below which the page says that the study is small."""
FEW = 10
"""Patients below which the answer gives counts only: the floor under every AUC holds for the claim, too."""
NEAR_PERFECT = 0.98
"""Macro AUC from which the page asks to look for a leak first."""


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
    return f"; permutation p {_is(test['p'])}{'' if own else ' by a simpler stand-in'}"


def _is(p: float) -> str:
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


def caveats(record: Record, names: Names) -> list[dict[str, str]]:
    """The biggest reasons for care, the worst first: {severity, text}."""
    n = counts(record)
    said: list[tuple[str, str]] = []
    audited = [f for f in record.audit.get("findings", ()) if f["rule"] != "null-run"]  # that is said of each test
    for finding in (*record.findings, *audited):
        if finding.get("severity") in ("error", "warning"):
            who = [str(w) for w in finding.get("who", ())]
            text = words.sentence(names.text(str(finding["what"]), who))
            if reason := names.text(str(finding.get("signed_off", "")), who):
                text += f" Signed off by the author: {words.sentence(reason)}"
            said.append((str(finding["severity"]), text))
    for test in record.tests:
        said += _from_test(test)
    if n["patients"] < FEW:
        text = f"{words.count(n['patients'], 'patient')}: too few for any claim; read counts, not shares or intervals."
        said.append(("warning", text))
    said += _too_good(record)
    said += size_alone(record)
    if record.main == EXTERNAL:
        said += _external(record)
    elif n["n_sites"] < 3:
        found = words.count(n["n_sites"], "site") if n["n_sites"] else "no known site"
        said.append(
            ("warning", f"No external evidence: {found}. Whether the result holds in another hospital is unknown.")
        )
    elif not {LEAVE_ONE_SITE_OUT, "site_preserved"} & set(record.schemes):
        said.append(
            ("note", "Sites were not left out: the models have seen patients of every site they were tested on.")
        )
    if n["patients"] < SMALL and record.main != EXTERNAL:
        text = f"A small study ({words.count(n['patients'], 'patient')}): intervals made from cross-validation cover "
        text += "less than their nominal 95%, and look narrower than they are where a value is close to its limit."
        said.append(("note", text))
    said += _outside(record)
    missing = not_estimable(record)
    if missing:
        said.append(("note", missing))
    if not record.tests and record.main != EXTERNAL:
        said.append(("note", "Not audited: no permutation test was run (phenolens audit)."))
    rank = ("error", "warning", "note")
    return [{"severity": s, "text": t} for s, t in sorted(dict.fromkeys(said), key=lambda pair: rank.index(pair[0]))]


def _external(record: Record) -> list[tuple[str, str]]:
    """What stands on an external cohort: which model it was, and how many of its units it could not take."""
    origin = record.manifest.get("external", {})
    trained = words.count(int(origin.get("training_patients", 0)), "patient")
    text = f"The model {origin.get('model', '')} (fit {origin.get('key', '')[:12]}) was made from {trained}, none of "
    text += "them in this cohort by id; whether one person stands in both under two ids cannot be seen from ids."
    return [("note", text)]


def _too_good(record: Record) -> list[tuple[str, str]]:
    rows = whole(record, record.main)
    best = rows[rows["metric"] == "macro_auc"]["value"].max()
    if not best >= NEAR_PERFECT:
        return []
    text = (
        f"A macro AUC of {words.number(float(best))} is rare on real images: look for a leak or a shortcut (a scanner "
        "or protocol for each class, duplicates, a label seen in the picture) before believing it."
    )
    return [("warning", text)]


def _from_test(test: Mapping[str, Any]) -> list[tuple[str, str]]:
    model, said = model_name(str(test.get("model", ""))), []
    if test.get("null_run", {}).get("flagged"):
        text = f"The null run of {model} is flagged: it finds signal in shuffled labels. Do not use its results."
        said.append(("error", text))
    if test["p"] is None:
        said.append(("note", f"No permutation p for {model}: {test['why']}."))
    elif not test["p"] < 0.05:
        said.append(("warning", f"{model} is not told apart from chance (permutation p {_is(float(test['p']))})."))
    return said


def _outside(record: Record) -> list[tuple[str, str]]:
    status = record.images["status"].value_counts()
    lost = int(status.get("quarantined", 0)) + int(status.get("missing", 0))
    ruled = int(status.get("excluded", 0))
    said = []
    if lost:
        share = f"{lost} of {words.count(len(record.images), 'image')}"
        said.append(("note", f"{share} could not be used and went to quarantine; the reasons stand under Cohort."))
    if ruled:
        by = "was" if ruled == 1 else "were"
        said.append(("note", f"{words.count(ruled, 'image')} {by} left out by a rule of the study."))
    return said


def not_estimable(record: Record) -> str:
    """Which AUCs of the main scheme cannot be estimated, in a sentence; empty when all can."""
    rows = record.estimates
    rows = rows[(rows["scheme"] == record.main) & (rows["metric"] == "auc") & rows["value"].isna()]
    found = [c for c in record.classes if (rows["subgroup"] == f"class={c}").any()]
    if not found:
        return ""
    which = "any class" if len(found) == len(record.classes) else words.listed(found)
    return f"The AUC of {which} is not estimable: too few patients with or without the class."


def limits_(record: Record, names: Names) -> dict[str, list[str]]:
    """What the numbers can say and what they cannot, from the facts of this run."""
    n = counts(record)
    unit = record.unit
    sites = sorted(names.site(s) for s in n["sites"] if s != "unknown")
    like = f" ({words.listed(sites)})" if 0 < len(sites) <= 8 else ""
    can = [
        (
            f"How well these models, fitted in this way, tell the classes apart for patients like the "
            f"{n['patients']:,} of this cohort{like}. Patients, not images, were split: no patient "
            "was in both training and test."
        ),
        (
            "How much the result depends on which patients happened to be drawn: that is what the intervals are for. "
            "They promise 95% and keep less; in simulations they held the true value in 87 to 92% of the cases."
        ),
    ]
    if any(test["p"] is not None for test in record.tests):
        can.append("The permutation test says whether chance alone could give such a result with this procedure.")
    if LEAVE_ONE_SITE_OUT in record.schemes and n["n_sites"] >= 3:
        can.append(f"Leaving out each of {n['n_sites']} sites says how results vary between hospitals like these.")
    if HOLDOUT in record.schemes:
        can.append("The locked holdout was kept out of every fit; it is evidence for as long as it is read once.")
    cannot = []
    if n["n_sites"] < 3 and record.main != EXTERNAL:
        cannot.append(
            "How the models would do in another hospital, on another scanner, with another staining or protocol."
        )
    cannot.append("Whether the models would change a decision or an outcome for a patient: nothing here tests that.")
    cannot.append(
        "Why a tumour is of its class. Maps and weights show what a model used, not what is biologically "
        "relevant; attention is not evidence, and a map that is not better than random says nothing."
    )
    if not record.tests:
        if record.main != EXTERNAL:
            cannot.append("Whether chance explains the result: the study was not audited.")
    else:
        cannot.append(
            "The audit cannot see leaks in the data, such as one patient under two ids or a label made from the images."
        )
    if missing := not_estimable(record):
        cannot.append(missing)
    if unit != "patient":
        cannot.append(
            f"The {unit}s of one patient are not independent; intervals and floors count patients for that reason."
        )
    cannot.append(
        f"A probability on this page is a model's own; read it as a chance only where the calibration figure says so. "
        f"Classes outside the {len(record.classes)} of this study cannot be predicted: every {unit} gets one of them."
    )
    return {"can": can, "cannot": cannot}
