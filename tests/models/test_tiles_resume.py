"""A fit of `tile_cnn` that was killed goes on where it was and ends in the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bagdata import split_of
from tiledata import CLASSES, QUICK, textured

from phenolens.core.errors import ModelError
from phenolens.core.registry import Choice
from phenolens.core.store import Store
from phenolens.models import fit as room
from phenolens.models.checkpoint import Checkpoint
from phenolens.models.fit import FitJob, fit

EXAMPLES = textured(14, tiles=4)
TRAINING = {**QUICK, "epochs": 3, "tiles_per_epoch": 64, "dropout": 0.3, "stain": 0.1}
"""Four steps an epoch."""


class KilledError(Exception):
    """The end of a run."""


@dataclass(kw_only=True)
class Breaking(Checkpoint):
    """A place that saves after each step and ends the run after some of them."""

    left: int
    every: float = 0.0

    def save(self, arrays: Any, told: Any) -> None:
        super().save(arrays, told)
        self.left -= 1
        if not self.left:
            raise KilledError


def job(**params: Any) -> FitJob:
    return FitJob(
        model=Choice("model", "tile_cnn", {**TRAINING, **params}),
        task=Choice("task", "classification", {"target": "subtype", "classes": CLASSES}),
        split=split_of(EXAMPLES, tune=0.3, test=0.3),
        examples=tuple(EXAMPLES),
        upstream={e.unit_id: e.unit_id for e in EXAMPLES},
    )


def stored(root: Path, key: str) -> list[bytes]:
    store = Store(root)
    fits = store.path("fits", key, ".safetensors")
    more = [store.path(kind, key, ".parquet") for kind in ("predictions", "tile_predictions")]
    return [path.read_bytes() for path in (fits, fits.with_suffix(".json"), *more)]


@pytest.mark.parametrize("frozen", [False, True])
def test_a_fit_killed_in_the_middle_of_epochs_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frozen: bool
) -> None:
    alone = stored(tmp_path / "alone", fit(job(frozen=frozen), tmp_path / "alone"))
    root = tmp_path / "killed"
    for left in (2, 3, 1, 4):
        monkeypatch.setattr(room, "Checkpoint", lambda left=left, **k: Breaking(left=left, **k))
        with pytest.raises(KilledError):
            fit(job(frozen=frozen), root)
        assert len(list((root / "checkpoints").rglob("*.safetensors"))) == 1
    told = Checkpoint(store=Store(root), key=next((root / "checkpoints").rglob("*.safetensors")).stem).load()
    assert told is not None
    assert told[1]["epoch"] == 3  # ten saves of four a step or epoch's end
    monkeypatch.setattr(room, "Checkpoint", Checkpoint)
    assert stored(root, fit(job(frozen=frozen), root)) == alone
    assert not list((root / "checkpoints").rglob("*.safetensors"))


def test_a_fit_killed_after_training_does_not_train_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = stored(tmp_path / "alone", fit(job(), tmp_path / "alone"))
    monkeypatch.setattr(room, "record", lambda **_: (_ for _ in ()).throw(KilledError))
    with pytest.raises(KilledError):
        fit(job(), tmp_path / "killed")
    monkeypatch.undo()
    from phenolens.models.tiles_training import Training

    monkeypatch.setattr(Training, "learn", lambda *_: pytest.fail("trained again"))
    assert stored(tmp_path / "killed", fit(job(), tmp_path / "killed")) == alone


def test_a_state_is_of_one_fit_alone_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    place = Checkpoint(store=Store(tmp_path), key="ab12")
    assert place.load() is None
    place.save({"x": np.arange(3.0), "n": np.array(4)}, {"epoch": 2})
    arrays, told = place.load() or ({}, {})
    assert arrays["x"].tolist() == [0, 1, 2]
    assert arrays["n"].shape == ()
    assert told == {"epoch": 2}
    assert Checkpoint(store=Store(tmp_path), key="ab13").load() is None
    place.path.write_bytes(b"half")
    with pytest.raises(ModelError, match="the state of a fit that cannot be read"):
        place.load()
    place.clear()
    place.clear()
    assert place.load() is None


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from phenolens.models import checkpoint
from test_tiles_resume import job
from phenolens.models import fit as room
from phenolens.models.checkpoint import Checkpoint
if __name__ == "__main__":
    room.Checkpoint = lambda **k: Checkpoint(every=0.0, **k)
    room.fit(job(tiles_per_epoch=640), Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_kills_by_the_system_at_any_moment_change_no_byte(tmp_path: Path) -> None:
    alone = stored(tmp_path / "alone", fit(job(tiles_per_epoch=640), tmp_path / "alone"))
    root, here = tmp_path / "killed", Path(__file__).parent
    command = [sys.executable, "-c", SCRIPT, str(root), str(here), str(here.parent.parent)]
    struck = 0
    for _ in range(6):
        process = subprocess.Popen(command, start_new_session=True)
        seen = None
        while process.poll() is None:
            files = list((root / "checkpoints").rglob("*.safetensors")) if root.exists() else []
            now = files[0].stat().st_mtime_ns if files else None
            if now is not None:
                seen = seen or (now, time.monotonic())
                if now != seen[0] and time.monotonic() - seen[1] > 1.5:
                    os.killpg(process.pid, signal.SIGKILL)
                    struck += 1
                    break
            time.sleep(0.02)
        process.wait()
        if process.returncode == 0:
            break
    assert struck >= 2
    assert stored(root, fit(job(tiles_per_epoch=640), root)) == alone
    assert not list((root / "checkpoints").rglob("*.safetensors"))
