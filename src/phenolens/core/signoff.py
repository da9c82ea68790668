"""Sign-offs: the author's reason in the study file for going on in spite of a finding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from phenolens.core.errors import nearest
from phenolens.core.types import Finding

SIGNABLE: Mapping[str, str] = MappingProxyType(
    {
        "column-tells-target": "a single measurement can be that good, and only the author knows how it came about",
        "near-duplicate-patients": "pictures can look alike without being copies, and only a person can look at them",
    }
)
"""Rules whose error a sign-off turns into a warning, with why. Every other error stands: it would make a result false,
whatever the reason."""
LEAST = 10
"""Characters of a reason."""
UNUSED = "sign-off-unused"
OF_AUDIT = frozenset(
    {
        *("acquisition-shortcut", "missingness-shortcut", "size-alone", "site-confounding", "null-run"),
        "near-duplicate-patients",
    }
)
"""Rules that phenolens audit alone can find: a sign-off of one is not unused because a run did not find it."""
_STANDS = "this error cannot be signed off"


def signed(findings: Iterable[Finding], sign_offs: Mapping[str, str]) -> list[Finding]:
    """The findings with the reasons that the study file gives for their rules.

    A warning or note keeps its place in the report and shows the reason. An error of a rule in SIGNABLE becomes a
    warning; any other error stays one and says so. Signing twice changes nothing.
    """
    return [_sign(f, sign_offs.get(f.rule, "")) for f in findings]


def unused(findings: Sequence[Finding], sign_offs: Mapping[str, str]) -> list[Finding]:
    """A note for each sign-off of a rule that no finding is of: mistyped, mended, or of a check that was not run."""
    rules = sorted({f.rule for f in findings})
    return [
        Finding(
            rule=UNUSED,
            severity="note",
            what=f"sign_offs names '{rule}', and no finding is of that rule{nearest(rule, rules)}",
            todo="correct or remove it",
            where="study.yaml, sign_offs",
        )
        for rule in sorted(set(sign_offs) - set(rules) - OF_AUDIT)
    ]


def _sign(finding: Finding, reason: str) -> Finding:
    if not reason:
        return finding
    if finding.severity != "error":
        return replace(finding, signed_off=reason)
    if finding.rule in SIGNABLE:
        return replace(finding, severity="warning", signed_off=reason)
    todo = finding.todo if finding.todo.endswith(_STANDS) else f"{finding.todo}; {_STANDS}"
    return replace(finding, todo=todo)
