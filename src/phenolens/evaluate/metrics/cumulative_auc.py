"""Area under the cumulative/dynamic ROC curve at each horizon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from phenolens.evaluate.survival_curves import Floats
from phenolens.evaluate.survival_measures import SurvivalSample, cumulative_auc, per_horizon


@dataclass(frozen=True, kw_only=True)
class CumulativeAuc:
    """The chance that who has the event by the horizon had a higher risk than who is still without it then."""

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Area under the time-dependent ROC curve at each horizon."
    reads: ClassVar[str] = "survival"
    better: ClassVar[Literal["higher", "lower"]] = "higher"
    per_horizon: ClassVar[bool] = True
    floor: ClassVar[int] = 10
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def compute(self, sample: SurvivalSample) -> dict[str, float]:
        """The value at each horizon that has one; `NotEstimable` where none has."""
        return per_horizon(self.resampled(sample))

    def resampled(self, sample: SurvivalSample, counts: Floats | None = None) -> dict[str, Floats]:
        """The values in each resample by horizon."""
        return {f"{h:g}": cumulative_auc(sample, h, counts) for h in sample.follow_up.horizons}


plugin = CumulativeAuc
