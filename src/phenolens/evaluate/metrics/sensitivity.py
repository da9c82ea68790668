"""Share of the units with a class that are rightly found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from phenolens.evaluate.metric import NotEstimable, Probabilities, Truth
from phenolens.evaluate.metrics._called import Called


@dataclass(frozen=True, kw_only=True)
class Sensitivity(Called):
    """Of the units with the class, the share rightly found; see `Called` for who is called what."""

    version: ClassVar[int] = 1
    summary: ClassVar[str] = (
        "Share of those with the class that are rightly found, at the study's threshold if it fixes one."
    )
    reads: ClassVar[str] = "probabilities"
    better: ClassVar[Literal["higher", "lower", "target"]] = "higher"
    per_class: ClassVar[bool] = True
    floor: ClassVar[int] = 10
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    single: ClassVar[str] = "wilson"

    def compute(self, truth: Truth, p: Probabilities, classes: Sequence[str]) -> dict[str, float | NotEstimable]:
        """One share a class, or that of the positive class; the reason where no unit is there to be counted."""
        return self.shares(truth, p, classes, among=True)

    def counted(self, truth: Truth, p: Probabilities, classes: Sequence[str], part: str) -> tuple[int, int]:
        """How many units with the class are rightly found, and how many there are."""
        return self.share(truth, p, classes, part, among=True)


plugin = Sensitivity
