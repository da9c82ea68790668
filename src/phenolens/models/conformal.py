"""Split conformal sets: which classes cannot be left out at a stated share of errors, from the tune patients.

What any kind of set does with its verdict on each class (names, columns of a table) is in `Sets`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from phenolens.core import conformal as promise
from phenolens.core.conformal import ALPHAS
from phenolens.core.predictions import SET_NONE
from phenolens.core.types import Example

Floats = npt.NDArray[np.float64]
Truth = npt.NDArray[np.intp]
_JOINT = "|"


@dataclass(frozen=True, kw_only=True)
class Sets(ABC):
    """Sets of `classes`: what is common to all kinds of them."""

    classes: tuple[str, ...]

    @abstractmethod
    def looked_at(self, p: Floats, examples: Sequence[Example]) -> Floats:
        """What the other methods call `seen`, (..., n, k), of units with probabilities p (n, k) of their model."""

    @abstractmethod
    def inside(self, seen: Floats, alpha: float) -> npt.NDArray[np.bool_]:
        """Which classes stay in the set of each unit, (n, k)."""

    @abstractmethod
    def offered(self, alpha: float) -> bool:
        """Whether a set can be offered."""

    @abstractmethod
    def refused(self, alpha: float) -> str:
        """Why no set is offered, or of which classes; empty where nothing is refused."""

    @abstractmethod
    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays, as they are stored."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """What is needed to restore it, and for a reader what each alpha promises; JSON."""

    def sets(self, seen: Floats, alpha: float) -> list[tuple[str, ...]]:
        """The classes of each unit, in the order of the classes."""
        inside = self.inside(seen, alpha)
        return [tuple(c for c, there in zip(self.classes, row, strict=True) if there) for row in inside.tolist()]

    def column(self, seen: Floats, alpha: float) -> list[str]:
        """The sets as they stand in a predictions table; SET_NONE where none is offered."""
        offered, n = self.offered(alpha), seen.shape[-2]
        return [_JOINT.join(s) for s in self.sets(seen, alpha)] if offered else [SET_NONE] * n

    @property
    def unnamable(self) -> str:
        """Why sets of these classes could not be written down; empty where they can."""
        wrong = any(_JOINT in c or c == SET_NONE for c in self.classes)
        return f"a class with {_JOINT} in its name, or named {SET_NONE}" if wrong else ""


@dataclass(frozen=True, kw_only=True)
class Conformal(Sets):
    """The set of a unit: every class c with 1 - p_c at most the threshold of c.

    The score of a unit is 1 - p of its true class (the least ambiguous sets of Sadinle, Lei and Wasserman, 2019), p as
    the model gives it: recalibration is fitted on the same patients and would break their exchangeability with new
    ones. A patient with several units counts once, with the worst (largest) score, so that the promise is of a patient
    whose every unit is covered. `scores` (m,) are those of the calibration patients in ascending order, class by class
    where `by_class` (Vovk 2012, label-conditional), `counts` how many belong to each class (or all of them, once).

    A class with too few patients of its own is refused: its threshold is infinite, so that it is in every set.
    """

    by_class: bool
    scores: Floats
    counts: tuple[int, ...]

    def thresholds(self, alpha: float) -> Floats:
        """The largest score of a class that stays in the set, (k,); infinite where calibration patients are too few."""
        made, start = [], 0
        for n in self.counts:
            k = promise.rank(n, alpha)
            made.append(float(self.scores[start + k - 1]) if k <= n else np.inf)
            start += n
        return np.array(made if self.by_class else made * len(self.classes))

    def refused(self, alpha: float) -> str:
        """As in `Sets`: too few calibration patients, or classes whose sets could not be written down."""
        need = promise.floor(alpha)
        named = [f"{c} with {n}" for c, n in zip(self.classes, self.counts, strict=False) if n < need]
        if self.unnamable:
            return self.unnamable
        if not self.by_class:
            n = self.counts[0]
            return f"{n} calibration patients at alpha {alpha:g} ({need} needed)" if n < need else ""
        return f"{', '.join(named)} calibration patients at alpha {alpha:g} ({need} a class needed)" if named else ""

    def offered(self, alpha: float) -> bool:
        """Whether a set can be offered: with class by class, where one class at least has patients enough."""
        return not self.unnamable and bool(np.isfinite(self.thresholds(alpha)).any())

    def looked_at(self, p: Floats, examples: Sequence[Example]) -> Floats:  # noqa: ARG002
        """The probabilities alone."""
        return p

    def inside(self, seen: Floats, alpha: float) -> npt.NDArray[np.bool_]:
        """Those with 1 - p at most the threshold of the class."""
        return np.asarray(1 - seen <= self.thresholds(alpha))

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        return {"guard.scores": self.scores}

    def config(self) -> dict[str, Any]:
        """What is needed to restore it, and for a reader what each alpha promises: coverage over calibration sets."""
        return {
            "score": "1 - p of the true class; of a patient with several units the largest",
            "by_class": self.by_class,
            "counts": list(self.counts),
            "promises": [self._promise(alpha) for alpha in ALPHAS.values()],
        }

    def _promise(self, alpha: float) -> dict[str, Any]:
        names = self.classes if self.by_class else ("all",)
        enough = {c: n for c, n in zip(names, self.counts, strict=True) if n >= promise.floor(alpha)}
        realised = {c: dict(zip(("mean", "low", "high"), promise.realised_coverage(n, alpha), strict=True))
                    for c, n in enough.items()}  # fmt: skip
        return {"alpha": alpha, "refused": self.refused(alpha), "realised_coverage": realised}

    @classmethod
    def restore(
        cls, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any], classes: Sequence[str]
    ) -> Conformal:
        """From what `weights()` and `config()` gave."""
        return cls(
            classes=tuple(classes),
            by_class=config["by_class"],
            scores=weights["guard.scores"],
            counts=tuple(config["counts"]),
        )


def fit_conformal(
    p: Floats, truth: Truth, patients: Sequence[str], classes: Sequence[str], *, kind: Literal["split", "class"]
) -> Conformal:
    """Scores of the calibration patients from their units: p (n, k), truth (n,), patients (n,)."""
    score = 1 - p[np.arange(len(truth)), truth]
    who = np.asarray(patients, dtype=str)
    groups = [truth == i for i in range(len(classes))] if kind == "class" else [np.ones(len(truth), dtype=bool)]
    worst = [worst_of(score[rows], who[rows]) for rows in groups]
    return Conformal(
        classes=tuple(classes),
        by_class=kind == "class",
        scores=np.concatenate(worst),
        counts=tuple(len(w) for w in worst),
    )


def worst_of(score: Floats, who: npt.NDArray[np.str_]) -> Floats:
    """The largest score of each patient, ascending."""
    return np.sort(np.array([score[who == one].max() for one in np.unique(who)], dtype=np.float64))
