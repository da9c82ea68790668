"""Mean negative logarithm of the probability given to the true class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from phenolens.evaluate.metric import Probabilities, Truth


@dataclass(frozen=True, kw_only=True)
class LogLoss:
    """In nats; ln(number of classes) is what equal probabilities for all score.

    Probabilities are clipped at the machine epsilon (2.2e-16), as in scikit-learn, so that one certain error costs 36.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Mean negative log probability of the true class (nats)."
    reads: ClassVar[str] = "probabilities"
    better: ClassVar[Literal["higher", "lower"]] = "lower"
    per_class: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    def compute(self, truth: Truth, p: Probabilities, classes: Sequence[str]) -> float:  # noqa: ARG002
        """The mean over units of -ln p(true class)."""
        return float(_losses(truth, p).mean())

    def resampled(
        self,
        truth: Truth,
        p: Probabilities,
        classes: Sequence[str],  # noqa: ARG002
        counts: npt.NDArray[np.float64],
    ) -> npt.NDArray[np.float64]:
        """The mean loss of each resample, (draws,)."""
        means: npt.NDArray[np.float64] = counts @ _losses(truth, p) / counts.sum(1)
        return means


def _losses(truth: Truth, p: Probabilities) -> npt.NDArray[np.float64]:
    given = p[np.arange(len(truth)), truth]
    eps = float(np.finfo(np.float64).eps)
    losses: npt.NDArray[np.float64] = -np.log(given.clip(eps, 1 - eps))
    return losses


plugin = LogLoss
