"""Logistic regression by Newton's method, to measure a probability and for nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phenolens.evaluate.metric import NotEstimable

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
_MOST = 100


@dataclass(frozen=True, kw_only=True)
class Logistic:
    """Coefficients (k,), the score of each unit (n, k) and the information (k, k), all at the maximum."""

    coefficients: Floats
    scores: Floats
    information: Floats

    def variances(self, patient: Codes) -> Floats:
        """Variances of the coefficients (k,), patients being independent; `patient` (n,) is the patient of each unit.

        The inverse information where each patient has one unit, else the sandwich of it with the patients' summed
        scores (Huber 1967; Liang & Zeger 1986, without a correction for few patients).
        """
        inverse: Floats = np.linalg.inv(self.information).astype(np.float64)
        _, code = np.unique(patient, return_inverse=True)
        if code.max() + 1 == len(code):
            return inverse.diagonal().copy()
        summed = np.zeros((code.max() + 1, len(self.coefficients)))
        np.add.at(summed, code, self.scores)
        found: Floats = (inverse @ (summed.T @ summed) @ inverse).diagonal().copy()
        return found


def fit(design: Floats, positive: npt.NDArray[np.bool_], offset: Floats | float = 0.0) -> Logistic:
    """The maximum likelihood fit of log odds offset + design (n, k) b; the maximum must exist.

    Newton's steps, halved while they lower the likelihood.

    Raises:
        NotEstimable: no maximum was reached, which numbers of extreme size can bring about.
    """
    y = positive.astype(np.float64)
    b = np.zeros(design.shape[1])
    height = _likelihood(design @ b + offset, y)
    for _ in range(_MOST):
        mean = _expit(design @ b + offset)
        scores = design * (y - mean)[:, None]
        information = (design * (mean * (1 - mean))[:, None]).T @ design
        if not np.isfinite(np.linalg.cond(information)):
            break
        step = np.linalg.solve(information, scores.sum(0))
        if float(step @ scores.sum(0)) < 1e-18 * len(y):
            return Logistic(coefficients=b, scores=scores, information=information)
        while (risen := _likelihood(design @ (b + step) + offset, y)) < height - 1e-10 and np.abs(step).max() > 1e-12:
            step = step / 2
        b, height = b + step, risen
    raise NotEstimable("the logistic recalibration reaches no maximum")


def _expit(x: Floats) -> Floats:
    found: Floats = 1 / (1 + np.exp(-np.clip(x, -700, 700)))
    return found


def _likelihood(x: Floats, y: Floats) -> float:
    return float((y * x - np.logaddexp(0, x)).sum())
