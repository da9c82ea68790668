"""Progress of long work: a bar with rate and time left on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TextIO

Mode = Literal["auto", "bar", "plain", "quiet"]


class Step(Protocol):
    """One running piece of work."""

    def advance(self, n: int = 1) -> None: ...


@dataclass
class _PlainStep:
    """A line at the start, at most one every `every` seconds, and one at the end."""

    label: str
    total: int
    unit: str
    out: TextIO | None
    every: float = 10.0
    done: int = 0
    started: float = field(default_factory=lambda: time.monotonic())
    spoken: float = field(default_factory=lambda: time.monotonic())

    def advance(self, n: int = 1) -> None:
        self.done += n
        now = time.monotonic()
        if self.out is not None and self.done < self.total and now - self.spoken >= self.every:
            self.spoken = now
            rate = self.done / max(now - self.started, 1e-9)
            left = (self.total - self.done) / max(rate, 1e-9)
            self.out.write(
                f"{self.label}: {self.done}/{self.total} {self.unit}, {rate:.3g} {self.unit}/s, {_clock(left)} left\n"
            )
            self.out.flush()

    def close(self) -> None:
        if self.out is not None:
            spent = time.monotonic() - self.started
            self.out.write(f"{self.label}: {self.done} {self.unit} in {_clock(spent)}\n")
            self.out.flush()


@dataclass
class _BarStep:
    bar: Any
    task: Any

    def advance(self, n: int = 1) -> None:
        self.bar.advance(self.task, n)


class Progress:
    """Shows work to a person. `auto` is a bar on a terminal and plain lines elsewhere. Writes to standard error."""

    def __init__(self, mode: Mode = "auto", out: TextIO | None = None) -> None:
        self.out = out or sys.stderr
        self.mode = ("bar" if self.out.isatty() else "plain") if mode == "auto" else mode

    def say(self, text: str) -> None:
        """One line, unless quiet."""
        if self.mode != "quiet":
            self.out.write(text + "\n")
            self.out.flush()

    @contextmanager
    def step(self, label: str, total: int, unit: str) -> Iterator[Step]:
        """A piece of work of `total` `unit`s; call `advance` on what it yields."""
        if self.mode == "bar":
            with self._bar() as bar:
                yield _BarStep(bar, bar.add_task(label, total=total, unit=unit))
            return
        plain = _PlainStep(label, total, unit, None if self.mode == "quiet" else self.out)
        try:
            yield plain
        finally:
            plain.close()

    def _bar(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Rich
        from rich.text import Text

        class Rate(ProgressColumn):
            def render(self, task: Any) -> Text:
                return Text(f"{task.speed or 0:.3g} {task.fields['unit']}/s")

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            Rate(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        return Rich(*columns, console=Console(file=self.out))


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
