"""The SurvivalPredictions table as arrays: one group a model and scheme, one fold a test set, and its follow-up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from phenolens.core.errors import ModelError
from phenolens.core.predictions import SurvivalPredictions
from phenolens.evaluate.folds import tested, units
from phenolens.evaluate.metric import floor_of, values_of
from phenolens.evaluate.sets import Sets, Units, Values
from phenolens.evaluate.survival_curves import censoring_curve, kaplan_meier
from phenolens.evaluate.survival_measures import FollowUp, SurvivalSample


class SurvivalMetric(Protocol):
    """One file behind the door `metrics` that reads survival.

    `reads` is "survival", `per_horizon` whether `compute` gives one number a horizon, named as `f"{horizon:g}"`.
    `floor` is how many patients with an event up to tau, or of a metric per horizon with an event up to the horizon and
    as many followed beyond it, an estimate needs (0: none); `bounds` clips intervals. A plug-in may leave out both, and
    `resampled`, which gives the values of many resamples at once: counts (b, n) to (b,), one array or one a horizon.
    """

    version: ClassVar[int]
    summary: ClassVar[str]
    reads: ClassVar[str]
    better: ClassVar[Literal["higher", "lower"]]
    per_horizon: ClassVar[bool]

    def compute(self, sample: SurvivalSample) -> float | Mapping[str, float]:
        """The value on the given units, or one a horizon (only those that have one).

        Raises:
            NotEstimable: no value can be computed on these units.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class SurvivalFold(Units):
    """One test set: its sample, patient codes (n,), unit ids (n,) and sites (n,)."""

    by_row: ClassVar[tuple[str, ...]] = ("sample", *Units.by_row)
    sample: SurvivalSample

    def mixed(self, flip: npt.NDArray[np.bool_], other: SurvivalFold) -> SurvivalFold:
        """The same units with the other fold's forecast where `flip` (n,) is true."""
        return replace(self, sample=self.sample.mixed(flip, other.sample))


@dataclass(frozen=True, kw_only=True)
class SurvivalGroup(Sets):
    """All test sets of one model under one scheme."""

    lacks: ClassVar[str] = "there are too few events or too little follow-up"
    folds: tuple[SurvivalFold, ...]
    follow_up: FollowUp

    def parts(self, metric: Any) -> list[str | None]:
        return [f"{h:g}" for h in self.follow_up.horizons] if metric.per_horizon else [None]

    def label(self, part: str) -> str:
        return f"horizon={part}"

    def below_floor(self, metric: Any, part: str | None) -> str:
        floor, short = floor_of(metric), []
        until = self.follow_up.tau if part is None else float(part)
        if self.n_events(part) < floor:
            short.append(f"{self.n_events(part)} patients with the event by {until:g}")
        beyond = self._patients(lambda sample: sample.time > until)
        if part is not None and beyond < floor:
            short.append(f"{beyond} patients followed beyond {until:g}")
        return f"{' and '.join(short)} ({floor} needed)" if short else ""

    def values(self, metric: Any, fold: Any) -> Values:
        absent = "the test set has too few events or too little follow-up"
        return values_of(metric, self.parts(metric), absent, fold.sample)

    def resampled(self, metric: Any, fold: Any, counts: npt.NDArray[np.float64]) -> Any:
        return metric.resampled(fold.sample, counts)

    def n_events(self, part: str | None) -> int:
        """Patients whose event was seen by the horizon, or by tau."""
        until = self.follow_up.tau if part is None else float(part)
        return self._patients(lambda sample: sample.event & (sample.time <= until))

    def _patients(self, rule: Any) -> int:
        """Distinct test patients with a unit for which the rule holds."""
        return len(np.unique(np.concatenate([fold.patient[rule(fold.sample)] for fold in self.folds])))


def survival_groups(predictions: SurvivalPredictions) -> Iterator[SurvivalGroup]:
    """Every (experiment, scheme, target, model) with test rows, sorted; the order of the table's rows is no matter.

    Raises:
        ModelError: a patient with two follow-ups of one target.
    """
    known: dict[tuple[str, str], FollowUp] = {}
    for names, sets, ratio in tested(predictions.table):
        cohort = (names["experiment"], names["target"])
        if cohort not in known:
            known[cohort] = follow_up(predictions, *cohort)
        folds = tuple(_fold(rows, predictions, known[cohort]) for rows in sets)
        yield SurvivalGroup(key=names, folds=folds, ratio=ratio, follow_up=known[cohort])


def follow_up(predictions: SurvivalPredictions, experiment: str, target: str) -> FollowUp:
    """What all patients of an experiment that the table shows (tune, test and holdout, each once) say of follow-up.

    Censoring and the Kaplan–Meier curve are nuisances of measuring: nothing that is fitted or used again.

    Raises:
        ModelError: a patient with two follow-ups.
    """
    table = predictions.table
    mine = (table["experiment"].astype(str) == experiment) & (table["target"].astype(str) == target)
    people = table.loc[mine, ["patient", "time", "event"]].drop_duplicates().sort_values(["patient", "time", "event"])
    refuse_two_follow_ups(people)
    time, event = people["time"].to_numpy(dtype=float), people["event"].to_numpy(dtype=float) == 1
    return FollowUp(
        times=np.asarray(predictions.times, dtype=float),
        horizons=tuple(predictions.horizons),
        censoring=censoring_curve(time, event),
        everyone=kaplan_meier(time, event).curve,
    )


def refuse_two_follow_ups(people: pd.DataFrame) -> None:
    """Raise ModelError where a patient stands in more than one distinct row (patient, time, event)."""
    twice = people["patient"].duplicated()
    if twice.any():
        who = people["patient"][twice].iloc[0]
        times = ", ".join(f"{t:g}" for t in people["time"][people["patient"] == who])
        raise ModelError(
            f"{int(twice.sum())} patients with two follow-ups, patient {who!r} with the times {times}",
            expected="one time and event a patient",
            todo="correct the columns time and event of the predictions table",
        )


def _fold(rows: pd.DataFrame, predictions: SurvivalPredictions, follow_up: FollowUp) -> SurvivalFold:
    return SurvivalFold(**units(rows), sample=sample_of(rows, predictions, follow_up))


def sample_of(rows: pd.DataFrame, predictions: SurvivalPredictions, follow_up: FollowUp) -> SurvivalSample:
    """The rows of a table as a sample."""
    return SurvivalSample(
        time=rows["time"].to_numpy(dtype=np.float64),
        event=rows["event"].to_numpy(dtype=np.float64) == 1,
        risk=rows["risk"].to_numpy(dtype=np.float64),
        curve=rows[list(predictions.columns)].to_numpy(dtype=np.float64),
        follow_up=follow_up,
    )
