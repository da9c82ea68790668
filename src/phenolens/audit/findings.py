"""From tests to findings, with one rate of error for the whole audit.

Every test of the audit that can end in a finding takes part in Holm's correction (Holm 1979). The null run has no p: it
is flagged by a rule, three standard errors of its runs. What the rules may flag by chance is taken from the 5% first,
and the tests share what is left, so that an honest study has any finding at all in at most 5% of the cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scipy import stats

from phenolens.core.types import Finding, Severity
from phenolens.evaluate.compare import holm

ALPHA = 0.05
NULL_RUN = "null-run"
_RULE_SE = 3.0


@dataclass(frozen=True, kw_only=True)
class Test:
    """One test: its name (the rule of its finding), statistic, p (None where a rule decides, or it was not run).

    `what` says the result in words, `who` names the patients it touches, `inflates` how much it could fake, `todo` what
    to do. `severity` is that of the finding when p is small; None where nothing follows from it, as `what` says.
    """

    __test__ = False

    name: str
    statistic: float | None
    p: float | None
    what: str
    who: tuple[str, ...] = ()
    inflates: str = ""
    todo: str = ""
    severity: Severity | None = None


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Tests with Holm's p (None where there is no p), the level it is compared with, and the findings."""

    tests: tuple[Test, ...]
    p_holm: tuple[float | None, ...]
    level: float
    findings: tuple[Finding, ...]

    def rows(self) -> list[dict[str, Any]]:
        """The tests as JSON."""
        return [
            {**asdict(test), "who": list(test.who), "p_holm": p}
            for test, p in zip(self.tests, self.p_holm, strict=True)
        ]


def judge(
    tests: Sequence[Test],
    null_runs: Sequence[Mapping[str, Any]] = (),
    sign_offs: Mapping[str, str] | None = None,
    *,
    spent: float = 0.0,
) -> Judged:
    """Findings of the tests whose p by Holm's correction is below the level, and of the null runs that are flagged.

    null_runs are those of `null_run.null_run`, with the model's name under "model"; sign_offs maps a rule to the
    author's reason; `spent` is what other rules may flag by chance.
    """
    adjusted = holm([float("nan") if t.p is None else t.p for t in tests])
    p_holm = tuple(None if t.p is None else p for t, p in zip(tests, adjusted, strict=True))
    level = level_after(null_runs) - spent
    reasons = dict(sign_offs or {})
    found = [_of_null_run(run) for run in null_runs if run["flagged"]]
    found += [_of_test(t, p) for t, p in zip(tests, p_holm, strict=True) if t.severity and p is not None and p < level]
    signed = tuple(_signed(f, reasons) for f in found)
    return Judged(tests=tuple(tests), p_holm=p_holm, level=level, findings=signed)


def level_after(null_runs: Sequence[Mapping[str, Any]]) -> float:
    """What is left of ALPHA for the tests: each null run is flagged by chance as often as t is above three."""
    spent = sum(float(stats.t.sf(_RULE_SE, max(int(run["runs"]) - 1, 1))) for run in null_runs)
    return max(ALPHA - spent, ALPHA / 5)


def _of_test(test: Test, p: float) -> Finding:
    assert test.severity is not None
    return Finding(
        rule=test.name,
        severity=test.severity,
        what=f"{test.what} (p = {test.p:.3f}, {p:.3f} after Holm's correction over the audit)",
        todo=test.todo,
        who=test.who,
        where="audit",
        inflates=test.inflates,
    )


def _of_null_run(run: Mapping[str, Any]) -> Finding:
    score = "Uno's C" if "Uno" in str(run.get("statistic", "")) else "AUC"
    return Finding(
        rule=NULL_RUN,
        severity="error",
        what=(
            f"the procedure of {run['model']} finds signal in shuffled labels: mean fold-mean {score} "
            f"{run['mean']:.3f} over {run['runs']} runs, where {0.5 + run['threshold']:.3f} is the limit"
        ),
        todo="look for what reads test labels: a selection, scaling or stopping outside the fold, or copied patients",
        where="audit",
        inflates=f"the {score} by about {run['mean'] - 0.5:.2f}, as measured here",
    )


def _signed(finding: Finding, reasons: Mapping[str, str]) -> Finding:
    reason = reasons.get(finding.rule, "")
    return Finding(**{**asdict(finding), "who": tuple(finding.who), "signed_off": reason})


def in_words(finding: Finding, most: int = 8) -> str:
    """A finding in a line: how bad, what, who, how much it could inflate, what to do."""
    who = f" [{', '.join(finding.who[:most])}{', …' if len(finding.who) > most else ''}]" if finding.who else ""
    inflates = f"; could inflate {finding.inflates}" if finding.inflates else ""
    signed = f"; signed off: {finding.signed_off}" if finding.signed_off else ""
    return f"{finding.severity}: {finding.rule}: {finding.what}{who}{inflates}; to do: {finding.todo}{signed}"
