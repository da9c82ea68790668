"""From tests to findings: one rate of error for all, rules counted first, reasons kept."""

from __future__ import annotations

import pytest

from phenolens.audit.findings import Test, in_words, judge, level_after


def _test(name: str, p: float | None, severity="warning") -> Test:
    return Test(name=name, statistic=0.8, p=p, what="the label is told", who=("P1", "P2"), inflates="the AUC to 0.8",
                todo="match", severity=severity)  # fmt: skip


RUN = {"model": "forest", "mean": 0.7, "threshold": 0.04, "flagged": True, "runs": 20}


def test_holm_over_all_tests_decides_and_tests_without_p_do_not_count():
    judged = judge([_test("a", 0.012), _test("b", 0.02), _test("c", None), _test("d", 0.9)])
    assert judged.p_holm == (pytest.approx(0.036), pytest.approx(0.04), None, pytest.approx(0.9))
    assert [f.rule for f in judged.findings] == ["a", "b"]
    assert judge([_test("a", 0.03), _test("b", 0.9)]).findings == ()
    assert judge([_test("a", 0.001, None)]).findings == ()


def test_what_null_runs_flag_by_chance_is_taken_from_the_level():
    assert level_after([]) == 0.05
    assert level_after([RUN] * 3) == pytest.approx(0.05 - 3 * 0.00369, abs=1e-4)
    assert level_after([RUN] * 100) == 0.01
    assert judge([_test("a", 0.045)]).findings
    assert not judge([_test("a", 0.045)], [{**RUN, "flagged": False}] * 2).findings


def test_a_flagged_null_run_is_an_error_that_names_the_model():
    found = judge([], [RUN]).findings
    assert [(f.rule, f.severity) for f in found] == [("null-run", "error")]
    assert "forest finds signal in shuffled labels: mean fold-mean AUC 0.700" in found[0].what


def test_a_finding_says_what_who_how_much_and_what_to_do_and_keeps_its_sign_off():
    judged = judge([_test("site-confounding", 0.001)], sign_offs={"site-confounding": "matched by design"})
    said = in_words(judged.findings[0])
    for part in ("warning: site-confounding: the label is told (p = 0.001", "[P1, P2]", "could inflate the AUC to 0.8",
                 "to do: match", "signed off: matched by design"):  # fmt: skip
        assert part in said
    assert judged.rows()[0]["p_holm"] == 0.001
    assert judged.rows()[0]["who"] == ["P1", "P2"]
