"""Tiles a second into `tile_cnn`, decoded by one and two workers, against the network alone on a decoded batch.

python benchmarks/tile_cnn.py [--backbone resnet10t] [--px 224] [--batch 16] [--steps 6] [--rounds 5]

Training steps (forward, backward, AdamW) on tiles stored as JPEG at quality 90 by the encoder `pixels`, drawn class →
patient → tile, with flips, turns and zoom; one thread of torch. Goal: 95% of the network alone.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from _feeding import speed
from phenolens.core.types import Example, Frame, Part
from phenolens.features import tilefile
from phenolens.features.encoders.pixels import Pixels
from phenolens.features.tilefile import Spool, TileFile
from phenolens.models.zoo.tile_cnn import TileCnn
from phenolens.tasks.classification import Classification


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="resnet10t")
    for name, value in (("px", 224), ("batch", 16), ("steps", 6), ("rounds", 5), ("tiles", 64)):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        examples = [write(Path(folder), i, asked.tiles, asked.px) for i in range(4)]
        model = TileCnn(backbone=asked.backbone, weights="none", batch=asked.batch)
        task = Classification(target="subtype", classes=("A", "B"))
        found = speed(model, examples, task, workers=(1, 2), steps=asked.steps, rounds=asked.rounds)
    print(f"{asked.backbone}, tiles of {asked.px} px, batch {asked.batch}: alone {found.alone:.1f} tiles/s")
    for workers, rate in found.fed.items():
        print(f"  {workers} worker{'s' * (workers > 1)}: {rate:.1f} tiles/s, {found.share(workers):.1%} of it")


def write(folder: Path, i: int, tiles: int, px: int) -> Example:
    """A patient with a file of noisy stripes, which compress about as tissue does."""
    rng = np.random.default_rng(i)
    y, x = np.mgrid[:px, :px]
    waves = 150 + 50 * np.sin((x + y) / rng.uniform(2, 9, (tiles, 1, 1))) + rng.normal(0, 20, (tiles, px, px))
    pixels = np.clip(waves[..., None] + np.array([30, -20, 20]), 0, 255).astype(np.uint8)
    spool = Spool()
    spool.add(Pixels().encode(pixels, 0.25))
    frame = Frame(shape=(tiles * px, px), spacing=(0.25, 0.25), origin=(0.0, 0.0), unit="um")
    xy = np.column_stack([np.arange(tiles) * px, np.zeros(tiles, np.int64)])
    path = folder / f"{i}.h5"
    tilefile.write(path, spool, None, (frame, xy, float(px)), {"size_px": px, "recipe": str(i)})
    spool.close()
    part = Part(name="slide", image=str(i), source=TileFile(path))
    return Example(patient=f"p{i}", unit_id=f"p{i}", parts=(part,), targets={"subtype": "AB"[i % 2]})


if __name__ == "__main__":
    main()
