"""Collecting every fault of the tables before speaking, so that a person mends them in one go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from phenolens.core.errors import CohortError
from phenolens.core.inflation import inflates
from phenolens.core.types import Finding, Severity

_SHOWN = 10


def listed(names: Iterable[object], shown: int = _SHOWN) -> str:
    """Names joined by commas; of a long list the first ones and how many more there are."""
    all_names = [str(n) for n in names]
    more = len(all_names) - shown
    return ", ".join(all_names[:shown]) + (f" and {more} more" if more > 0 else "")


def counted(n: int, noun: str) -> str:
    """'1 patient' or '3 patients'."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def rows_of(rows: Iterable[object]) -> str:
    """'row 3' or 'rows 3, 5, 9': rows as a spreadsheet numbers them, the header being row 1."""
    numbers = list(rows)
    return f"{'row' if len(numbers) == 1 else 'rows'} {listed(numbers)}"


def place(table: str, rows: Iterable[object] = (), column: str = "") -> str:
    """'images.csv row 3, column mpp'."""
    numbers = list(rows)
    text = f"{table} {rows_of(numbers)}" if numbers else table
    return f"{text}, column {column}" if column else text


def did_you_mean(name: str, options: Iterable[object], cutoff: float = 0.5) -> str:
    """The option spelled most like `name` whatever its case, as a clause; empty when none is near."""
    by_lower = {str(o).casefold(): str(o) for o in options}
    hits = get_close_matches(name.casefold(), list(by_lower), n=1, cutoff=cutoff)
    return f" (did you mean '{by_lower[hits[0]]}'?)" if hits else ""


@dataclass
class Log:
    """Errors and findings met so far; `stop` raises one CohortError with all errors."""

    faults: list[CohortError] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def fault(self, found: str, *, expected: str, todo: str, where: str) -> None:
        self.faults.append(CohortError(found, expected=expected, todo=todo, where=where))

    def find(
        self, rule: str, severity: Severity, what: str, *, todo: str, who: Sequence[str] = (), where: str = ""
    ) -> None:
        more = {"where": where, "inflates": inflates(rule)}
        self.findings.append(Finding(rule=rule, severity=severity, what=what, todo=todo, who=tuple(who), **more))

    def stop(self) -> None:
        """Raise what was collected: the fault itself when there is one, a list of them when there are several."""
        if len(self.faults) == 1:
            raise self.faults[0]
        if self.faults:
            lines = "".join(f"\n  {fault}" for fault in self.faults)
            raise CohortError(
                f"{len(self.faults)} faults:{lines}\n", expected="tables without them", todo="correct each"
            )
