"""What an explanation method is, and what it asks of a fitted model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from phenolens.core.types import Example

Scores = npt.NDArray[np.float64]
"""(n,): one score an instance, in the order of `Example.instances()`."""


class Predictor(Protocol):
    """A fitted model: probabilities (n examples, k classes)."""

    def predict(self, examples: Sequence[Example]) -> npt.NDArray[np.float64]: ...


class Explainer(Protocol):
    """A plug-in that scores the instances of one example for one class; more means more support.

    `needs` is what the model must offer ("attention"), or None when any model will do; `signed` says that negative
    scores speak against the class.
    """

    version: ClassVar[int]
    summary: ClassVar[str]
    needs: ClassVar[str | None]
    signed: ClassVar[bool]

    def scores(self, fitted: Any, example: Example, target: int) -> Scores: ...


def log_odds(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Log-odds of probabilities, clipped at 1e-6 from 0 and 1."""
    p = np.clip(p, 1e-6, 1 - 1e-6)
    clipped: npt.NDArray[np.float64] = np.log(p) - np.log1p(-p)
    return clipped
