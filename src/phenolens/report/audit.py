"""The audit for a reader: what it found, chance and the null run of each model, sites; each picture with a reading."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from phenolens.core.predictions import STRATA
from phenolens.report import figures_audit, words
from phenolens.report.names import Names
from phenolens.report.pictures import Album
from phenolens.report.record import Record, model_name

_LISTED = 60
_LABELLED: Mapping[str, str] = {"outcome": "label", "how": "", "score": "AUC", "who": "Classes"}
_FOLLOWED: Mapping[str, str] = {
    "outcome": "follow-up",
    "how": ", time and event together,",
    "score": "Uno's C",
    "who": "Events",
}
"""What the page calls the outcome, how it is shuffled, and what is measured of it."""
_NAMES: Mapping[str, str] = {
    "acquisition-shortcut": "how the images were made",
    "missingness-shortcut": "which sequences are missing",
    "size-alone": "size alone",
    "site-confounding": "site confounding",
}


def view(record: Record, names: Names, album: Album) -> dict[str, Any]:
    """Findings, tests in words, and two figures with their readings; `tests` is empty where there was no audit."""
    tests, said = list(record.tests), _said(record)
    titles = [_title(test) for test in tests]
    drawable = [(test, title) for test, title in zip(tests, titles, strict=True) if _drawable(test)]
    picture = ""
    if drawable:
        picture = album.figure(figures_audit.null([t for t, _ in drawable], [title for _, title in drawable]))
    return {
        "words": said,
        "tests": [_test(test, names) for test in tests],
        "figure": picture,
        "reading": _chance([test for test, _ in drawable], said["outcome"]),
        "findings": _findings(record, names),
        "shortcuts": [_shortcut(row, record.audit, names) for row in record.audit.get("tests", [])],
        "draws": int(record.audit.get("draws", 0)),
        "level": words.number(record.audit.get("level"), 3),
        "sites": _sites(record, names, album),
    }


def _said(record: Record) -> Mapping[str, str]:
    return _LABELLED if record.survival is None else _FOLLOWED


def _title(test: Mapping[str, Any]) -> str:
    return ", ".join(model_name(str(m)) for m in test.get("models", [test.get("model", "")]))


def _drawable(test: Mapping[str, Any]) -> bool:
    if test["p"] is None or not test["null"].get("drawn"):
        return False
    return all(isinstance(v, int | float) and math.isfinite(v) for v in (test["observed"], *test["null"]["drawn"]))


def _chance(tests: list[Mapping[str, Any]], outcome: str) -> str:
    """How to read the histograms, with what they show here."""
    if not tests:
        return ""
    beyond = [_title(t) for t in tests if t["p"] < 0.05]
    within = any(str(t.get("strata", "")).startswith("within site") for t in tests)
    said = f"Grey: what the same procedure scores when {outcome}s mean nothing"
    said += " within a site (what the site alone gives stays in it)" if within else ""
    said += f". Blue: what it scored with the real {outcome}s. "
    if len(beyond) == len(tests):
        return said + "The blue line lies beyond what shuffling gives: chance is an unlikely explanation."
    if not beyond:
        return said + "The blue line lies among the grey bars: chance can explain the result."
    return said + f"Only for {words.listed(beyond)} does the blue line lie beyond what shuffling gives."


def _test(test: Mapping[str, Any], names: Names) -> dict[str, Any]:
    null, run = test.get("null", {}), test.get("null_run", {})
    refitted, title = str(test.get("refitted", "")), _title(test)
    there = test["p"] is not None
    middle = words.limits(null.get("q025"), null.get("q975"))
    return {
        "model": title,
        "stand_in": "" if model_name(refitted) == title else refitted,
        "observed": words.number(test.get("observed")),
        "null": f"{words.number(null.get('median'))} ({middle})" if there else "–",
        "p": words.p_value(test["p"]),
        "why": words.sentence(names.text(str(test.get("why", "")))),
        "permutations": int(test.get("permutations", 0)),
        "scheme": " of ".join(words.count(int(test.get(f"{w}s", 0)), w) for w in ("fold", "patient")),
        "strata": str(test.get("strata", "")),
        "run_mean": words.number(run.get("mean")),
        "run_limit": words.number(0.5 + run["threshold"]) if "threshold" in run else "–",
        "runs": int(run.get("runs", 0)),
        "flagged": bool(run.get("flagged", False)),
        "verdict": verdict(test),
        "good": there and test["p"] < 0.05 and not run.get("flagged", False),
        "notes": [words.sentence(names.text(str(note))) for note in test.get("notes", [])],
    }


def verdict(test: Mapping[str, Any]) -> str:
    """The test and the null run in a sentence."""
    if test.get("null_run", {}).get("flagged"):
        return "The procedure finds signal in shuffled outcomes: its results cannot be trusted until that is explained."
    if test["p"] is None:
        return "No p is given: see the reason below."
    if test["p"] < 0.05:
        return "Chance is an unlikely explanation of this result, and the null run is clean."
    return "Chance can explain this result: no signal was shown."


def _findings(record: Record, names: Names) -> list[dict[str, Any]]:
    rows = []
    for found in record.audit.get("findings", []):
        who = [str(w) for w in found["who"]]
        rows.append(
            {
                "severity": found["severity"],
                "rule": found["rule"],
                "what": words.sentence(names.text(str(found["what"]), who)),
                "who": [names.who(w) for w in who[:_LISTED]],
                "more": max(0, len(who) - _LISTED),
                "inflates": names.text(str(found["inflates"]), who),
                "todo": names.text(str(found["todo"]), who),
                "signed_off": names.text(str(found["signed_off"]), who),
            }
        )
    return rows


def _shortcut(row: Mapping[str, Any], audit: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """A test on metadata, missing parts, size or site in a row."""
    found = {f["rule"] for f in audit.get("findings", [])}
    return {
        "name": _NAMES.get(str(row["name"]), str(row["name"])),
        "statistic": words.number(row["statistic"]),
        "p": words.p_value(row["p"]),
        "p_holm": words.p_value(row["p_holm"]),
        "what": words.sentence(names.text(str(row["what"]), [str(w) for w in row["who"]])),
        "tag": "not tested" if row["p"] is None else "finding" if row["name"] in found else "clean",
    }


def _sites(record: Record, names: Names, album: Album) -> dict[str, Any]:
    """The panel of sites: who has which label where, and which AUCs the site and the models reach; empty without."""
    sites = record.audit.get("sites") or {}
    if not sites.get("shares"):
        return {}
    classes, said = STRATA if record.survival is not None else record.classes, _said(record)
    shares = [(names.site(str(s["site"])), int(s["n"]), [s["shares"][c] for c in classes]) for s in sites["shares"]]
    read, readable = [], sites["readable"]
    if "auc" in readable:
        read.append(("site, from the features (AUC)", float(readable["auc"]), "site"))
    if sites["site_only"] is not None:
        read.append((f"{said['outcome']}, from the site alone", float(sites["site_only"]), "site"))
    for model, value in sites["within_site_auc"].items():
        if value is not None:
            read.append((f"{said['outcome']} within sites: {model_name(model)}", float(value), "model"))
    picture = album.figure(figures_audit.sites(shares, classes, read, score=said["score"])) if read else ""
    return {
        "figure": picture,
        "reading": _site_reading(record, sites),
        "facts": _site_facts(sites, names, said["outcome"]),
    }


def _site_reading(record: Record, sites: Mapping[str, Any]) -> str:
    found, what = {f["rule"] for f in record.audit.get("findings", [])}, _said(record)["outcome"]
    within = {model_name(m): v for m, v in sites["within_site_auc"].items() if v is not None}
    best = max(within, key=lambda m: within[m], default="")
    told = f" Among patients of one site the best model, {best}, scores {words.number(within[best])}." if best else ""
    if "site-confounding" in found:
        only = words.number(sites["site_only"])
        return (
            f"Sites differ in their patients and the features tell the sites apart: a model can score {only} by "
            f"knowing the hospital and nothing of the tumour.{told} Believe what holds within sites."
        )
    if "p" in sites["readable"] and sites["readable"]["p"] < 0.05:
        return f"The features tell the sites apart, but the {what} does not follow the site here beyond chance.{told}"
    return f"No sign that the models could have used the hospital in place of the tumour.{told}"


def _site_facts(sites: Mapping[str, Any], names: Names, outcome: str) -> list[str]:
    """The figures behind the panel, one sentence each."""
    said, readable, robust = [], sites["readable"], sites["robustness"]
    if sites["label_p"] is not None:
        said.append(
            f"{outcome.capitalize()} and site are independent: p = {words.p_value(sites['label_p'])} ({outcome}s moved "
            "between sites)."
        )
    if "auc" in readable:
        said.append(
            f"Site from the features, in the fold: AUC {words.number(readable['auc'])} (shuffled sites "
            f"{words.number(readable['null'])}), balanced accuracy {words.number(readable['balanced_accuracy'])} over "
            f"{readable['sites']} sites, p = {words.p_value(readable['p'])} (sites moved {readable['moved']})."
        )
    elif readable:
        said.append(words.sentence(f"Site from the features: not tested, {names.text(str(readable['why_not']))}"))
    if robust.get("index") is not None:
        said.append(
            f"Robustness index {words.number(robust['index'])} (de Jong and others 2025; by chance "
            f"{words.number(robust['by_chance'])}): of the {robust['neighbours']} nearest patients in feature space "
            f"{robust['same_label']:.0%} share the label, {robust['same_site']:.0%} the site; above 1 the label leads."
        )
    for model, gap in sites["gap"].items():
        a, b = gap["cross_validation"], gap["leave_one_site_out"]
        if a is not None and b is not None:
            said.append(
                f"{model_name(model)}: {words.number(a)} when patients of all sites are in training, {words.number(b)} "
                f"when their site is left out (difference {words.number(a - b)})."
            )
    if sites["folds_drawn"]:
        said.append("The study keeps sites whole in its folds; for these tests folds were drawn that mix them.")
    return said
