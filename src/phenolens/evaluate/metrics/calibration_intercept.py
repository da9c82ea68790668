"""Calibration in the large of each class's probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from phenolens.core.types import Interval
from phenolens.evaluate.calibration import intercept
from phenolens.evaluate.interval import wald
from phenolens.evaluate.logistic import Codes
from phenolens.evaluate.metric import NotEstimable, Probabilities, Truth, by_class


@dataclass(frozen=True, kw_only=True)
class CalibrationIntercept:
    """For each class what must be added to its log odds (slope 1) for the mean probability to be the observed share."""

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Calibration in the large of each class: 0 perfect, above 0 probabilities too low."
    reads: ClassVar[str] = "probabilities"
    better: ClassVar[Literal["higher", "lower", "target"]] = "target"
    target: ClassVar[float] = 0.0
    per_class: ClassVar[bool] = True
    floor: ClassVar[int] = 10
    single: ClassVar[str] = "own"

    def compute(self, truth: Truth, p: Probabilities, classes: Sequence[str]) -> dict[str, float | NotEstimable]:
        """One intercept a class; the reason where the class is missing or a probability is exactly 0 or 1."""
        return by_class(lambda q, positive: float(intercept(q, positive).coefficients[0]), truth, p, classes)

    def on_one_set(
        self, truth: Truth, p: Probabilities, patient: Codes, classes: Sequence[str], part: str, _seed: int
    ) -> tuple[Interval | None, float | None]:
        """The Wald interval and the variance of the class's intercept; patients are independent."""
        column = list(classes).index(part)
        fitted = intercept(p[:, column], truth == column)
        variance = float(fitted.variances(patient)[0])
        return wald(float(fitted.coefficients[0]), variance), variance


plugin = CalibrationIntercept
