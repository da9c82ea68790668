"""One-vs-rest area under the ROC curve of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from phenolens.evaluate.metric import NotEstimable, Probabilities, Truth, rank_auc


@dataclass(frozen=True, kw_only=True)
class Auc:
    """For each class, the chance that a unit of it gets a higher probability of it than a unit of another class."""

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Area under the ROC curve, each class against the rest."
    reads: ClassVar[str] = "probabilities"
    better: ClassVar[Literal["higher", "lower"]] = "higher"
    per_class: ClassVar[bool] = True
    floor: ClassVar[int] = 10
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    single: ClassVar[str] = "delong"

    def compute(self, truth: Truth, p: Probabilities, classes: Sequence[str]) -> dict[str, float]:
        """One area a class that has units with and without it here; `NotEstimable` where none has."""
        areas = {}
        for i, name in enumerate(classes):
            positive = truth == i
            if positive.any() and not positive.all():
                areas[name] = rank_auc(p[:, i], positive)
        if not areas:
            raise NotEstimable("the test set holds one class only")
        return areas


plugin = Auc
