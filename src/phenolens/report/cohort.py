"""Who was studied: the flow of patients and images, the classes by site, and what the checks found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from phenolens.report import words
from phenolens.report.names import Names
from phenolens.report.record import Record
from phenolens.report.tables import Cell, Table, label, plain

_LISTED = 60
_SEVERITY = ("error", "warning", "note")


def flow(record: Record, names: Names) -> list[dict[str, Any]]:
    """Steps with their number and who fell out, grouped by why: quarantined apart from left out by rule."""
    unit = record.unit
    steps = []
    for step in record.manifest.get("flow", []):
        groups: dict[str, list[dict[str, str]]] = {}
        for gone in step.get("dropped", []):
            who, why = str(gone.get("who", "")), str(gone.get("why", ""))
            kind = str(gone.get("status", "dropped"))
            about = who.split(" / ")
            groups.setdefault(kind, []).append({"who": names.who(who), **reason(names.text(why, about))})
        title = str(step.get("step", "")).replace("units", f"{unit}s")
        steps.append(
            {
                "title": title,
                "n": int(step.get("n", 0)),
                "of": step.get("of"),
                "lost": [
                    {"title": _KINDS.get(k, k), "kind": k, "n": len(g), "rows": g[:_LISTED], "more": len(g) - _LISTED}
                    for k, g in sorted(groups.items(), key=lambda pair: pair[0] != "quarantined")
                ],
            }
        )
    return _without_repeats(steps)


_KINDS: Mapping[str, str] = {
    "quarantined": "Quarantined: cannot be read or fails a quality threshold",
    "missing": "Missing: no file",
    "excluded": "Left out by a rule of the study",
    "dropped": "Fell out",
}


def _without_repeats(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last step often names again those that the step before has named; they are told once."""
    told: set[str] = set()
    for step in steps:
        for group in step["lost"]:
            new = [row for row in group["rows"] if row["who"] not in told]
            told |= {row["who"] for row in group["rows"]}
            if not new:
                group["rows"] = []
        step["lost"] = [g for g in step["lost"] if g["rows"] or g["more"] > 0]
    return steps


def reason(text: str) -> dict[str, str]:
    """The parts of an error's text: what was found, what was expected, what to do."""
    found, _, rest = text.partition("; expected ")
    expected, _, todo = rest.partition("; ")
    return {"found": words.sentence(found.removeprefix("found ")), "expected": expected, "todo": todo}


def class_table(record: Record, names: Names) -> Table:
    """Patients (and units, where these are images) predicted, class by site, with the cohort's labels beside them."""
    rows = record.test_rows(record.main).drop_duplicates("unit_id")
    holdout = record.test_rows("holdout").drop_duplicates("unit_id") if "holdout" in record.schemes else rows.iloc[:0]
    if len(holdout):
        rows = rows[~rows["unit_id"].isin(holdout["unit_id"])]
    sites = sorted(set(rows["site"]) | set(holdout["site"]), key=names.site)
    held = ["locked holdout"] if len(holdout) else []
    unit = f"{record.unit}s"
    table = Table(
        f"Predicted {unit} by class and site", ["class", *map(names.site, sites), *held, "predicted", "in the tables"]
    )
    counts = Counter(zip(rows["truth"], rows["site"], strict=True))
    locked = Counter(holdout["truth"])
    labelled: Mapping[str, int] = record.manifest.get("class_counts", {})
    sums = [0] * (len(sites) + len(held) + 2)
    for name in record.classes:
        line = [counts[name, s] for s in sites]
        line += ([locked[name]] if held else []) + [sum(line) + locked[name], int(labelled.get(name, 0))]
        sums = [a + b for a, b in zip(sums, line, strict=True)]
        table.rows.append([label(name), *(Cell(f"{n:,}") for n in line)])
    table.rows.append([label("all"), *(Cell(f"{n:,}") for n in sums)])
    table.last = "total"
    people = rows["patient"].nunique() + len(set(holdout["patient"]) - set(rows["patient"]))
    if unit == "images":
        table.words = f"One prediction an image; the images come from {words.count(people, 'patient')}."
    return table


def findings(record: Record, names: Names) -> list[dict[str, Any]]:
    """What the checks found, the worst first."""
    rows = []
    for f in record.findings:
        who = [str(w) for w in f.get("who", ())]
        place = "" if names.hidden else str(f.get("where", ""))
        rows.append(
            {
                "severity": str(f.get("severity", "note")),
                "what": words.sentence(names.text(str(f.get("what", "")), who)),
                "todo": names.text(str(f.get("todo", "")), who),
                "rule": str(f.get("rule", "")),
                "who": [names.who(w) for w in who[:_LISTED]],
                "more": max(0, len(who) - _LISTED),
                "where": place,
                "inflates": str(f.get("inflates", "")),
                "signed_off": names.text(str(f.get("signed_off", "")), who),
            }
        )
    return sorted(rows, key=lambda r: _SEVERITY.index(r["severity"]) if r["severity"] in _SEVERITY else 3)


def shown_split(record: Record) -> Table:
    """Every split with its sizes and its hash."""
    table = Table("Splits", ["scheme", "repeat", "fold", "train", "tune", "test", "hash"])
    validation = record.manifest["study"]["validation"]
    for s in record.manifest.get("splits", []):
        sizes = [Cell(f"{int(s[k]):,}") for k in ("n_train", "n_tune", "n_test")]
        name = words.scheme(str(s["scheme"]), validation)
        table.rows.append([plain(name), Cell(str(s["repeat"])), Cell(str(s["fold"])), *sizes, plain(str(s["hash"]))])
    return table
