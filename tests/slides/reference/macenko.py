"""Writes macenko.json: a drawn H&E picture normalised by torchstain (its NumPy version), its own reference.

pip install torchstain numpy; python tests/slides/reference/macenko.py
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torchstain.numpy.normalizers import NumpyMacenkoNormalizer

SIDE = 40


def picture() -> npt.NDArray[np.uint8]:
    """Two stains in gamma-distributed amounts under white light, with the noise of a camera."""
    draw = np.random.default_rng(7)
    stains = np.array([[0.60, 0.72, 0.34], [0.12, 0.93, 0.30]])
    amounts = draw.gamma(2.0, [0.45, 0.35], size=(SIDE, SIDE, 2))
    light = 245 * np.exp(-amounts @ stains) + draw.normal(0, 2, (SIDE, SIDE, 3))
    made: npt.NDArray[np.uint8] = light.clip(0, 255).round().astype(np.uint8)
    return made


def main() -> None:
    given = picture()
    made, _, _ = NumpyMacenkoNormalizer().normalize(I=given, Io=240, alpha=1, beta=0.15, stains=False)
    told = {
        "source": f"torchstain {version('torchstain')}, NumpyMacenkoNormalizer with its own HERef and maxCRef",
        "numpy": np.__version__,
        "given": given.tolist(),
        "normalised": np.asarray(made).tolist(),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(told, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
