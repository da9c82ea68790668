"""Mean of the one-vs-rest areas under the ROC curve over all classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from phenolens.evaluate.metric import NotEstimable, Probabilities, Truth, rank_auc


@dataclass(frozen=True, kw_only=True)
class MacroAuc:
    """The plain mean of the one-vs-rest areas; with two classes it is the usual area under the curve.

    Every class must occur: a mean over the classes that happen to be there would be another quantity in each fold.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Mean over classes of the one-vs-rest area under the ROC curve."
    reads: ClassVar[str] = "probabilities"
    better: ClassVar[Literal["higher", "lower"]] = "higher"
    per_class: ClassVar[bool] = False
    floor: ClassVar[int] = 10
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def compute(self, truth: Truth, p: Probabilities, classes: Sequence[str]) -> float:
        """The mean area; `NotEstimable` where a class does not occur or is the only one."""
        missing = [name for i, name in enumerate(classes) if not (truth == i).any()]
        if missing:
            raise NotEstimable(f"the test set has no patient with {', '.join(missing)}")
        return float(np.mean([rank_auc(p[:, i], truth == i) for i in range(len(classes))]))


plugin = MacroAuc
