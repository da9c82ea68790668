"""The long tables that every evaluation starts from: probabilities of classes, or risks and survival curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from phenolens.core.errors import ModelError

PREDICTION_KEYS = (
    "experiment",
    "scheme",
    "target",
    "model",
    "repeat",
    "fold",
    "part",
    "patient",
    "unit",
    "unit_id",
)
STRATA = ("censored", "event")
"""What a follow-up can end with, in the order of the values 0 and 1 of `event`."""
GROUPS = ("low", "high")
"""The groups of risk, in their order."""
SUBGROUP = "g_"
"""How the columns begin that say in which subgroup a patient is."""
UNKNOWN_SUBGROUP = "unknown"
SET_NONE = "-"
"""What stands in a `set_` column where no conformal set could be offered."""
SET_PATIENTS, SET_GROUPS = "set_patients", "set_groups"
"""Columns beside cross-conformal sets: the patients they were calibrated on, and in how many groups."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Probabilities of classes, one row a key of PREDICTION_KEYS.

    Beside the key: `site`, `split_hash`, `truth` (class name) and one column `p_CLASS` a class of `classes`, in that
    order, each row summing to one. `part` is "tune" or "test". The scheme "holdout" holds the locked test set.

    Further columns, where the run made them: `flag`; from the guard of the fold's model `q_CLASS` (recalibrated
    probabilities), `set_90` and `set_80` (the classes of the conformal set at alpha 0.1 and 0.2 joined by |, empty for
    the empty set, SET_NONE where none could be offered), beside cross-conformal ones SET_PATIENTS and SET_GROUPS, and
    `ood` (distance from the training patients over its threshold: above 1 is outside); `g_NAME`, the subgroup by a
    column the study names; `r_NAME`, a reader's call.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        _refuse_missing(self.table, ("truth", *self.columns))
        _refuse_twice(self.table)
        p = self.table[list(self.columns)].to_numpy(dtype=float)
        if p.size and not (np.isfinite(p).all() and np.allclose(p.sum(1), 1, atol=1e-4) and (p >= 0).all()):
            raise ModelError(
                "probabilities that are not finite, negative or do not sum to one",
                expected="a probability a class, summing to one in each row",
                todo="check the model that wrote them",
            )

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"p_{c}" for c in self.classes)


@dataclass(frozen=True, kw_only=True)
class SurvivalPredictions:
    """Risks and survival curves, one row a key of PREDICTION_KEYS.

    Beside the key: `site`, `split_hash`, `time` (follow-up, above 0, in the study's unit), `event` (1: the event was
    seen at that time, 0: censored), `risk` (higher means earlier), `group` ("low" or "high", cut on the training
    patients of the fold) and one column `s_TIME` a time of `times` (ascending), the probability of being without the
    event at that time, in 0 to 1 and never rising. `horizons` are the times a clinician asks about, `tau` the time up
    to which concordance and integrated scores look; both are among `times`. `g_NAME` as in `Predictions`.
    """

    table: pd.DataFrame
    times: tuple[float, ...]
    horizons: tuple[float, ...]

    def __post_init__(self) -> None:
        _refuse_missing(self.table, ("time", "event", "risk", "group", *self.columns))
        _refuse_twice(self.table)
        if not set(self.horizons) <= set(self.times) or list(self.times) != sorted(set(self.times)):
            raise ModelError(
                f"survival at the times {list(self.times)} with horizons {list(self.horizons)}",
                expected="ascending times that hold every horizon",
                todo="check task.horizons and task.tau",
            )
        time, event = self.table["time"].to_numpy(dtype=float), self.table["event"].to_numpy(dtype=float)
        risk, curve = self.table["risk"].to_numpy(dtype=float), self.table[list(self.columns)].to_numpy(dtype=float)
        if not (np.isfinite(time).all() and (time > 0).all() and np.isin(event, (0, 1)).all()):
            raise ModelError(
                "follow-up times that are not above 0, or events other than 0 and 1",
                expected="a time above 0 and an event of 0 or 1 in each row",
                todo="correct the columns task.time and task.event of the patients table",
            )
        falls = np.diff(curve, axis=1) <= 1e-9
        if not (np.isfinite(risk).all() and ((curve >= -1e-9) & (curve <= 1 + 1e-9)).all() and falls.all()):
            raise ModelError(
                "risks that are not finite, or survival outside 0 to 1 or rising",
                expected="a finite risk and a survival curve that never rises in each row",
                todo="check the model that wrote them",
            )

    @property
    def columns(self) -> tuple[str, ...]:
        return survival_columns(self.times)

    @property
    def tau(self) -> float:
        """The last time of the curves: concordance and integrated scores look no further."""
        return self.times[-1]


Predicted = Predictions | SurvivalPredictions
"""What a run predicts, as evaluation reads it."""


def survival_columns(times: Sequence[float]) -> tuple[str, ...]:
    """The column of survival at each time, `s_TIME`."""
    return tuple(f"s_{t:g}" for t in times)


def _refuse_missing(table: pd.DataFrame, own: Sequence[str]) -> None:
    wanted = [*PREDICTION_KEYS, "site", "split_hash", *own]
    missing = [c for c in wanted if c not in table.columns]
    if missing:
        raise ModelError(
            f"predictions without the columns {', '.join(missing)}",
            expected=f"the columns {', '.join(wanted)}",
            todo="write the table with phenolens run, or add the columns",
        )


def _refuse_twice(table: pd.DataFrame) -> None:
    twice = table.duplicated(list(PREDICTION_KEYS))
    if twice.any():
        row = table[twice].iloc[0]
        place = f"{row['model']} {row['scheme']}-{row['repeat']}-{row['fold']}"
        raise ModelError(
            f"two predictions for unit {row['unit_id']!r} of {place}",
            expected="one row a key",
            todo="remove the duplicate rows",
        )
