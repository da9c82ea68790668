"""The evidence record on disk, results/card.json, checklists.csv and card.md, and as a part of the page."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from phenolens.core.store import write_json, write_text
from phenolens.report import words
from phenolens.report.card import Answer, Card, Filled, as_json, missing_keys, rows
from phenolens.report.names import Names
from phenolens.report.record import Record

_CARDS = ("model_card", "datasheet")


def write(card: Card, record: Record, names: Names) -> None:
    """Write the three files under results/.

    With pseudonyms no name is in them either. Equal results give equal bytes. Raises StudyError where a name would be
    left.
    """
    content = as_json(card, record)
    table = pd.DataFrame([row for one in card.lists for row in rows(one)])
    csv, text = table.to_csv(index=False, lineterminator="\n"), markdown(card, record)
    for page in (json.dumps(content, ensure_ascii=False), csv, text):
        names.refuse_leaks(page)
    results = record.folder / "results"
    write_json(results / "card.json", content)
    write_text(results / "checklists.csv", csv)
    write_text(results / "card.md", text)


def markdown(card: Card, record: Record) -> str:
    """Model card and datasheet as Markdown, to lie beside a model that is given away."""
    study = record.manifest["study"].get("study", "study")
    lines = [f"# {study}", "", f"Study id `{record.manifest.get('study_id', '')}`. Not a medical device.", ""]
    for one in card.lists:
        if one.checklist.name not in _CARDS:
            continue
        lines += [f"## {one.checklist.title}", ""]
        for section in dict.fromkeys(a.item.section for a in one.answers):
            lines += [f"### {section}", ""]
            lines += [_line(a) for a in one.answers if a.item.section == section]
            lines.append("")
    return "\n".join(lines)


def _line(a: Answer) -> str:
    told = a.text if a.text else f"*missing*: {a.todo}"
    by = " (author's statement)" if a.state == "author statement" else ""
    beside = f" {a.beside}" if a.beside else ""
    return f"- **{a.item.topic}**{by}: {told}{beside}"


def view(card: Card, record: Record) -> dict[str, Any]:
    """What card.html shows."""
    marks = dict(record.manifest.get("fingerprints") or {})
    missing = missing_keys(card)
    return {
        "lists": [_list(one) for one in card.lists],
        "unasked": list(card.unasked),
        "sealed": bool(marks),
        "marks": sorted(marks.items()),
        "missing": len(missing),
        "block": "\n".join(["statements:", *(f'  {key}: ""  # {what}' for key, what in missing.items())]),
    }


def _list(one: Filled) -> dict[str, Any]:
    sections = dict.fromkeys(a.item.section for a in one.answers)
    n = len(one.answers)
    return {
        "title": one.checklist.title,
        "citation": one.checklist.citation,
        "n": n,
        "counts": _bar(one.counts),
        "left_out": [_left_out(why, len(ids), ids) for why, ids in one.left_out.items()],
        "score": _score(one),
        "sections": [{"name": s, "rows": [_row(a) for a in one.answers if a.item.section == s]} for s in sections],
    }


def _bar(counts: dict[str, int]) -> list[tuple[str, int, str, str]]:
    """Each state with its number, and where its part of a bar of 100 starts and how long it is."""
    whole, start, made = max(1, sum(counts.values())), 0.0, []
    for state, number in counts.items():
        share = 100 * number / whole
        made.append((state, number, f"{start:.1f}", f"{share:.1f}"))
        start += share
    return made


def _left_out(why: str, n: int, ids: Any) -> str:
    which = f" ({', '.join(ids)})" if n <= 6 else ""
    return words.sentence(f"{words.count(n, 'item')} left out{which}: {why}")


def _score(one: Filled) -> str:
    score = one.score
    if score is None:
        return ""
    return (
        f"Partial score {score['share']:.0%} ({score['evidence']:.2f} of {score['applicable']:.2f}): only what the run "
        "itself shows is counted. What a person must judge is never awarded, so it is not the score of the study."
    )


def _row(a: Answer) -> dict[str, str]:
    mark = {"evidence": "good", "author statement": "said", "missing": "warning"}[a.state]
    before = {"evidence": "The author adds: ", "author statement": "The run: ", "missing": "The run: "}[a.state]
    return {
        "id": a.item.id,
        "topic": a.item.topic,
        "state": a.state,
        "mark": mark,
        "text": a.text,
        "where": a.where,
        "beside": before + a.beside if a.beside else "",
        "todo": words.sentence(a.todo),
    }
