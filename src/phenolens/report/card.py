"""The evidence record: every item of the checklists is evidence, author statement or missing, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from phenolens.report import facts
from phenolens.report.checklist import Checklist, Item, checklists, prompts
from phenolens.report.conditions import why_not
from phenolens.report.fact import Fact
from phenolens.report.names import Names
from phenolens.report.record import Record
from phenolens.report.statements import fit, said, unasked

State = Literal["evidence", "author statement", "missing"]
STATES: tuple[State, ...] = ("evidence", "author statement", "missing")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One item with its state.

    `text` and `where` are the evidence or the statement, empty where it is missing. `beside` is what the run knows of
    an item that a person must answer, or what the author adds to the run's evidence. `todo` says what to write, and
    is empty unless the item is missing.
    """

    item: Item
    state: State
    text: str = ""
    where: str = ""
    beside: str = ""
    todo: str = ""


@dataclass(frozen=True, kw_only=True)
class Filled:
    """A checklist with an answer an item; `left_out` is reason -> the items that cannot apply to this kind of study."""

    checklist: Checklist
    answers: Sequence[Answer]
    left_out: Mapping[str, Sequence[str]]

    @property
    def counts(self) -> dict[str, int]:
        """How many items there are of each state."""
        return {state: sum(a.state == state for a in self.answers) for state in STATES}

    @property
    def score(self) -> dict[str, float] | None:
        """Weight of the items with evidence, and of all that apply; None for a list without weights.

        Only the run's evidence counts: statements and items that need a person are never awarded.
        """
        whole = sum(a.item.weight for a in self.answers)
        if not whole:
            return None
        got = sum(a.item.weight for a in self.answers if a.state == "evidence")
        return {"evidence": round(got, 4), "applicable": round(whole, 4), "share": round(got / whole, 4)}


@dataclass(frozen=True, kw_only=True)
class Card:
    """The filled checklists, the facts and statements they are filled from, and keys of statements nobody asks for."""

    lists: Sequence[Filled]
    facts: Mapping[str, Fact]
    statements: Mapping[str, str]
    unasked: Sequence[str]


def gather(record: Record, names: Names) -> Card:
    """The evidence record of a finished run.

    A `run` item is filled by the run, else by a statement. A `human` item is filled by a statement alone, and a `both`
    item too: the run's part of it stands beside. Blank statements and filler fill nothing.
    """
    given = {str(k): str(v) for k, v in dict(record.manifest["study"].get("statements") or {}).items()}
    statements = {key: fit(text, names) for key, words in sorted(given.items()) if (text := said(words))}
    known, asked = facts.gather(record, names), prompts()
    lists = [_filled(one, record, known, statements, asked) for one in checklists()]
    return Card(lists=lists, facts=known, statements=statements, unasked=unasked(given, asked))


def _filled(
    one: Checklist, record: Record, known: Mapping[str, Fact], statements: Mapping[str, str], asked: Mapping[str, str]
) -> Filled:
    left_out: dict[str, list[str]] = {}
    answers = []
    for item in one.items:
        reason = why_not(record, one.only) or why_not(record, item.only)
        if reason:
            left_out.setdefault(reason, []).append(item.id)
        else:
            answers.append(answer(item, known.get(item.source), statements.get(item.key, ""), asked[item.key]))
    return Filled(checklist=one, answers=answers, left_out=left_out)


def answer(item: Item, fact: Fact | None, statement: str, asked: str) -> Answer:
    """The state of one item, from the run's fact and the author's statement where there are any."""
    if item.kind == "run" and fact is not None:
        return Answer(item=item, state="evidence", text=fact.text, where=fact.where, beside=statement)
    beside = f"{fact.text} [{fact.where}]" if fact is not None and item.kind == "both" else ""
    if statement:
        where = f"study.yaml, statements.{item.key}"
        return Answer(item=item, state="author statement", text=statement, where=where, beside=beside)
    return Answer(item=item, state="missing", beside=beside, todo=_todo(item, asked))


def _todo(item: Item, asked: str) -> str:
    first = "the run does not hold it; " if item.kind == "run" else ""
    return f"{first}write under statements.{item.key}: {asked[:1].lower()}{asked[1:]}"


def missing_keys(card: Card) -> dict[str, str]:
    """The keys that only an author can fill and that are missing, with what to write."""
    asked = prompts()
    keys = {a.item.key for one in card.lists for a in one.answers if a.state == "missing" and a.item.kind != "run"}
    return {key: asked[key] for key in sorted(keys)}


def as_json(card: Card, record: Record) -> dict[str, Any]:
    """The record as results/card.json holds it."""
    manifest = record.manifest
    return {
        "study": manifest["study"].get("study"),
        "study_id": manifest.get("study_id"),
        "phenolens": (manifest.get("versions") or {}).get("phenolens"),
        "fingerprints": dict(manifest.get("fingerprints") or {}),
        "states": list(STATES),
        "facts": {name: {"text": f.text, "where": f.where} for name, f in card.facts.items()},
        "statements": dict(card.statements),
        "statements_nobody_asks_for": list(card.unasked),
        "checklists": [_list_as_json(one) for one in card.lists],
    }


def _list_as_json(one: Filled) -> dict[str, Any]:
    score = {} if one.score is None else {"partial_score": one.score}
    return {
        "name": one.checklist.name,
        "title": one.checklist.title,
        "citation": one.checklist.citation,
        "checked": one.checklist.checked,
        "counts": one.counts,
        **score,
        "left_out": [{"items": list(ids), "reason": why} for why, ids in one.left_out.items()],
        "items": [row | {"kind": a.item.kind} for a, row in zip(one.answers, rows(one), strict=True)],
    }


def rows(one: Filled) -> list[dict[str, str]]:
    """One row an item, as results/checklists.csv holds it."""
    return [
        {
            "checklist": one.checklist.title,
            "item": a.item.id,
            "section": a.item.section,
            "topic": a.item.topic,
            "state": a.state,
            "text": a.text,
            "where": a.where,
            "beside": a.beside,
            "todo": a.todo,
            "key": a.item.key,
        }
        for a in one.answers
    ]
