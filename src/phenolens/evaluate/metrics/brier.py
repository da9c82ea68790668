"""Mean squared distance between probabilities and truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from phenolens.evaluate.metric import Probabilities, Truth


@dataclass(frozen=True, kw_only=True)
class Brier:
    """Half the sum over classes of the squared differences (Brier 1950): with two classes the familiar score."""

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Mean squared error of the probabilities (0 perfect, 1 always certain and wrong)."
    reads: ClassVar[str] = "probabilities"
    better: ClassVar[Literal["higher", "lower"]] = "lower"
    per_class: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def compute(self, truth: Truth, p: Probabilities, classes: Sequence[str]) -> float:
        """The mean over units of half the squared distance."""
        return float(_losses(truth, p, classes).mean())

    def resampled(
        self, truth: Truth, p: Probabilities, classes: Sequence[str], counts: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """The mean loss of each resample, (draws,)."""
        means: npt.NDArray[np.float64] = counts @ _losses(truth, p, classes) / counts.sum(1)
        return means


def _losses(truth: Truth, p: Probabilities, classes: Sequence[str]) -> npt.NDArray[np.float64]:
    losses: npt.NDArray[np.float64] = ((p - np.eye(len(classes))[truth]) ** 2).sum(1) / 2
    return losses


plugin = Brier
