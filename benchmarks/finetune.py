"""Phase 2 at full size on a GPU: all parameters of resnet50v2 trained on tiles of synthetic slides at 40x.

python benchmarks/finetune.py --keep FOLDER      (20 slides of 16,384 px, 2,000 tiles each: minutes on 16 cores)

The slides are drawn, tiled (224 px at 0.25 um/px) and stored by `phenolens run --until features`; then training steps
in bfloat16 on drawn tiles, decoded by 4, 8 and 16 workers, against the network alone on a batch that is already there.
The share of time the GPU waits is one minus the one over the other. Memory is the most that torch has held. Without a
GPU it says `not measured` and ends; --small tries the path on a CPU.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
import yaml

from _feeding import speed
from phenolens.core.progress import Progress
from phenolens.models.zoo.tile_cnn import TileCnn
from phenolens.run import run_study, stored_examples
from phenolens.steps.desk import Desk
from phenolens.study import Study
from phenolens.synth.cohort import design_for, make
from phenolens.tasks.classification import Classification

FULL = {"slide": 16_384, "patients": 5, "tiles": 2000, "backbone": "resnet50v2", "batch": 128, "steps": 50, "rounds": 3}
SMALL = {"slide": 1400, "patients": 2, "tiles": 12, "backbone": "test_resnet", "batch": 8, "steps": 3, "rounds": 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--small", action="store_true")
    asked = parser.parse_args()
    size = SMALL if asked.small else FULL
    if not torch.cuda.is_available() and not asked.small:
        print("fine-tuning at full size: not measured (no GPU)")
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(asked.keep or Path(folder), size)


def measure(folder: Path, size: dict[str, int | str]) -> None:
    quiet = Progress("quiet")
    design = design_for(
        "sts-subtypes", patients_per_class=size["patients"], slide_px=size["slide"], mpp=0.25, faults=False
    )
    make(folder, design, progress=quiet)
    study = {
        "study": "finetune",
        "region": {"annotation": "Tumor"},
        "tiles": {"size_px": 224, "mpp": 0.25, "max_per_patient": size["tiles"]},
        "features": {"encoder": "pixels"},
        "task": {"target": "subtype"},
        "models": [{"tile_cnn": {"backbone": size["backbone"], "weights": "none"}}],
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    run_study(folder, until="features", progress=quiet)
    ready, examples = stored_examples(Desk(study=Study.load(folder), workers=None, progress=quiet))
    total = sum(len(part.tiles() or ()) for e in examples for part in e.parts)
    model = TileCnn(backbone=str(size["backbone"]), weights="none", batch=int(size["batch"]))
    task = Classification(target="subtype", classes=ready.classes)
    workers = (4, 8, 16) if torch.cuda.is_available() else (1, 2)
    found = speed(model, examples, task, workers=workers, steps=int(size["steps"]), rounds=int(size["rounds"]))
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"{name}: {size['backbone']}, batch {model.batch}, {total} tiles of {len(examples)} patients")
    print(f"  alone {found.alone:.0f} tiles/s")
    for count, rate in found.fed.items():
        waits = max(0.0, 1 - found.share(count))
        print(f"  {count} workers: {rate:.0f} tiles/s, the device waits {waits:.1%} of the time")
    if torch.cuda.is_available():
        print(f"  memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


if __name__ == "__main__":
    main()
