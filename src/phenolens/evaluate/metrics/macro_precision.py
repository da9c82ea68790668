"""Mean over classes of the share of right ones among those predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from phenolens.evaluate.metric import Probabilities, Truth, confusion_matrices, confusion_matrix


@dataclass(frozen=True, kw_only=True)
class MacroPrecision:
    """The mean over classes of right predictions of the class over all predictions of it.

    A class that occurs and is never predicted counts as 0: leaving it out would reward ignoring a rare class. A class
    that neither occurs nor is predicted in the test set is left out. As scikit-learn with `zero_division=0`.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Mean over classes of the share of right ones among those predicted."
    reads: ClassVar[str] = "probabilities"
    better: ClassVar[Literal["higher", "lower"]] = "higher"
    per_class: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def compute(self, truth: Truth, p: Probabilities, classes: Sequence[str]) -> float:  # noqa: ARG002
        """The mean precision of the classes that occur or are predicted."""
        counts = confusion_matrix(truth, p)
        asked = counts.sum(0)
        there = (counts.sum(1) > 0) | (asked > 0)
        return float((counts.diagonal() / asked.clip(min=1))[there].mean())

    def resampled(
        self,
        truth: Truth,
        p: Probabilities,
        classes: Sequence[str],  # noqa: ARG002
        counts: npt.NDArray[np.float64],
    ) -> npt.NDArray[np.float64]:
        """The mean precision of each resample, (draws,)."""
        found = confusion_matrices(truth, p, counts)
        asked = found.sum(1)
        there = (found.sum(2) > 0) | (asked > 0)
        shares = found.diagonal(axis1=1, axis2=2) / np.maximum(asked, 1)
        means: npt.NDArray[np.float64] = shares.sum(1) / there.sum(1)
        return means


plugin = MacroPrecision
