"""What survival curves know beyond Kaplan–Meier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from phenolens.evaluate.survival_curves import Floats
from phenolens.evaluate.survival_measures import SurvivalSample, alone, scaled_integrated_brier


@dataclass(frozen=True, kw_only=True)
class ScaledIntegratedBrier:
    """1 − IBS / IBS of Kaplan–Meier of all patients: 0 is no better than one curve for everyone, 1 is perfect."""

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Share of the error of Kaplan–Meier that the curves remove (0 none, 1 all)."
    reads: ClassVar[str] = "survival"
    better: ClassVar[Literal["higher", "lower"]] = "higher"
    per_horizon: ClassVar[bool] = False
    floor: ClassVar[int] = 10
    bounds: ClassVar[tuple[float, float]] = (float("-inf"), 1.0)

    def compute(self, sample: SurvivalSample) -> float:
        """The value; `NotEstimable` where there are fewer than two times or nobody is followed up to tau."""
        return alone(self.resampled(sample), "fewer than two times, or nobody is followed up to tau")

    def resampled(self, sample: SurvivalSample, counts: Floats | None = None) -> Floats:
        """The value in each resample."""
        return scaled_integrated_brier(sample, counts)


plugin = ScaledIntegratedBrier
