"""One label out of two or more classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from phenolens.core.errors import ModelError, nearest
from phenolens.core.predictions import Predictions
from phenolens.core.types import Example


@dataclass(frozen=True, kw_only=True)
class Classification:
    """Predicts a probability a class; `target` is the column with the label, `classes` its values in order."""

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "One label out of two or more classes; a probability a class."
    kind: ClassVar[str] = "classification"

    target: str
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(str(c) for c in self.classes))
        if not self.target:
            raise ValueError("target must name a column")
        if len(set(self.classes)) < max(2, len(self.classes)) or not all(self.classes):
            raise ValueError(f"classes must be two or more names, each once, not {list(self.classes)}")

    @property
    def columns(self) -> tuple[str, ...]:
        """One probability column a class, `p_CLASS`, in the order of `classes`."""
        return tuple(f"p_{c}" for c in self.classes)

    def truth(self, example: Example) -> int:
        """The position of the example's label in `classes`; raises ModelError naming the unit when it has none."""
        label = example.targets.get(self.target)
        if label is None or str(label) not in self.classes:
            found = f"no label '{self.target}'" if label is None else f"label {label!r} in '{self.target}'"
            raise ModelError(
                f"{found} for unit {example.unit_id!r} of patient {example.patient!r}",
                expected=f"one of {', '.join(self.classes)}",
                todo=f"correct the label, or leave the patient out with where:{nearest(str(label), self.classes)}",
            )
        return self.classes.index(str(label))

    @property
    def outcome(self) -> tuple[str, ...]:
        """The column with the label."""
        return (self.target,)

    @property
    def known(self) -> tuple[str, ...]:
        """The class."""
        return ("truth",)

    def facts(self, example: Example) -> tuple[Any, ...]:
        """The class of the example."""
        return (self.classes[self.truth(example)],)

    def unsound(self, p: npt.NDArray[np.float64]) -> str:
        """Negative probabilities, or rows that do not sum to one."""
        wrong = bool((p < 0).any()) or (len(p) > 0 and np.abs(p.sum(1) - 1).max() > 1e-6)
        return "probabilities that are negative or do not sum to one" if wrong else ""

    def checked(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table, judged as `Predictions`."""
        return Predictions(table=table, classes=self.classes).table

    def weights(self, examples: Sequence[Example]) -> npt.NDArray[np.float64]:
        """Weights n / (k · n_c) that let every class count the same, (k,) float64.

        King and Zeng, Logistic regression in rare events data, 2001. Raises ModelError naming an absent class.
        """
        counts = np.bincount([self.truth(e) for e in examples], minlength=len(self.classes))
        absent = [c for c, n in zip(self.classes, counts, strict=True) if n == 0]
        if absent:
            raise ModelError(
                f"no training unit of class {', '.join(absent)} among {len(examples)}",
                expected="every class in every training set",
                todo="use fewer folds or another scheme, or leave the class out with where: and task.classes",
            )
        weights: npt.NDArray[np.float64] = len(examples) / (len(self.classes) * counts.astype(np.float64))
        return weights


plugin = Classification
