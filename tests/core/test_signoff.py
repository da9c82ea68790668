from __future__ import annotations

from phenolens.core.inflation import inflates
from phenolens.core.signoff import SIGNABLE, signed, unused
from phenolens.core.types import Finding

REASON = "the score is a biopsy read before treatment"


def finding(rule: str, severity: str) -> Finding:
    return Finding(rule=rule, severity=severity, what="w", todo="mend it")  # type: ignore[arg-type]


def test_a_warning_stays_a_warning_and_shows_the_reason() -> None:
    (told,) = signed([finding("site-label", "warning")], {"site-label": REASON})
    assert (told.severity, told.signed_off) == ("warning", REASON)


def test_a_signable_error_becomes_a_warning_with_the_reason() -> None:
    (told,) = signed([finding("column-tells-target", "error")], {"column-tells-target": REASON})
    assert (told.severity, told.signed_off) == ("warning", REASON)


def test_a_leak_stays_an_error_whatever_the_reason_and_says_so() -> None:
    once = signed([finding("one-person-twice", "error")], {"one-person-twice": REASON})
    assert (once[0].severity, once[0].signed_off) == ("error", "")
    assert once[0].todo == "mend it; this error cannot be signed off"
    assert signed(once, {"one-person-twice": REASON}) == once


def test_what_is_not_signed_is_left_as_it_is() -> None:
    held = [finding("column-tells-target", "error")]
    assert signed(held, {"site-label": REASON}) == held


def test_a_sign_off_that_meets_no_finding_is_noted_with_the_nearest_rule() -> None:
    (told,) = unused([finding("site-label", "warning")], {"site-lable": REASON, "site-label": REASON})
    assert told.severity == "note"
    assert "sign_offs names 'site-lable'" in told.what
    assert "did you mean 'site-label'" in told.what


def test_only_what_can_be_true_of_an_honest_study_is_signable() -> None:
    leaks = {"one-person-twice", "rows-repeated", "image-after-event", "image-after-t0", "input-after-t0", "split-lost"}
    assert not leaks & set(SIGNABLE)


def test_a_rule_says_how_much_it_could_fake_and_an_unknown_one_says_nothing() -> None:
    assert "0.62" in inflates("one-person-twice")
    assert inflates("rows-repeated") == inflates("oversampled")
    assert inflates("how-it-was-read") == ""
