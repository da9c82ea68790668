"""Integrated calibration index of each class's probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from phenolens.core.types import Interval
from phenolens.evaluate.calibration import CURVE_FROM, curve
from phenolens.evaluate.interval import patient_counts, percentile_interval
from phenolens.evaluate.logistic import Codes
from phenolens.evaluate.metric import NotEstimable, Probabilities, Truth, by_class


@dataclass(frozen=True, kw_only=True)
class Ici:
    """For each class the mean distance between its probability and the smooth curve of what happened (lowess).

    Austin & Steyerberg 2019, with the smoother of rms::val.prob. No curve is drawn through fewer than 200 patients: the
    distance would be that of the noise.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Mean distance between stated and smoothed observed probability of each class."
    reads: ClassVar[str] = "probabilities"
    better: ClassVar[Literal["higher", "lower", "target"]] = "lower"
    per_class: ClassVar[bool] = True
    floor: ClassVar[int] = 10
    least: ClassVar[int] = CURVE_FROM
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    single: ClassVar[str] = "own"

    def compute(self, truth: Truth, p: Probabilities, classes: Sequence[str]) -> dict[str, float | NotEstimable]:
        """One index a class that has units with and without it here."""
        return by_class(lambda q, positive: curve(q, positive).ici, truth, p, classes)

    def on_one_set(
        self, truth: Truth, p: Probabilities, patient: Codes, classes: Sequence[str], part: str, seed: int
    ) -> tuple[Interval | None, float | None]:
        """The middle 95% and the variance over resamples of whole patients, each smoothed with the same windows."""
        column = list(classes).index(part)
        drawn = curve(p[:, column], truth == column).ici_drawn(patient_counts(patient, seed=seed))
        return percentile_interval(drawn), float(drawn.var(ddof=1))


plugin = Ici
