"""Cross-conformal sets (CV+): the model fitted again without each of K groups of patients, and what those say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from phenolens.core import conformal as promise
from phenolens.core.conformal import ALPHAS
from phenolens.core.errors import ModelError
from phenolens.core.predictions import SET_GROUPS, SET_PATIENTS
from phenolens.core.types import Example
from phenolens.models.conformal import Floats, Sets, worst_of
from phenolens.models.contract import Fitted, Model

_PREFIX = "guard.cross."


@dataclass(frozen=True, kw_only=True)
class Refit:
    """The model fitted without one group: `scores` (m,) of its patients, ascending, by this model."""

    fitted: Fitted
    scores: Floats


@dataclass(frozen=True, kw_only=True)
class Cross(Sets):
    """The set of a unit x: every class c that fewer than (1 - alpha)(n + 1) calibration patients are less strange than.

    Calibration patient i has the score 1 - p of the true class by the refit that did not see patient i (of several
    units the largest); it is compared with the score of (x, c) by the same refit. This is CV+ for classes (Romano,
    Sesia and Candès 2020, with the score of Sadinle, Lei and Wasserman 2019) and the complement of Vovk's
    cross-conformal p-value at most alpha (Cross-conformal predictors, 2015). A patient is covered in every unit with
    the probability of `core.conformal.cross_guarantee`: a patient's score by each refit is the worst unit's, and a unit
    counts no more patients than that one.
    """

    refits: tuple[Refit, ...]

    @property
    def patients(self) -> int:
        """How many calibration patients there are, n."""
        return sum(len(r.scores) for r in self.refits)

    def at_least(self, alpha: float) -> float:
        """The share of new patients whose every unit is covered, at the least."""
        return promise.cross_guarantee(self.patients, len(self.refits), alpha)

    def looked_at(self, p: Floats, examples: Sequence[Example]) -> Floats:  # noqa: ARG002
        """The probabilities of each refit, (K, n, k); those of the model itself are not used."""
        return np.stack([np.asarray(r.fitted.predict(examples), dtype=np.float64) for r in self.refits])

    def inside(self, seen: Floats, alpha: float) -> npt.NDArray[np.bool_]:
        """Which classes stay, (n, k), from the probabilities of the refits (K, n, k)."""
        less = [np.searchsorted(r.scores, 1 - p, side="left") for r, p in zip(self.refits, seen, strict=True)]
        return np.asarray(np.sum(less, axis=0) < promise.rank(self.patients, alpha))

    def offered(self, alpha: float) -> bool:
        """Whether there are patients enough that a class could be left out."""
        return not self.refused(alpha)

    def refused(self, alpha: float) -> str:
        """As in `Sets`."""
        n, need = self.patients, promise.floor(alpha)
        return self.unnamable or (f"{n} calibration patients at alpha {alpha:g} ({need} needed)" if n < need else "")

    def counted(self, rows: int) -> dict[str, Any]:
        """The columns SET_PATIENTS and SET_GROUPS of a number of test predictions."""
        return {SET_PATIENTS: np.full(rows, float(self.patients)), SET_GROUPS: np.full(rows, float(len(self.refits)))}

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """The scores (K, m), and the weights of each refit under its number."""
        held: dict[str, npt.NDArray[Any]] = {f"{_PREFIX}scores": np.stack([r.scores for r in self.refits])}
        for i, refit in enumerate(self.refits):
            held |= {f"{_PREFIX}{i}.{name}": array for name, array in refit.fitted.weights().items()}
        return held

    def config(self) -> dict[str, Any]:
        """Of every refit what its model needs; for a reader what each alpha guarantees and where that is proved."""
        return {
            "score": "1 - p of the true class by the refit without the patient; of several units the largest",
            "patients": self.patients,
            "groups": len(self.refits),
            "source": "CV+: Barber, Candès, Ramdas and Tibshirani 2021, Theorem 4; Romano, Sesia and Candès 2020",
            "promises": [
                {"alpha": a, "refused": self.refused(a), "at_least": self.at_least(a)} for a in ALPHAS.values()
            ],
            "refits": [r.fitted.config() for r in self.refits],
        }

    @classmethod
    def restore(
        cls,
        weights: Mapping[str, npt.NDArray[Any]],
        config: Mapping[str, Any],
        classes: Sequence[str],
        model: Model,
    ) -> Cross:
        """From what `weights()` and `config()` gave, and the model before fitting."""
        scores = weights[f"{_PREFIX}scores"]
        refits = []
        for i, own in enumerate(config["refits"]):
            start = f"{_PREFIX}{i}."
            held = {k.removeprefix(start): v for k, v in weights.items() if k.startswith(start)}
            refits.append(Refit(fitted=model.restore(held, own), scores=scores[i]))
        return cls(classes=tuple(classes), refits=tuple(refits))


def fit_cross(made: Iterable[tuple[Fitted, pd.DataFrame]], classes: Sequence[str]) -> Cross:
    """From each refit and its predictions table, whose test rows are the patients it did not see.

    Raises ModelError where a patient was left out of two refits.
    """
    refits, seen = list[Refit](), set[str]()
    for fitted, table in made:
        rows = table[table["part"] == "test"]
        who = rows["patient"].to_numpy(dtype=str)
        if twice := sorted(seen & set(who)):
            raise ModelError(
                f"patient {twice[0]!r} left out of two refits",
                expected="every patient in one group",
                todo="this is a fault of the program: report it",
            )
        seen |= set(who)
        p = rows[[f"p_{c}" for c in classes]].to_numpy(dtype=np.float64)
        truth = np.array([list(classes).index(t) for t in rows["truth"]], dtype=np.intp)
        score = 1 - p[np.arange(len(rows)), truth]
        refits.append(Refit(fitted=fitted, scores=worst_of(score, who)))
    return Cross(classes=tuple(classes), refits=tuple(refits))
