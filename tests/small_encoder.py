"""An encoder of scans for tests: three features whose answer to noise, turn and outline is known beforehand."""

from __future__ import annotations

from pathlib import Path

SOURCE = '''"""How large a region is, how bright, and how rough its neighbours are."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Three:
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "volume, mean and roughness of a region"
    reads: ClassVar[str] = "scan"
    makes: ClassVar[str] = "bag"
    licence: ClassVar[str] = "of the test"
    place: ClassVar[str] = "cpu"
    names: ClassVar[tuple[str, ...]] = ("volume", "mean", "roughness")
    margin_mm: ClassVar[float] = 0.0

    def load(self, device):
        return self.encode

    def encode(self, crop):
        across = np.diff(crop.x.astype(float), axis=2)
        both = crop.inside[:, :, 1:] & crop.inside[:, :, :-1]
        found = [crop.inside.sum(), crop.x[crop.inside].mean(), across[both].std()]
        return np.array([found], dtype=np.float32)
'''


def write_encoder(folder: Path) -> str:
    """Write it beside a study; returns what study.yaml calls it."""
    (folder / "three.py").write_text(SOURCE)
    return "three.py:Three"
