"""Reporting checklists as data: items in our own words, and from which fact or statement each is answered."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

_HERE = Path(__file__).parent
Kind = Literal["run", "human", "both"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One item of a checklist.

    `kind` says who can answer it: the run (by the fact `source`), a person (by the statement `key`), or only both
    together. `only` names the condition under which it applies; `weight` is its part of a score, 0 where there is none.
    """

    id: str
    section: str
    topic: str
    kind: Kind
    key: str
    source: str = ""
    only: str = ""
    weight: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Checklist:
    """A published checklist with its citation; `only` names the condition under which it applies at all.

    `checked` says against which copy of the publication the items were compared, or that they were not.
    """

    name: str
    title: str
    citation: str
    checked: str
    items: Sequence[Item]
    only: str = ""


def checklists() -> list[Checklist]:
    """Every list of `report/checklists/*.toml`, in the order they are shown in."""
    read = [(path.stem, tomllib.loads(path.read_text("utf-8"))) for path in (_HERE / "checklists").glob("*.toml")]
    return [_made(name, content) for name, content in sorted(read, key=lambda pair: pair[1]["order"])]


def _made(name: str, content: Mapping[str, Any]) -> Checklist:
    items = [Item(section=part["name"], **item) for part in content["section"] for item in part["items"]]
    more = {k: content[k] for k in ("title", "citation", "checked")}
    return Checklist(name=name, items=items, only=content.get("only", ""), **more)


def prompts() -> dict[str, str]:
    """Statement key -> what to write; of a key that only items of the run have, the topic of the first of them."""
    asked: dict[str, str] = tomllib.loads((_HERE / "statements.toml").read_text("utf-8"))
    topics = {item.key: item.topic for one in reversed(checklists()) for item in reversed(one.items)}
    return {key: asked.get(key, topics[key]) for key in sorted(topics)}


def keys_table() -> str:
    """The table of docs/evidence.md: every key, what to write, and the items it answers."""
    used: dict[str, list[str]] = {}
    own: set[str] = set()
    for one in checklists():
        for item in one.items:
            used.setdefault(item.key, []).append(f"{one.title} {item.id}")
            own |= {item.key} if item.kind != "run" else set()
    lines = ["| key | what to write | items |", "|---|---|---|"]
    for first in (True, False):  # keys that only an author can fill stand first
        for key, what in prompts().items():
            if (key in own) == first:
                told = what if first else f"only where the run cannot tell: {what[:1].lower()}{what[1:]}"
                lines.append(f"| `{key}` | {told} | {', '.join(used[key])} |")
    return "\n".join(lines)
