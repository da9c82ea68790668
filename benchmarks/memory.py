"""Peak memory of `phenolens run` on one huge synthetic slide among small ones: python benchmarks/memory.py [SIDE_PX]

A slide of 40,000 x 40,000 px is written from a pool of drawn tiles (about 600 MB on disk), joined to a small synthetic
cohort and run to its report. Printed: the largest resident set of any process of the run and their largest sum, sampled
ten times a second; the goal is a sum under 2 GiB.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from phenolens.slides.image import open_slide
from phenolens.synth.cohort import design_for, make
from phenolens.synth.scene import Scene
from phenolens.synth.slides import Layout, write

GOAL = 2 * 2**30
TILE = 256


def main() -> None:
    side = int(sys.argv[1]) if len(sys.argv) > 1 else 40_000
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder, design_for("sts-subtypes", patients_per_class=3, slide_px=700, faults=False))
        write_huge(folder, side)
        (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", "phenolens.cli", "run", "--workers", "2", str(folder)])
        largest, total = watch(process)
        spent = time.perf_counter() - start
        tiles = pd.read_csv(folder / "results" / "images.csv").set_index("image").loc["HUGE", "tiles"]
    print(f"slide of {side:,} x {side:,} px with {tiles:,} tiles, run in {spent:.0f} s, exit code {process.returncode}")
    print(f"largest process {largest / 2**20:.0f} MiB, all processes together {total / 2**20:.0f} MiB (goal < 2048)")
    sys.exit(0 if process.returncode == 0 and total < GOAL else 1)


STUDY = {
    "study": "huge",
    "tiles": {"size_px": 224, "mpp": 0.5, "max_per_patient": 200},
    "features": {"encoder": "pathomics"},
    "task": {"target": "subtype"},
    "models": ["mean_pool"],
    "validation": {"folds": 2},
    "explain": {"slides": 24, "methods": ["occlusion"]},
}


def write_huge(folder: Path, side: int) -> None:
    """A slide of drawn tumour, repeated, as one more slide of the first patient."""
    images = pd.read_csv(folder / "images.csv")
    row = images.iloc[0].to_dict()
    with open_slide(folder / row["path"]) as slide:
        middle = np.array(slide.frame.shape) // 2 - TILE
        xy = np.array([middle + TILE * np.array([i % 2, i // 2]) for i in range(4)])
        pool = list(slide.read_tiles(xy, TILE, TILE))
    write(folder / "slides" / "HUGE.svs", Scene.paint, Layout(width=side, height=side, mpp=0.5, levels=3), pool=pool)
    row |= {"image": "HUGE", "path": "slides/HUGE.svs", "annotation": None}
    pd.concat([images, pd.DataFrame([row])]).to_csv(folder / "images.csv", index=False)


def watch(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    """Largest resident set of one process and of all together, in bytes, until the run ends."""
    largest = total = 0
    done = threading.Event()
    while not done.wait(0.1):
        sizes = resident(process.pid)
        largest, total = max([largest, *sizes]), max(total, sum(sizes))
        if process.poll() is not None:
            done.set()
    return largest, total


def resident(root: int) -> list[int]:
    """Resident bytes of a process and all its descendants (Linux)."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    family = {root}
    while grown := {p for p, parent in parents.items() if parent in family} - family:
        family |= grown
    sizes = []
    for pid in family:
        try:
            sizes.append(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096)
        except OSError:
            continue
    return sizes


if __name__ == "__main__":
    main()
