"""Uno's concordance index up to tau."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from phenolens.evaluate.survival_curves import Floats
from phenolens.evaluate.survival_measures import SurvivalSample, alone, uno_c


@dataclass(frozen=True, kw_only=True)
class UnoC:
    """The chance that of two patients the one with the earlier event had the higher risk; 0.5 is guessing."""

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Uno's concordance of risk and time up to tau (0.5 guessing, 1 perfect)."
    reads: ClassVar[str] = "survival"
    better: ClassVar[Literal["higher", "lower"]] = "higher"
    per_horizon: ClassVar[bool] = False
    floor: ClassVar[int] = 10
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def compute(self, sample: SurvivalSample) -> float:
        """The value; `NotEstimable` where no pair of patients can be ordered."""
        return alone(self.resampled(sample), "the test set has no pair of patients that can be ordered")

    def resampled(self, sample: SurvivalSample, counts: Floats | None = None) -> Floats:
        """The value in each resample."""
        return uno_c(sample, counts)


plugin = UnoC
