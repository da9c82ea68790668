"""Time and memory of a fold of a model of bags: python benchmarks/mil.py [MODEL …] [--folder PLACE] [--epochs N]

100 patients with one slide of 10,000 tiles and 1,024 features each are written as feature files (4 GB in a temporary
folder, or kept in PLACE), 64 of them train, 16 tune, 20 test. Then each model (abmil unless named) is fitted on the
fold and predicts its test patients, in a process of its own that reads the files when it needs them. A tenth of the
tiles of class B is shifted, so that there is something to learn. Printed: the wall time and the largest resident set;
the goal is under 4 GiB.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from phenolens.core.registry import MODELS
from phenolens.core.types import Bag, Example, Frame, Part, Split
from phenolens.features.bagfile import BagFile, write
from phenolens.models.fit import run_fold
from phenolens.models.guard import GuardSettings
from phenolens.tasks.classification import Classification

GOAL = 4 * 2**30
BAGS, TILES, FEATURES = 100, 10_000, 1024
FRAME = Frame(shape=(60_000, 60_000), spacing=(0.25, 0.25), origin=(0.0, 0.0), unit="um")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("models", nargs="*", default=["abmil"])
    asked.add_argument("--folder", type=Path)
    asked.add_argument("--epochs", type=int)
    asked.add_argument("--fit", action="store_true", help="fit in this process; for the benchmark itself")
    told = asked.parse_args()
    if told.fit:
        fit(told.models[0], told.folder, told.epochs)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = told.folder or Path(place)
        folder.mkdir(exist_ok=True)
        for i in range(BAGS):
            if not (folder / f"{i}.h5").exists():
                write(folder / f"{i}.h5", bag(i), {"size_px": 224, "mpp": 0.5})
        epochs = [] if told.epochs is None else ["--epochs", str(told.epochs)]
        failed = [m for m in told.models if subprocess.run([*SELF, m, "--folder", folder, *epochs]).returncode]
    sys.exit(f"over the goal: {', '.join(failed)}" if failed else 0)


SELF = (sys.executable, __file__, "--fit")


def bag(i: int) -> Bag:
    """The tiles of patient i on a square grid; in every second patient a tenth of them is shifted."""
    draw = np.random.default_rng(i)
    x = draw.standard_normal((TILES, FEATURES), dtype=np.float32)
    if i % 2:
        x[draw.permutation(TILES)[: TILES // 10], :20] += 1
    side = round(TILES**0.5)
    coords = np.column_stack([np.arange(TILES) % side, np.arange(TILES) // side]) * 112.0
    return Bag(x=x, coords=coords, extent=112.0, names=None, frame=FRAME, recipe="drawn")


def fit(name: str, folder: Path, epochs: int | None) -> None:
    """The fold, its time and the largest resident set of this process; exit code 1 above the goal."""
    who = [f"p{i:03d}" for i in range(BAGS)]
    examples = [
        Example(
            patient=p,
            unit_id=p,
            parts=(Part(name=p, image=p, source=BagFile(folder / f"{i}.h5")),),
            targets={"subtype": "AB"[i % 2]},
        )
        for i, p in enumerate(who)
    ]
    parts = {"test": who[:20], "tune": who[20:36], "train": who[36:]}
    split = Split(scheme="patient_kfold", repeat=0, fold=0, seed=0, **{k: frozenset(v) for k, v in parts.items()})
    model = MODELS.create(name, {} if epochs is None else {"epochs": epochs})
    task = Classification(target="subtype", classes=("A", "B"))
    start = time.perf_counter()
    fold = run_fold(model, task, split, examples, seed=0, name=name, guard=GuardSettings())
    spent = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    ran = fold.fitted.config().get("epochs", "-")
    test = fold.table[fold.table["part"] == "test"]
    right = (np.where(test["p_B"] > test["p_A"], "B", "A") == test["truth"]).mean()
    print(f"{name}: {spent:.0f} s, {ran} epochs, peak {peak / 2**20:,.0f} MiB (goal < 4,096), {right:.0%} right")
    sys.exit(0 if peak < GOAL else 1)


if __name__ == "__main__":
    main()
