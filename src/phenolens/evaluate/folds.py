"""The Predictions table as arrays: one group a model and scheme, one fold a test set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from phenolens.core.errors import ModelError
from phenolens.core.predictions import Predictions
from phenolens.evaluate.metric import Probabilities, Truth

ONE_CLASS_EACH = (
    "every test set holds one class only, so that the shares of the training patients tell the truth of the test "
    "patients; scores are never pooled over folds"
)
"""Why nothing is estimated where `Group.one_class_each` holds."""
GROUP = ["experiment", "scheme", "target", "model"]
HOLDOUT = "holdout"
LEAVE_ONE_SITE_OUT = "leave_one_site_out"
_ARRAYS = ("truth", "p", "patient", "unit_id", "site")


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One test set, one row a unit: truth (n,), p (n, k), patient codes (n,), unit ids (n,) and sites (n,)."""

    name: tuple[int, int, str]
    truth: Truth
    p: Probabilities
    patient: npt.NDArray[np.int64]
    unit_id: npt.NDArray[np.object_]
    site: npt.NDArray[np.object_]

    def rows(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Fold:
        """The same fold with the chosen rows only."""
        parts: dict[str, Any] = {name: getattr(self, name)[chosen] for name in _ARRAYS}
        return replace(self, **parts)

    @property
    def clustered(self) -> bool:
        """Whether a patient has more than one unit here."""
        return len(np.unique(self.patient)) < len(self.patient)


@dataclass(frozen=True, kw_only=True)
class Group:
    """All test sets of one model under one scheme. `ratio` is test over training patients a fold; None when unknown."""

    key: dict[str, str]
    classes: tuple[str, ...]
    folds: tuple[Fold, ...]
    ratio: float | None

    @property
    def scheme(self) -> str:
        return self.key["scheme"]

    @property
    def sites(self) -> list[str]:
        """Every site with a test unit, sorted."""
        return sorted({str(s) for fold in self.folds for s in fold.site})

    def at(self, site: str) -> Group:
        """The test units of one site; folds without any fall away, `ratio` stays that of the whole fold."""
        parts = (fold.rows(fold.site == site) for fold in self.folds)
        return replace(self, folds=tuple(part for part in parts if len(part.truth)))

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
    def n_patients(self) -> int:
        return len(np.unique(np.concatenate([fold.patient for fold in self.folds])))

    @property
    def _indices(self) -> range:
        return range(len(self.classes))


def groups(predictions: Predictions) -> Iterator[Group]:
    """Every (experiment, scheme, target, model) with test rows, sorted; the order of the table's rows is no matter.

    Raises:
        ModelError: a truth that is none of the classes.
    """
    table = predictions.table.sort_values([*GROUP, "repeat", "fold", "patient", "unit_id"], kind="stable")
    table = table.assign(_patient=pd.factorize(table["patient"], sort=True)[0], truth=table["truth"].astype(str))
    unknown = set(table["truth"]) - set(predictions.classes)
    if unknown:
        raise ModelError(
            f"the truth {sorted(unknown)[0]!r}",
            expected=f"one of the classes {', '.join(predictions.classes)}",
            todo="correct the predictions table or its classes",
        )
    for key, rows in table.groupby(GROUP, sort=True):
        test = rows[rows["part"] == "test"]
        if not len(test):
            continue
        names = dict(zip(GROUP, map(str, key), strict=True))
        folds = tuple(_fold(part, predictions) for _, part in test.groupby(["repeat", "fold"], sort=True))
        ratio = _ratio(rows, _visible(table, names))
        yield Group(key=names, classes=predictions.classes, folds=folds, ratio=ratio)


def once(group: Group) -> Fold:
    """Every unit's first test prediction by repeat and fold: repeat 0 where each repeat tests everyone."""
    whole = _joined(group.folds)
    ids = pd.DataFrame({"patient": whole.patient, "unit_id": whole.unit_id})
    first = np.flatnonzero(~ids.duplicated().to_numpy())
    return whole.rows(first)


def _joined(folds: tuple[Fold, ...]) -> Fold:
    parts: dict[str, Any] = {name: np.concatenate([getattr(fold, name) for fold in folds]) for name in _ARRAYS}
    return replace(folds[0], **parts)


def _fold(rows: pd.DataFrame, predictions: Predictions) -> Fold:
    place = {c: i for i, c in enumerate(predictions.classes)}
    hashes = sorted(set(map(str, rows["split_hash"])))
    return Fold(
        name=(int(rows["repeat"].iloc[0]), int(rows["fold"].iloc[0]), "+".join(hashes)),
        truth=np.array([place[t] for t in rows["truth"]], dtype=np.int64),
        p=rows[list(predictions.columns)].to_numpy(dtype=np.float64),
        patient=rows["_patient"].to_numpy(dtype=np.int64),
        unit_id=rows["unit_id"].to_numpy(dtype=object),
        site=rows["site"].astype(str).to_numpy(dtype=object),
    )


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
