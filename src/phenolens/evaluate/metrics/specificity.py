"""Share of the units without a class that are rightly left alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from phenolens.evaluate.metric import NotEstimable, Probabilities, Truth
from phenolens.evaluate.metrics._called import Called


@dataclass(frozen=True, kw_only=True)
class Specificity(Called):
    """Of the units without the class, the share rightly left alone; see `Called` for who is called what."""

    version: ClassVar[int] = 1
    summary: ClassVar[str] = (
        "Share of those without the class that are rightly left alone, at the study's threshold if it fixes one."
    )
    reads: ClassVar[str] = "probabilities"
    better: ClassVar[Literal["higher", "lower", "target"]] = "higher"
    per_class: ClassVar[bool] = True
    floor: ClassVar[int] = 10
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    single: ClassVar[str] = "wilson"

    def compute(self, truth: Truth, p: Probabilities, classes: Sequence[str]) -> dict[str, float | NotEstimable]:
        """One share a class, or that of the positive class; the reason where no unit is there to be counted."""
        return self.shares(truth, p, classes, among=False)

    def counted(self, truth: Truth, p: Probabilities, classes: Sequence[str], part: str) -> tuple[int, int]:
        """How many units without the class are rightly left alone, and how many there are."""
        return self.share(truth, p, classes, part, among=False)


plugin = Specificity
