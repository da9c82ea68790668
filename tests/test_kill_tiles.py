"""Slow test: a study whose network is killed in training at random moments ends in the bytes of an unbroken run."""

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
from tests.test_kill import outcome, run

pytestmark = pytest.mark.slow

KILLS = 6
NETWORK = {
    "backbone": "test_resnet",
    "weights": "none",
    "width": 16,
    "dropout": 0.3,
    "stain": 0.1,
    "epochs": 4,
    "batch": 16,
    "tiles_per_epoch": 512,
    "workers": 1,
}
SCRIPT = """
import sys
from phenolens.core.progress import Progress
from phenolens.models import fit as room
from phenolens.models.checkpoint import Checkpoint
from phenolens.run import run_study
if __name__ == "__main__":
    room.Checkpoint = lambda **k: Checkpoint(every=0.2, **k)
    run_study(sys.argv[1], workers=0, progress=Progress("quiet"))
"""
"""A run that saves the state of its fits often; when it was saved makes no difference to what it ends in."""


def study(folder: Path) -> Path:
    return write_study(
        write_cohort(folder),
        tiles={"size_px": 64, "mpp": 1.0, "max_per_patient": 12},
        features={"encoder": "pixels"},
        models=[{"tile_cnn": NETWORK}],
        explain={"slides": 0},
    )


def states(folder: Path) -> dict[str, bytes]:
    """The states of fits that are not finished."""
    found = {}
    for path in (folder / "artefacts" / "checkpoints").rglob("*.safetensors"):
        try:
            found[path.name] = path.read_bytes()
        except FileNotFoundError:
            continue  # its fit ended between listing and reading
    return found


def kill_in_training(folder: Path, seconds: float) -> bool:
    """Start a run and kill its whole group so many seconds after its first new state; whether it left a state."""
    before = states(folder)
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder)], start_new_session=True)
    try:
        while states(folder) == before and process.poll() is None:
            time.sleep(0.05)
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return process.returncode != 0 and bool(states(folder))


def test_kills_in_the_middle_of_training_change_no_byte_of_a_study(tmp_path: Path) -> None:
    alone, killed = study(tmp_path / "alone"), study(tmp_path / "killed")
    run(alone)
    draw = random.Random(0)
    struck = sum(kill_in_training(killed, draw.uniform(0.1, 3.0)) for _ in range(KILLS))
    run(killed)
    print(f"\n{struck} of {KILLS} kills struck a fit in training")  # noqa: T201
    assert struck >= 3
    made, whole = outcome(killed), outcome(alone)
    assert any(name.endswith("weights.safetensors") for name in whole)
    assert "results/predictions.csv" in whole
    assert "results/tile_predictions.parquet" in whole
    assert made == whole
    assert not states(killed)
    assert not list(killed.rglob("*.part"))
