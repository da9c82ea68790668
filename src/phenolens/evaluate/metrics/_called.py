"""Who is called positive: the most probable class, or everyone at a threshold fixed beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import ModelError, nearest
from phenolens.evaluate.metric import NotEstimable, Probabilities, Truth, predicted


@dataclass(frozen=True, kw_only=True)
class Called:
    """`positive`: the class a decision is about, called from a probability of `threshold` on. None: every class, called
    where it is the most probable one; the threshold is then not used."""

    threshold: float = 0.5
    positive: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold must lie between 0 and 1, not {self.threshold}")

    @property
    def remark(self) -> str:
        """How units are called, for the note of every estimate."""
        if self.positive is None:
            return "called at the most probable class: the study fixes no threshold"
        return f"called {self.positive} from a probability of {self.threshold:g} on, fixed beforehand"

    def calls(self, p: Probabilities, classes: Sequence[str], part: str) -> npt.NDArray[np.bool_]:
        """Which units are called `part`, (n,)."""
        if part not in classes:
            raise ModelError(
                f"the positive class {part!r}",
                expected=f"one of {', '.join(classes)}",
                todo=f"correct task.positive{nearest(part, list(classes))}",
            )
        column = list(classes).index(part)
        called: npt.NDArray[np.bool_] = (
            predicted(p) == column if self.positive is None else p[:, column] >= self.threshold
        )
        return called

    def share(
        self, truth: Truth, p: Probabilities, classes: Sequence[str], part: str, *, among: bool
    ) -> tuple[int, int]:
        """How many units with (`among`) or without the class are called rightly, and how many there are."""
        called = self.calls(p, classes, part)
        there = (truth == list(classes).index(part)) == among
        return int((called[there] == among).sum()), int(there.sum())

    def shares(
        self, truth: Truth, p: Probabilities, classes: Sequence[str], *, among: bool
    ) -> dict[str, float | NotEstimable]:
        """That share by class; the reason for a class without such a unit."""
        found: dict[str, float | NotEstimable] = {}
        for part in classes if self.positive is None else (self.positive,):
            right, total = self.share(truth, p, classes, part, among=among)
            none = f"the test set has no patient {'with' if among else 'without'} {part}"
            found[part] = right / total if total else NotEstimable(none)
        return found
