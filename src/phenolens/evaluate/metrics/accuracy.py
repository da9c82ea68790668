"""Share of units whose most probable class is the true one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from phenolens.evaluate.metric import Probabilities, Truth, predicted


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Right predictions over all predictions; the first class wins a tie.

    Read it beside the share of the largest class.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Share of right predictions."
    reads: ClassVar[str] = "probabilities"
    better: ClassVar[Literal["higher", "lower"]] = "higher"
    per_class: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    single: ClassVar[str] = "wilson"

    def compute(self, truth: Truth, p: Probabilities, classes: Sequence[str]) -> float:  # noqa: ARG002
        """The share of units whose most probable class is the true one."""
        return float((predicted(p) == truth).mean())

    def counted(self, truth: Truth, p: Probabilities, classes: Sequence[str], part: None) -> tuple[int, int]:  # noqa: ARG002
        """How many units are right, and how many there are."""
        return int((predicted(p) == truth).sum()), len(truth)

    def resampled(
        self,
        truth: Truth,
        p: Probabilities,
        classes: Sequence[str],  # noqa: ARG002
        counts: npt.NDArray[np.float64],
    ) -> npt.NDArray[np.float64]:
        """The share of right units of each resample, (draws,)."""
        shares: npt.NDArray[np.float64] = counts @ (predicted(p) == truth) / counts.sum(1)
        return shares


plugin = Accuracy
