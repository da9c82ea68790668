"""Slope of the logistic recalibration of each class's probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from phenolens.core.types import Interval
from phenolens.evaluate.calibration import slope
from phenolens.evaluate.interval import wald
from phenolens.evaluate.logistic import Codes
from phenolens.evaluate.metric import NotEstimable, Probabilities, Truth, by_class


@dataclass(frozen=True, kw_only=True)
class CalibrationSlope:
    """For each class the slope of logit P(class) on its log odds: 1 is perfect, below 1 too extreme, above 1 too timid.

    The slope of a small test set runs high: of a perfect model, on the mean over 400 draws, 1.5 with 20 patients, 1.13
    with 40 and 1.04 with 100 (log odds of standard deviation 1). Hence the 40 patients that each test set needs.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Slope of the recalibration of each class: 1 perfect, below 1 too extreme."
    reads: ClassVar[str] = "probabilities"
    better: ClassVar[Literal["higher", "lower", "target"]] = "target"
    target: ClassVar[float] = 1.0
    per_class: ClassVar[bool] = True
    floor: ClassVar[int] = 10
    least: ClassVar[int] = 40
    advised: ClassVar[int] = 100
    single: ClassVar[str] = "own"

    def compute(self, truth: Truth, p: Probabilities, classes: Sequence[str]) -> dict[str, float | NotEstimable]:
        """One slope a class; the reason where the class is missing, separated, or certain (exactly 0 or 1)."""
        return by_class(lambda q, positive: float(slope(q, positive).coefficients[1]), truth, p, classes)

    def on_one_set(
        self, truth: Truth, p: Probabilities, patient: Codes, classes: Sequence[str], part: str, _seed: int
    ) -> tuple[Interval | None, float | None]:
        """The Wald interval and the variance of the class's slope; patients are independent."""
        column = list(classes).index(part)
        fitted = slope(p[:, column], truth == column)
        variance = float(fitted.variances(patient)[1])
        return wald(float(fitted.coefficients[1]), variance), variance


plugin = CalibrationSlope
