"""How long until an event, where some patients were followed for a shorter time than it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from phenolens.core.errors import ModelError
from phenolens.core.predictions import GROUPS, STRATA, SurvivalPredictions, survival_columns
from phenolens.core.types import Example

STEPS = 20
"""Even steps up to tau at which curves are given beside the horizons: what integrated scores are summed over."""
_HIGHEST_STEP = 1e-9


@dataclass(frozen=True, kw_only=True)
class Survival:
    """Predicts a risk, its group and a survival curve; `time` and `event` are the columns with the follow-up.

    `horizons` are the times to report at and `tau` (default: the last horizon) the time up to which concordance looks,
    all in the unit of `time` and kept to six significant digits, as the columns of the predictions name them.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "How long until an event, with censoring; a risk and a survival curve."
    kind: ClassVar[str] = "survival"

    target: str
    time: str
    event: str
    horizons: tuple[float, ...]
    tau: float | None = None

    def __post_init__(self) -> None:
        horizons = tuple(sorted({_short(h) for h in self.horizons}))
        object.__setattr__(self, "horizons", horizons)
        if not (self.target and self.time and self.event) or self.time == self.event:
            raise ValueError("target, time and event must be named, time and event by two columns")
        if not horizons:
            raise ValueError("horizons must name at least one time to report survival at, such as [365, 1095]")
        if not all(math.isfinite(h) and h > 0 for h in horizons):
            raise ValueError(f"horizons must lie above 0, not {list(horizons)}")
        tau = horizons[-1] if self.tau is None else _short(self.tau)
        if not horizons[-1] <= tau < math.inf:
            raise ValueError(f"tau must not lie before the last horizon, {horizons[-1]:g}, as {tau:g} does")
        object.__setattr__(self, "tau", tau)

    @property
    def times(self) -> tuple[float, ...]:
        """The times of the curves, ascending: the horizons and 20 even steps up to tau."""
        tau = float(self.tau or self.horizons[-1])
        return tuple(sorted({*self.horizons, *(_short(tau * i / STEPS) for i in range(1, STEPS + 1))}))

    @property
    def classes(self) -> tuple[str, ...]:
        """The strata in which patients are dealt to folds."""
        return STRATA

    @property
    def columns(self) -> tuple[str, ...]:
        """Risk, group (0: low, 1: high) and survival at each time of `times`."""
        return ("risk", "group", *survival_columns(self.times))

    @property
    def outcome(self) -> tuple[str, ...]:
        """The columns with time and event."""
        return (self.time, self.event)

    @property
    def known(self) -> tuple[str, ...]:
        """Time and event."""
        return ("time", "event")

    def facts(self, example: Example) -> tuple[Any, ...]:
        """Time (above 0) and event (0 or 1) of the example; raises ModelError naming the unit where they are not."""
        time, event = (example.targets.get(name) for name in self.outcome)
        if time is None or event is None or not 0 < float(time) < math.inf or float(event) not in (0.0, 1.0):
            raise ModelError(
                f"time {time!r} and event {event!r} of unit {example.unit_id!r} of patient {example.patient!r}",
                expected=f"a time above 0 in '{self.time}', 0 or 1 in '{self.event}'",
                todo="correct the patients table, or leave the patient out with where:",
            )
        return (float(time), int(event))

    def truth(self, example: Example) -> int:
        """The position of the example's stratum in `classes`: whether the event was seen."""
        return int(self.facts(example)[1])

    def unsound(self, p: npt.NDArray[np.float64]) -> str:
        """Groups other than 0 and 1, survival outside 0 to 1, or a curve that rises."""
        group, curve = p[:, 1], p[:, 2:]
        if not np.isin(group, (0, 1)).all():
            return "groups other than 0 and 1"
        if ((curve < 0) | (curve > 1)).any():
            return "survival outside 0 to 1"
        return "survival that rises with time" if (np.diff(curve, axis=1) > _HIGHEST_STEP).any() else ""

    def checked(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table with groups in words, judged as `SurvivalPredictions`."""
        names = dict(enumerate(GROUPS))
        table = table.assign(group=[names.get(g, g) for g in table["group"]])
        return SurvivalPredictions(table=table, times=self.times, horizons=self.horizons).table

    def weights(self, examples: Sequence[Example]) -> npt.NDArray[np.float64]:
        """Ones (2,): every patient counts the same. Raises ModelError where no training unit has the event."""
        if not any(self.truth(e) for e in examples):
            raise ModelError(
                f"no event among {len(examples)} training units",
                expected="patients with the event in every training set",
                todo="use fewer folds, or look at an end point that more patients have reached",
            )
        return np.ones(len(STRATA))


def _short(time: float) -> float:
    """A time with six significant digits, as the columns `s_TIME` are named."""
    return float(f"{float(time):g}")


plugin = Survival
