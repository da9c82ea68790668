"""The partial likelihood of Cox with Efron's ties, and its ridge estimate by Newton's method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import ModelError

Matrix = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
_STEPS, _HALVINGS, _CLOSE = 100, 40, 1e-11


@dataclass(frozen=True, kw_only=True)
class RiskSets:
    """Who was at risk when: everything of the follow-up that the partial likelihood depends on.

    `order` (n,) sorts by time. Of each distinct event time: `first` the place of the first unit at risk, `deaths` its
    number of events, `time`. Of each event: `at` its event time, `share` Efron's l / d, `place` its row.
    `past` (n,) is how many event times a unit's follow-up has reached.
    """

    order: Index
    first: Index
    deaths: Index
    time: Matrix
    at: Index
    share: Matrix
    place: Index
    past: Index

    @classmethod
    def of(cls, time: Matrix, event: npt.NDArray[np.bool_]) -> RiskSets:
        """From times (n,) above 0 and whether the event was seen (n,). A unit censored at a time is at risk at it."""
        order = np.argsort(time, kind="stable")
        t, seen = time[order], event[order]
        place = np.flatnonzero(seen)
        times, at, deaths = np.unique(t[place], return_inverse=True, return_counts=True)
        share = np.concatenate([np.arange(d) / d for d in deaths] or [np.zeros(0)])
        return cls(
            order=order,
            first=np.searchsorted(t, times, side="left"),
            deaths=deaths,
            time=times,
            at=at,
            share=share,
            place=place,
            past=np.searchsorted(times, t, side="right"),
        )

    def log_likelihood(self, risk: Matrix) -> float:
        """The log partial likelihood of log hazard ratios (n,); 0 without an event."""
        eta = risk[self.order]
        top = float(eta.max()) if len(eta) else 0.0
        relative = np.exp(eta - top)
        return float((eta[self.place] - top).sum() - np.log(self._left(relative)).sum())

    def hazard(self, risk: Matrix, times: Sequence[float]) -> Matrix:
        """The cumulative baseline hazard at `times` (Breslow, Covariance analysis of censored survival data, 1974)."""
        at_risk = _from_end(np.exp(risk[self.order]))[self.first]
        steps = np.concatenate([[0.0], np.cumsum(self.deaths / at_risk)])
        found: Matrix = steps[np.searchsorted(self.time, times, side="right")]
        return found

    def score(self, x: Matrix) -> Matrix:
        """The standardised score of each column of `x` (n, m) alone at no effect, (m,): its log-rank-like z."""
        none = np.zeros(len(x))
        gradient, weights = self._slope(x, none)
        mean = self._means(x, none)
        information = weights @ x[self.order] ** 2 - (mean**2).sum(0)
        scores: Matrix = gradient / np.sqrt(np.maximum(information, 1e-12))
        return scores

    def newton(self, x: Matrix, risk: Matrix) -> tuple[Matrix, Matrix]:
        """Gradient (m,) and information (m, m) of the log partial likelihood in the coefficients of `x`."""
        gradient, weights = self._slope(x, risk)
        mean = self._means(x, risk)
        ordered = x[self.order]
        return gradient, (ordered * weights[:, None]).T @ ordered - mean.T @ mean

    def _left(self, relative: Matrix) -> Matrix:
        """Efron's sum over those at risk of each event: tied events leave the risk set one share at a time."""
        whole = _from_end(relative)[self.first]
        dying = np.bincount(self.at, weights=relative[self.place], minlength=len(self.first))
        left: Matrix = whole[self.at] - self.share * dying[self.at]
        return left

    def _slope(self, x: Matrix, risk: Matrix) -> tuple[Matrix, Matrix]:
        """The gradient in the coefficients, and the expected events of each unit in the order of time."""
        eta = risk[self.order]
        relative = np.exp(eta - eta.max())
        left = self._left(relative)
        k = len(self.first)
        reached = np.concatenate([[0.0], np.cumsum(np.bincount(self.at, weights=1 / left, minlength=k))])
        expected = reached[self.past]
        expected[self.place] -= np.bincount(self.at, weights=self.share / left, minlength=k)[self.at]
        expected = expected * relative
        seen = np.zeros(len(eta))
        seen[self.place] = 1.0
        return (seen - expected) @ x[self.order], expected

    def _means(self, x: Matrix, risk: Matrix) -> Matrix:
        """The mean of `x` over those at risk of each event, (events, m)."""
        eta = risk[self.order]
        relative = np.exp(eta - eta.max())
        weighed = x[self.order] * relative[:, None]
        if not len(self.place):
            return np.zeros((0, x.shape[1]))
        dying = np.add.reduceat(weighed[self.place], np.cumsum(self.deaths) - self.deaths, axis=0)
        sums: Matrix = _from_end(weighed)[self.first][self.at] - self.share[:, None] * dying[self.at]
        return sums / self._left(relative)[:, None]


def _from_end(values: Matrix) -> Matrix:
    """Sums of each row and all after it."""
    return np.cumsum(values[::-1], axis=0)[::-1]


def ridge_path(x: Matrix, sets: RiskSets, grid: Sequence[float]) -> Iterator[Matrix]:
    """Coefficients (m,) for each C of `grid`, each started from the one before.

    The most of C · log partial likelihood − |coef|² / 2 (Cox 1972; Efron, The efficiency of Cox's likelihood function
    for censored data, 1977; Verweij and van Houwelingen, Penalized likelihood in Cox regression, 1994). Raises
    ModelError where Newton's method does not converge.
    """
    beta = np.zeros(x.shape[1])
    for c in grid:
        beta = _maximum(x, sets, c, beta)
        yield beta


def _maximum(x: Matrix, sets: RiskSets, c: float, beta: Matrix) -> Matrix:
    penalty = 1 / c

    def objective(b: Matrix) -> float:
        return sets.log_likelihood(x @ b) - penalty * float(b @ b) / 2

    value = objective(beta)
    for _ in range(_STEPS):
        gradient, information = sets.newton(x, x @ beta)
        gradient = gradient - penalty * beta
        step = np.linalg.solve(information + penalty * np.eye(len(beta)), gradient)
        gain = float(gradient @ step)
        for _ in range(_HALVINGS):
            new = objective(beta + step)
            if new >= value - 1e-10 * (1 + abs(value)):
                break
            step = step / 2
        beta, value = beta + step, new
        if gain <= _CLOSE:
            return beta
    raise ModelError(
        f"a Cox regression that does not converge in {_STEPS} steps with C = {c:g}",
        expected="features on which it converges",
        todo="look for duplicated or extreme features",
    )
