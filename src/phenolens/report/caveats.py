"""The caveats that go with the answer, and what the numbers can and cannot say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phenolens.evaluate.folds import EXTERNAL, HOLDOUT, LEAVE_ONE_SITE_OUT
from phenolens.report import words
from phenolens.report.baselines import size_alone
from phenolens.report.names import Names
from phenolens.report.record import Record, model_name
from phenolens.report.story import FEW, counts, is_p
from phenolens.report.tables import whole

SMALL = 100
"""Patients below which the page says that the study is small."""
NEAR_PERFECT = 0.98
"""Macro AUC from which the page asks to look for a leak first."""


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
        said.append(("warning", f"{model} is not told apart from chance (permutation p {is_p(float(test['p']))})."))
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
