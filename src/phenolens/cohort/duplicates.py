"""One person under several patient ids: what links the ids, and the groups that the links make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from phenolens.cohort.faults import counted, listed
from phenolens.core.inflation import inflates
from phenolens.core.types import Finding

RULE = "one-person-twice"
_TODO = (
    "give them one id, so that one fold holds them all, or remove the copies; a person in training and test is known "
    "to the model"
)


@dataclass(frozen=True, kw_only=True)
class Link:
    """Something that two patients or more cannot both have: who has it, what it is, and the rows it stands in."""

    who: frozenset[str]
    said: str
    where: str = ""


def one_person(links: Iterable[Link]) -> list[Finding]:
    """One error for each group of patients that links connect, directly or through others, naming all of them."""
    groups: list[tuple[set[str], list[Link]]] = []
    for link in links:
        joined = [g for g in groups if g[0] & link.who]
        groups = [g for g in groups if not g[0] & link.who]
        who = set(link.who).union(*(g[0] for g in joined))
        groups.append((who, [*(old for g in joined for old in g[1]), link]))
    return [_finding(sorted(who), own) for who, own in sorted(groups, key=lambda g: sorted(g[0]))]


def by_mark(marks: Mapping[str, Iterable[str]], noun: str) -> list[Link]:
    """A link for every mark (of the kind `noun`, such as a UID) that more than one patient has; patient -> marks."""
    having: dict[str, set[str]] = {}
    for patient, own in marks.items():
        for mark in own:
            having.setdefault(mark, set()).add(patient)
    return [
        Link(who=frozenset(who), said=f"{noun} {mark} is of {listed(sorted(who))}")
        for mark, who in sorted(having.items())
        if len(who) > 1
    ]


def _finding(who: Sequence[str], links: Sequence[Link]) -> Finding:
    return Finding(
        rule=RULE,
        severity="error",
        what=f"{counted(len(who), 'patient id')} that look like one person, {listed(who)}: {_all(links)}",
        todo=_TODO,
        who=tuple(who),
        where=next((link.where for link in links if link.where), ""),
        inflates=inflates(RULE),
    )


def _all(links: Sequence[Link]) -> str:
    more = len(links) - 3
    return "; ".join(link.said for link in links[:3]) + (f"; and {more} more" if more > 0 else "")
