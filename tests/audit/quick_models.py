"""Two small models for the audit's tests: a closed-form ridge, and one that says it is not cheap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from phenolens.models.bags import pooled


@dataclass(frozen=True)
class FittedRidge:
    """Softmax of centred ridge scores on the mean of the instances."""

    centre: np.ndarray
    weights: np.ndarray

    def predict(self, examples: Any) -> np.ndarray:
        x = np.stack([e.instances().mean(0) for e in examples]).astype(float)
        z = np.exp((x - self.centre) @ self.weights)
        return z / z.sum(1, keepdims=True)


@dataclass(frozen=True, kw_only=True)
class Ridge:
    """Least squares on one-hot labels with an L2 penalty, solved in closed form."""

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "closed-form ridge"
    reads: ClassVar[str] = "bag"
    offers: ClassVar[tuple[str, ...]] = ()
    accepts_missing: ClassVar[bool] = False
    needs_tune: ClassVar[bool] = False
    cheap: ClassVar[bool] = True
    penalty: float = 10.0

    def fit(self, train: Any, tune: Any, task: Any, *, seed: int) -> FittedRidge:
        x = np.stack([e.instances().mean(0) for e in train]).astype(float)
        y = np.eye(len(task.classes))[[task.truth(e) for e in train]]
        task.weights(train)
        centre = x.mean(0)
        inner = x - centre
        solved = np.linalg.solve(inner @ inner.T + self.penalty * np.eye(len(x)), y - y.mean(0))
        return FittedRidge(centre, inner.T @ solved)


@dataclass(frozen=True, kw_only=True)
class SlowRidge(Ridge):
    """The same, declared too slow to be fitted again."""

    cheap: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class Rotten(Ridge):
    """Leaks: its fitted model reads the label of what it predicts."""

    def fit(self, train: Any, tune: Any, task: Any, *, seed: int) -> Any:
        return _Cheat(task)


@dataclass(frozen=True)
class _Cheat:
    """Stands for every leak through the fitting procedure: it follows the labels wherever they are moved."""

    task: Any

    def predict(self, examples: Any) -> np.ndarray:
        k = len(self.task.classes)
        return 0.8 * np.eye(k)[[self.task.truth(e) for e in examples]] + 0.2 / k


@dataclass(frozen=True)
class FittedChosen:
    """As FittedRidge, on pooled vectors."""

    centre: np.ndarray
    weights: np.ndarray

    def predict(self, examples: Any) -> np.ndarray:
        z = np.exp((_vectors(examples) - self.centre) @ self.weights)
        return z / z.sum(1, keepdims=True)


@dataclass(frozen=True, kw_only=True)
class ChosenRidge(Ridge):
    """The same with a penalty that is chosen on the tune patients by their log loss: a nested procedure."""

    needs_tune: ClassVar[bool] = True
    pool_key: ClassVar[str] = "mean"
    penalties: tuple[float, ...] = (30.0, 300.0, 3000.0)

    def pool(self, example: Any) -> np.ndarray:
        return example.instances().mean(0).astype(float)

    def fit(self, train: Any, tune: Any, task: Any, *, seed: int) -> FittedChosen:
        x, k = _vectors(train), len(task.classes)
        y = np.eye(k)[[task.truth(e) for e in train]]
        truth, new = np.array([task.truth(e) for e in tune]), _vectors(tune)
        centre = x.mean(0)
        inner = x - centre
        gram, cross = inner @ inner.T, (new - centre) @ inner.T
        best: tuple[float, np.ndarray] = (np.inf, np.empty(0))
        for penalty in self.penalties:
            solved = np.linalg.solve(gram + penalty * np.eye(len(x)), y - y.mean(0))
            z = cross @ solved
            loss = float((np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), truth]).mean())
            best = min(best, (loss, solved), key=lambda pair: pair[0])
        return FittedChosen(centre, inner.T @ best[1])


def _vectors(examples: Any) -> np.ndarray:
    return np.stack([pooled(e, "mean", lambda one: one.instances().mean(0).astype(float)) for e in examples])
