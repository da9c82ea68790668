"""Slow test: a run killed at ten random moments ends in the same bytes as one that was left alone; `make slow`."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.small_study import write_cohort, write_study

pytestmark = pytest.mark.slow

KILLS = 10
COMMAND = [sys.executable, "-m", "phenolens.cli", "run", "--quiet", "--workers", "2"]


def study(folder: Path) -> Path:
    return write_study(write_cohort(folder), models=["mean_pool", "sampler", {"abmil": {"epochs": 30}}])


def outcome(folder: Path) -> dict[str, bytes]:
    """Everything a run leaves but the artefacts: results and the report."""
    files = [p for p in (folder / "results").rglob("*") if p.is_file()]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in [*files, folder / "report.html"]}


def run(folder: Path) -> float:
    start = time.monotonic()
    subprocess.run([*COMMAND, str(folder)], check=True, capture_output=True)
    return time.monotonic() - start


def kill_after(folder: Path, seconds: float) -> bool:
    """Start a run and kill its whole process group; whether it was still going."""
    process = subprocess.Popen([*COMMAND, str(folder)], start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def test_ten_kills_change_no_byte_and_leave_no_partial_file(tmp_path: Path) -> None:
    alone, killed = study(tmp_path / "alone"), study(tmp_path / "killed")
    needed = run(alone)
    draw = random.Random(0)
    struck = sum(kill_after(killed, draw.uniform(1.0, max(2.0, needed * 0.6))) for _ in range(KILLS))
    run(killed)
    assert struck >= 3, f"only {struck} of {KILLS} runs were killed before their end"
    assert outcome(killed) == outcome(alone)
    assert not list(killed.rglob("*.part"))
    predictions = killed / "results" / "predictions.csv"
    assert predictions.read_bytes() == (alone / "results" / "predictions.csv").read_bytes()
