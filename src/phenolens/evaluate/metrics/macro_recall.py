"""Mean over classes of the share found (recall, sensitivity)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from phenolens.evaluate.metric import Probabilities, Truth, mean_recalls, recalls


@dataclass(frozen=True, kw_only=True)
class MacroRecall:
    """The mean over the classes that occur of the share of their units found: by definition the balanced accuracy.

    Kept under its own name because readers look for it beside the macro precision.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Mean over classes of the share found (equals balanced accuracy)."
    reads: ClassVar[str] = "probabilities"
    better: ClassVar[Literal["higher", "lower"]] = "higher"
    per_class: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def compute(self, truth: Truth, p: Probabilities, classes: Sequence[str]) -> float:  # noqa: ARG002
        """The mean recall of the classes that occur."""
        return float(recalls(truth, p).mean())

    def resampled(
        self,
        truth: Truth,
        p: Probabilities,
        classes: Sequence[str],  # noqa: ARG002
        counts: npt.NDArray[np.float64],
    ) -> npt.NDArray[np.float64]:
        """The mean recall of each resample, (draws,)."""
        return mean_recalls(truth, p, counts)


plugin = MacroRecall
