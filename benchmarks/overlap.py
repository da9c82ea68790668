"""Does the encoder wait for the reader? Share of time a device's encoder process is busy: python benchmarks/overlap.py

Batches of 64 tiles of 224 px are read from a synthetic slide by one process and encoded by a ResNet-18 with random
weights in another, through `core.compute.stream`, as features are extracted. Printed for each device: the busy share
and the gap between batches, which a faster encoder would feel more.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from phenolens.core.compute import devices, stream
from phenolens.slides.image import open_slide
from tiles import make_slide

BATCHES, TILES, SIDE, SKIP = 20, 64, 224, 2


def read(number: int, slide: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    xy = np.random.default_rng(number).integers(0, 3000, (TILES, 2))
    with open_slide(slide, mpp=0.5) as opened:
        return opened.read_tiles(xy, SIDE, SIDE)


def encoder(device: str) -> Callable[[Any], tuple[float, float]]:
    import torch

    from phenolens.core.compat import import_timm

    torch.set_num_threads(1)
    network = import_timm().create_model("resnet18", pretrained=False, num_classes=0).eval().to(device)

    def encode(tiles: np.ndarray[Any, np.dtype[np.uint8]]) -> tuple[float, float]:
        start = time.perf_counter()
        with torch.inference_mode():
            network(torch.from_numpy(tiles).to(device).permute(0, 3, 1, 2).float() / 255).cpu()
        return start, time.perf_counter()

    return encode


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        slide = Path(place) / "slide.tif"
        make_slide(slide, side=4096)
        for device in devices():
            outcomes = stream(partial(read, slide=slide), encoder, range(BATCHES), workers=1, on=[device])
            spans = [outcome.unwrap() for outcome in outcomes][SKIP:]
            wall = spans[-1][1] - spans[0][0]
            busy = sum(end - start for start, end in spans)
            gap = 1000 * (wall - busy) / (len(spans) - 1)
            print(f"{device}: encoder busy {busy / wall:.1%} of {wall:.1f} s, {gap:.0f} ms between batches of {TILES}")


if __name__ == "__main__":
    sys.exit(main())
