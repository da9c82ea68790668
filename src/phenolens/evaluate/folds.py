"""The Predictions table as arrays: one group a model and scheme, one fold a test set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from phenolens.core.errors import ModelError
from phenolens.core.predictions import Predictions
from phenolens.core.types import Interval
from phenolens.evaluate import interval as limits
from phenolens.evaluate.metric import (
    Probabilities,
    Truth,
    advised_of,
    floor_of,
    parts_of,
    single_of,
    values_of,
)
from phenolens.evaluate.sets import Sets, Spread, Units, Values

ONE_CLASS_EACH = (
    "every test set holds one class only, so that the shares of the training patients tell the truth of the test "
    "patients; scores are never pooled over folds"
)
"""Why nothing is estimated where `Group.one_class_each` holds."""
GROUP = ["experiment", "scheme", "target", "model"]
HOLDOUT = "holdout"
LEAVE_ONE_SITE_OUT = "leave_one_site_out"
EXTERNAL = "external"
"""The scheme of a stored model's predictions on a cohort that it never saw."""


@dataclass(frozen=True, kw_only=True)
class Fold(Units):
    """One test set, one row a unit: truth (n,), p (n, k), patient codes (n,), unit ids (n,) and sites (n,)."""

    by_row: ClassVar[tuple[str, ...]] = ("truth", "p", *Units.by_row)
    truth: Truth
    p: Probabilities

    def mixed(self, flip: npt.NDArray[np.bool_], other: Fold) -> Fold:
        """The same units with the other fold's probabilities where `flip` (n,) is true."""
        return replace(self, p=np.where(flip[:, None], other.p, self.p))


@dataclass(frozen=True, kw_only=True)
class Group(Sets):
    """All test sets of one model under one scheme. `ratio` is test over training patients a fold; None when unknown."""

    lacks: ClassVar[str] = "a class is missing"
    folds: tuple[Fold, ...]
    classes: tuple[str, ...]

    def patients_with(self) -> npt.NDArray[np.int64]:
        """Distinct test patients with, and without, a unit of each class: shape (2, k)."""
        patient = np.concatenate([fold.patient for fold in self.folds])
        truth = np.concatenate([fold.truth for fold in self.folds])
        found = [[len(np.unique(patient[truth == i])), len(np.unique(patient[truth != i]))] for i in self._indices]
        return np.array(found, dtype=np.int64).T

    def short_of(self, needed: int, name: str | None = None) -> str:
        """In words, the counts under `needed` of patients with and without the class `name`, or every class (None);
        empty where none is."""
        short = []
        for part, counts in zip(self.classes, self.patients_with().T.tolist(), strict=True):
            if name in (None, part):
                pairs = zip(counts, ("with", "without"), strict=True)
                short += [f"{n} patients {word} {part}" for n, word in pairs if n < needed]
        return f"{' and '.join(short)} ({needed} needed)" if short else ""

    @property
    def one_class_each(self) -> bool:
        """Whether there are several test sets and each holds one class only, as in leave-one-out.

        The training shares of a fold then tell the truth of its test patients: a dummy that states the rarer class of
        its training patients would be right every time.
        """
        return len(self.folds) > 1 and all(len(np.unique(fold.truth)) == 1 for fold in self.folds)

    @property
    def nothing(self) -> str:
        return ONE_CLASS_EACH if self.one_class_each else ""

    def parts(self, metric: Any) -> list[str | None]:
        return parts_of(metric, self.classes)

    def label(self, part: str) -> str:
        return f"class={part}"

    def below_floor(self, metric: Any, part: str | None) -> str:
        return self.short_of(floor_of(metric), part)

    def exploratory(self, metric: Any, part: str | None) -> str:
        return self.short_of(advised_of(metric), part)

    def values(self, metric: Any, fold: Any) -> Values:
        absent = "the test set has no patient with, or none without, it"
        return values_of(metric, self.parts(metric), absent, fold.truth, fold.p, self.classes)

    def resampled(self, metric: Any, fold: Any, counts: npt.NDArray[np.float64]) -> Any:
        return metric.resampled(fold.truth, fold.p, self.classes, counts)

    def n_events(self, part: str | None) -> int:
        """Patients with the class, or of the smallest class."""
        with_it = self.patients_with()[0]
        return int(with_it.min() if part is None else with_it[self.classes.index(part)])

    def by_formula(self, metric: Any, fold: Any, part: str | None, seed: int) -> Spread:
        """The metric's own, Wilson for shares, DeLong for areas."""
        if single_of(metric) == "own":
            own: Spread = metric.on_one_set(fold.truth, fold.p, fold.patient, self.classes, part, seed)
            return own
        if single_of(metric) == "wilson":
            right, n = metric.counted(fold.truth, fold.p, self.classes, part)
            low, high = limits.wilson(right, n)
            spread = right / n * (1 - right / n) / n
            return Interval(low=low, high=high, method="one test set, Wilson interval"), spread
        column = self.classes.index(str(part))
        positive = fold.truth == column
        return limits.delong_interval(fold.p[:, column], positive), limits.delong(fold.p[:, column], positive)[1]

    @property
    def _indices(self) -> range:
        return range(len(self.classes))


