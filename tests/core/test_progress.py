"""Progress: plain lines without a terminal, a rate, silence when asked."""

from __future__ import annotations

import io

import pytest

from phenolens.core.progress import Progress


def test_without_a_terminal_lines_are_plain_and_say_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 6))
    monkeypatch.setattr("phenolens.core.progress.time.monotonic", lambda: float(next(clock)))
    out = io.StringIO()
    with Progress(out=out).step("reading", 4, "tiles") as step:
        for _ in range(4):
            step.advance()
    text = out.getvalue()
    assert "tiles/s" in text
    assert "left" in text
    assert text.splitlines()[-1].startswith("reading: 4 tiles in ")


def test_quiet_says_nothing() -> None:
    out = io.StringIO()
    progress = Progress("quiet", out)
    progress.say("hello")
    with progress.step("reading", 1, "tiles") as step:
        step.advance()
    assert out.getvalue() == ""


def test_a_bar_shows_label_count_and_rate() -> None:
    out = io.StringIO()
    with Progress("bar", out).step("reading", 2, "tiles") as step:
        step.advance(2)
    assert "reading" in out.getvalue()
    assert "2/2" in out.getvalue()
