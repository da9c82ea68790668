"""The facts of a finished run, each a sentence with its numbers and the file it stands in."""

from __future__ import annotations

from phenolens.report import facts_cohort, facts_design, facts_images, facts_model, facts_results
from phenolens.report.fact import Fact
from phenolens.report.names import Names
from phenolens.report.record import Record

_ROOMS = (facts_cohort, facts_design, facts_images, facts_model, facts_results)


def known() -> frozenset[str]:
    """The names of all facts, as a checklist's `source` says them."""
    return frozenset(name for room in _ROOMS for name in (*room.FACTS, *room.NAMED)) | frozenset(facts_results.COMPARED)


def gather(record: Record, names: Names) -> dict[str, Fact]:
    """Every fact that the run's files hold, by name; what they do not hold is absent."""
    found: dict[str, Fact | None] = {}
    for room in _ROOMS:
        found |= {name: extract(record) for name, extract in room.FACTS.items()}
        found |= {name: extract(record, names) for name, extract in room.NAMED.items()}
    compared = facts_results.pairs(record)
    found |= {name: extract(record, compared) for name, extract in facts_results.COMPARED.items()}
    return {name: fact for name, fact in sorted(found.items()) if fact is not None}
