"""Test sets of units, whatever is told of them: what classes and horizons of a survival share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from phenolens.core.types import Interval
from phenolens.evaluate import interval as limits
from phenolens.evaluate.metric import NotEstimable

Spread = tuple[Interval | None, float | None]
"""An interval and a sampling variance of a value on one test set, either None where it cannot be told."""
Values = tuple[dict[str | None, float], dict[str | None, NotEstimable]]
"""Values by part, and for each part without one the reason."""


@dataclass(frozen=True, kw_only=True)
class Units:
    """The units of one test set: patient codes (n,), unit ids (n,) and sites (n,), one row a unit."""

    by_row: ClassVar[tuple[str, ...]] = ("patient", "unit_id", "site")
    name: tuple[int, int, str]
    patient: npt.NDArray[np.int64]
    unit_id: npt.NDArray[np.object_]
    site: npt.NDArray[np.object_]

    def rows(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Self:
        """The same fold with the chosen rows only."""
        parts: dict[str, Any] = {name: getattr(self, name)[chosen] for name in self.by_row}
        return replace(self, **parts)

    @property
    def clustered(self) -> bool:
        """Whether a patient has more than one unit here."""
        return len(np.unique(self.patient)) < len(self.patient)


@dataclass(frozen=True, kw_only=True)
class Sets(ABC):
    """All test sets of one model under one scheme, and how a metric is asked about them.

    `ratio` is test over training patients a fold; None when unknown. A part is what a metric gives one number each for
    (a class, a horizon), None where it is one number. `lacks` says what a fold without a value is short of.
    """

    lacks: ClassVar[str]
    key: dict[str, str]
    folds: tuple[Any, ...]
    ratio: float | None

    @property
    def scheme(self) -> str:
        return self.key["scheme"]

    @property
    def sites(self) -> list[str]:
        """Every site with a test unit, sorted."""
        return sorted({str(s) for fold in self.folds for s in fold.site})

    @property
    def nothing(self) -> str:
        """Why nothing at all may be estimated from these test sets; empty where something may."""
        return ""

    def at(self, site: str) -> Self:
        """The test units of one site; folds without any fall away, `ratio` stays that of the whole fold."""
        parts = (fold.rows(fold.site == site) for fold in self.folds)
        return replace(self, folds=tuple(part for part in parts if len(part.patient)))

    @property
    def n_patients(self) -> int:
        return len(np.unique(np.concatenate([fold.patient for fold in self.folds])))

    @abstractmethod
    def parts(self, metric: Any) -> list[str | None]:
        """The parts a metric has a number for."""

    @abstractmethod
    def label(self, part: str) -> str:
        """The part as it stands in the column `subgroup`."""

    @abstractmethod
    def below_floor(self, metric: Any, part: str | None) -> str:
        """Why there are too few patients for this metric; empty where there are enough."""

    def exploratory(self, metric: Any, part: str | None) -> str:
        """Why an estimate is no more than exploratory; empty where it is more."""
        del metric, part
        return ""

    @abstractmethod
    def values(self, metric: Any, fold: Any) -> Values:
        """The metric on one test set, by part, and the reason for each part without a value."""

    @abstractmethod
    def resampled(self, metric: Any, fold: Any, counts: npt.NDArray[np.float64]) -> Any:
        """A metric with a `resampled` of its own in all resamples at once, (draws,), or one such array a part;
        `counts` (draws, n) says how often a unit is drawn."""

    @abstractmethod
    def n_events(self, part: str | None) -> int:
        """Distinct test patients with the event of the part."""

    def by_formula(self, metric: Any, fold: Any, part: str | None, seed: int) -> Spread:
        """Interval and variance of a value on one test set by a formula; only for metrics that name one."""
        raise NotImplementedError

    def draws(
        self, fold: Any, chosen: Mapping[str, Any], seed: int
    ) -> dict[tuple[str, str | None], npt.NDArray[np.float64]]:
        """The metrics over resamples of the fold's patients, by name and part; resamples without a value add none.

        All resamples at once where the metric can, one after the other where it cannot.
        """
        quick = {name: metric for name, metric in chosen.items() if hasattr(metric, "resampled")}
        slow = {name: metric for name, metric in chosen.items() if name not in quick}

        def statistics(rows: npt.NDArray[np.intp]) -> dict[Hashable, float]:
            drawn = fold.rows(rows)
            found = {name: self.values(metric, drawn)[0] for name, metric in slow.items()}
            return {(name, part): value for name, values in found.items() for part, value in values.items()}

        made: dict[Any, npt.NDArray[np.float64]] = {}
        if slow:
            made = dict(limits.patient_bootstrap(statistics, fold.patient, seed=seed))
        counts = limits.patient_counts(fold.patient, seed=seed) if quick else None
        for name, metric in quick.items():
            found = self.resampled(metric, fold, np.asarray(counts))
            for part, values in found.items() if isinstance(found, Mapping) else [(None, found)]:
                made[name, part] = values[np.isfinite(values)]
        return made