def groups(predictions: Predictions) -> Iterator[Group]:
    """Every (experiment, scheme, target, model) with test rows, sorted; the order of the table's rows is no matter.

    Raises:
        ModelError: a truth that is none of the classes.
    """
    table = predictions.table.assign(truth=predictions.table["truth"].astype(str))
    unknown = set(table["truth"]) - set(predictions.classes)
    if unknown:
        raise ModelError(
            f"the truth {sorted(unknown)[0]!r}",
            expected=f"one of the classes {', '.join(predictions.classes)}",
            todo="correct the predictions table or its classes",
        )
    for names, sets, ratio in tested(table):
        folds = tuple(_fold(rows, predictions) for rows in sets)
        yield Group(key=names, classes=predictions.classes, folds=folds, ratio=ratio)


def tested(table: pd.DataFrame) -> Iterator[tuple[dict[str, str], list[pd.DataFrame], float | None]]:
    """Every (experiment, scheme, target, model) with test rows, sorted: its names, the rows of each test set with the
    code of the patient as `_patient`, and test over training patients a fold."""
    table = table.sort_values([*GROUP, "repeat", "fold", "patient", "unit_id"], kind="stable")
    table = table.assign(_patient=pd.factorize(table["patient"], sort=True)[0])
    for key, rows in table.groupby(GROUP, sort=True):
        test = rows[rows["part"] == "test"]
        if len(test):
            names = dict(zip(GROUP, map(str, key), strict=True))
            sets = [part for _, part in test.groupby(["repeat", "fold"], sort=True)]
            yield names, sets, _ratio(rows, _visible(table, names))


def once(group: Group) -> Fold:
    """Every unit's first test prediction by repeat and fold: repeat 0 where each repeat tests everyone."""
    whole = _joined(group.folds)
    ids = pd.DataFrame({"patient": whole.patient, "unit_id": whole.unit_id})
    first = np.flatnonzero(~ids.duplicated().to_numpy())
    return whole.rows(first)


def _joined(folds: tuple[Fold, ...]) -> Fold:
    parts: dict[str, Any] = {name: np.concatenate([getattr(fold, name) for fold in folds]) for name in Fold.by_row}
    return replace(folds[0], **parts)


def _fold(rows: pd.DataFrame, predictions: Predictions) -> Fold:
    place = {c: i for i, c in enumerate(predictions.classes)}
    return Fold(
        **units(rows),
        truth=np.array([place[t] for t in rows["truth"]], dtype=np.int64),
        p=rows[list(predictions.columns)].to_numpy(dtype=np.float64),
    )


def units(rows: pd.DataFrame) -> dict[str, Any]:
    """The fields of `Units` for the rows of one test set, as `tested` gives them."""
    hashes = sorted(set(map(str, rows["split_hash"])))
    return {
        "name": (int(rows["repeat"].iloc[0]), int(rows["fold"].iloc[0]), "+".join(hashes)),
        "patient": rows["_patient"].to_numpy(dtype=np.int64),
        "unit_id": rows["unit_id"].to_numpy(dtype=object),
        "site": rows["site"].astype(str).to_numpy(dtype=object),
    }


def _visible(table: pd.DataFrame, names: dict[str, str]) -> int:
    """Development patients of the experiment that the table shows: those in any tune or test set but the holdout."""
    mine = table["scheme"] != HOLDOUT
    for column in ("experiment", "target"):
        mine &= table[column] == names[column]
    return int(table.loc[mine, "_patient"].nunique())


def _ratio(rows: pd.DataFrame, visible: int) -> float | None:
    """Mean test over mean training patients. Patients the table never shows are not counted and tune patients are not
    training patients, so the ratio is never too small and the interval never too narrow for that reason."""
    counts = rows.groupby(["repeat", "fold", "part"])["_patient"].nunique().unstack(fill_value=0)
    counts = counts[counts["test"] > 0]
    test = counts["test"].to_numpy(dtype=float)
    tune = counts["tune"].to_numpy(dtype=float) if "tune" in counts else np.zeros_like(test)
    train = float((visible - test - tune).mean())
    return float(test.mean()) / train if train > 0 else None
