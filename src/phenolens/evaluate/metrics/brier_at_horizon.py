"""The Brier score of survival at each horizon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from phenolens.evaluate.survival_curves import Floats
from phenolens.evaluate.survival_measures import SurvivalSample, brier, per_horizon


@dataclass(frozen=True, kw_only=True)
class BrierAtHorizon:
    """Mean squared distance of forecast survival from being without the event then, weighted for censoring."""

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Mean squared error of forecast survival at each horizon (0 perfect)."
    reads: ClassVar[str] = "survival"
    better: ClassVar[Literal["higher", "lower"]] = "lower"
    per_horizon: ClassVar[bool] = True
    floor: ClassVar[int] = 10
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def compute(self, sample: SurvivalSample) -> dict[str, float]:
        """The value at each horizon that has one; `NotEstimable` where none has."""
        return per_horizon(self.resampled(sample))

    def resampled(self, sample: SurvivalSample, counts: Floats | None = None) -> dict[str, Floats]:
        """The values in each resample by horizon."""
        return {f"{h:g}": brier(sample, [h], counts)[:, 0] for h in sample.follow_up.horizons}


plugin = BrierAtHorizon
