"""Small slides, a lab's own encoders and prepared jobs, for the tests of feature extraction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

from phenolens.core.store import Store
from phenolens.features.extract import ExtractJob
from phenolens.slides.prepare import SlideJob, load_prepared, prepare
from phenolens.slides.quality import QualitySettings
from phenolens.slides.region import RegionSettings
from phenolens.slides.tiles import TileSettings

ENCODER = '''
"""A lab's own encoder: mean colour of a tile, its mpp and its spread."""
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from phenolens.core.errors import FeatureError


@dataclass(frozen=True, kw_only=True)
class Colour:
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "colour"
    reads: ClassVar[str] = "slide"
    makes: ClassVar[str] = "bag"
    licence: ClassVar[str] = "Apache-2.0"
    place: ClassVar[str] = "PLACE"
    mpp: ClassVar = None
    size_px: ClassVar = None
    names: ClassVar = ("red", "green", "blue", "mpp", "spread")

    scale: float = 1.0
    together: int = field(default=1, metadata={"key": False})
    refuse: bool = False
    log: str = field(default="", metadata={"key": False})
    weights: str = field(default="w1", metadata={"key": False})

    def fingerprint(self):
        return self.weights

    def workers_seen(self):
        return len({line.split()[0] for line in Path(self.log).read_text().splitlines()})

    def notes(self, size_px, mpp):
        return (f"tiles of {size_px} px at {mpp:g} mpp",)

    def load(self, device):
        if self.refuse:
            raise FeatureError("weights that do not fit", expected="weights that fit", todo="download them again")

        def encode(tiles, mpp):
            if self.log:
                with open(self.log, "a") as out:
                    out.write(f"{os.getpid()} {len(tiles)}\\n")
                end = time.monotonic() + 60
                while self.workers_seen() < self.together and time.monotonic() < end:
                    time.sleep(0.02)
            flat = tiles.reshape(len(tiles), -1, 3).astype(np.float32)
            extra = np.stack([np.full(len(tiles), mpp, np.float32), flat.std((1, 2))], 1)
            return np.concatenate([flat.mean(1) * self.scale, extra], 1)

        return encode
'''


def write_encoder(folder: Path, place: str = "cpu") -> str:
    """Write the encoder and return its name for a Choice whose base is the folder."""
    (folder / "colour.py").write_text(ENCODER.replace("PLACE", place))
    return "colour.py:Colour"


def write_slide(path: Path, *, side: int = 1024, seed: int = 0) -> Path:
    """A tiled TIFF of one level: smooth noise in the colours of H&E."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 230, (side // 16, side // 16, 3), dtype=np.uint8)
    picture = np.repeat(np.repeat(coarse, 16, 0), 16, 1)
    tifffile.imwrite(path, picture, tile=(256, 256), photometric="rgb", compression="deflate")
    return path


def prepared_job(root: Path, path: Path, *, size_px: int = 128, rows: tuple[int, ...] | None = None) -> ExtractJob:
    """Prepare a slide of 0.5 mpp whole, and a job for all its tiles or the given rows."""
    job = SlideJob(patient=f"p-{path.stem}", image=path.stem, path=str(path), mpp=0.5)
    none = QualitySettings(min_tissue_mm2=None, max_blur=None, max_pen=None, min_saturation=None)
    key = prepare(job, RegionSettings(tissue="none"), TileSettings(size_px=size_px, mpp=0.5), none, root)
    count = len(load_prepared(Store(root), key).xy)
    return ExtractJob(slide=job, prepared=key, rows=tuple(range(count)) if rows is None else rows)
