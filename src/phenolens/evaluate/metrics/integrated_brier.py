"""The Brier score of survival, averaged over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from phenolens.evaluate.survival_curves import Floats
from phenolens.evaluate.survival_measures import SurvivalSample, alone, integrated_brier


@dataclass(frozen=True, kw_only=True)
class IntegratedBrier:
    """From the first to the last time of the curves, weighted for censoring; 0 is perfect."""

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Mean squared error of the survival curves, averaged over time (0 perfect)."
    reads: ClassVar[str] = "survival"
    better: ClassVar[Literal["higher", "lower"]] = "lower"
    per_horizon: ClassVar[bool] = False
    floor: ClassVar[int] = 10
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def compute(self, sample: SurvivalSample) -> float:
        """The value; `NotEstimable` where there are fewer than two times or nobody is followed up to tau."""
        return alone(self.resampled(sample), "fewer than two times, or nobody is followed up to tau")

    def resampled(self, sample: SurvivalSample, counts: Floats | None = None) -> Floats:
        """The value in each resample."""
        return integrated_brier(sample, counts)


plugin = IntegratedBrier
