"""Logistic regression on one vector an example: what `mean_pool` and `sampler` share."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from phenolens.core.errors import ModelError
from phenolens.core.types import Example
from phenolens.models.bags import Pool, Scaler, Vector, in_order, pooled
from phenolens.models.contract import Probabilities
from phenolens.models.determinism import one_thread
from phenolens.tasks._contract import Task

GRID = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)
"""Inverse penalties C that are tried."""


def softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Probabilities along the last axis, float64."""
    grown = np.exp(logits - logits.max(-1, keepdims=True))
    shares: npt.NDArray[np.float64] = grown / grown.sum(-1, keepdims=True)
    return shares


def log_loss(p: Probabilities, truth: npt.NDArray[np.intp], weights: npt.NDArray[np.float64]) -> float:
    """Class-weighted mean of −log p of the true class; `weights` is (k,)."""
    w = weights[truth]
    chosen = np.maximum(p[np.arange(len(truth)), truth], 1e-12)
    return float(-(w * np.log(chosen)).sum() / w.sum())


@dataclass(frozen=True, kw_only=True)
class FittedLinear:
    """Standardise the pooled vector, then softmax of a linear map. coef is (k, m), intercept (k,), float64."""

    pool: Pool
    pool_key: str
    scaler: Scaler
    coef: npt.NDArray[np.float64]
    intercept: npt.NDArray[np.float64]
    search: Mapping[str, Any]

    def predict(self, examples: Sequence[Example]) -> Probabilities:
        """Probabilities (n, k); every row is computed alone."""
        logits = np.empty((len(examples), len(self.intercept)))
        for i, example in enumerate(examples):
            z = self.scaler.apply(pooled(example, self.pool_key, self.pool))
            logits[i] = (self.coef * z).sum(1) + self.intercept
        return softmax(logits)

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        return {"mean": self.scaler.mean, "scale": self.scaler.scale, "coef": self.coef, "intercept": self.intercept}

    def config(self) -> dict[str, Any]:
        """The search of the penalty: C chosen and the tune loss of each C tried."""
        return dict(self.search)

    @classmethod
    def restore(cls, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any], *, model: Any) -> FittedLinear:
        """From what `weights()` and `config()` gave; `model` is the plug-in that pools."""
        return cls(
            pool=model.pool,
            pool_key=model.pool_key,
            scaler=Scaler(mean=weights["mean"], scale=weights["scale"]),
            coef=weights["coef"],
            intercept=weights["intercept"],
            search=config,
        )


def fit_linear(model: Any, train: Sequence[Example], tune: Sequence[Example], task: Task) -> FittedLinear:
    """Fit on `train` with the C of GRID that has the least class-weighted log loss on `tune` (a tie: the smaller C).

    The model is not refitted on train and tune together: the training set stays the one the split names. Raises
    ModelError when there is nothing to choose on, or when a fit does not converge.
    """
    if not tune:
        raise ModelError(
            "no tune unit to choose the penalty on",
            expected="an inner tune split",
            todo="raise validation.tune, or give the patients of the tune part images that can be read",
        )
    train, tune = in_order(train), in_order(tune)
    truth, tune_truth = (np.array([task.truth(e) for e in part], dtype=np.intp) for part in (train, tune))
    class_weights = task.weights(train)
    with one_thread():
        x, tune_x = (np.stack([pooled(e, model.pool_key, model.pool) for e in part]) for part in (train, tune))
        scaler = Scaler.fit([x])
        rows, basis = row_space(scaler.apply(x))
        losses: dict[str, float] = {}
        best: tuple[float, npt.NDArray[np.float64], npt.NDArray[np.float64]] | None = None
        tune_z = scaler.apply(tune_x)
        for c in GRID:
            inner, intercept = logistic(rows, truth, class_weights[truth], c)
            coef = inner if basis is None else inner @ basis
            loss = log_loss(softmax(tune_z @ coef.T + intercept), tune_truth, class_weights)
            losses[f"{c:g}"] = loss
            if best is None or loss < best[0]:
                best, chosen = (loss, coef, intercept), c
    assert best is not None
    search = {"C": chosen, "tune_loss": losses, "dimension": int(x.shape[1])}
    _, coef, intercept = best
    return FittedLinear(
        pool=model.pool, pool_key=model.pool_key, scaler=scaler, coef=coef, intercept=intercept, search=search
    )


def row_space(z: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64] | None]:
    """Coordinates of the rows in an orthonormal basis of the space they span, and that basis.

    With more features than rows the penalised solution lies in that space, so solving there is exact and quick (Hastie
    and Tibshirani, Efficient quadratic regularization for expression arrays, 2004).
    """
    n, m = z.shape
    if m <= n:
        return z, None
    left, scale, basis = np.linalg.svd(z, full_matrices=False)
    return left * scale, basis


def logistic(
    rows: npt.NDArray[np.float64], truth: npt.NDArray[np.intp], weights: Vector, c: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """coef (k, m) and intercept (k,) of a multinomial logistic regression with an L2 penalty, by L-BFGS."""
    solver = LogisticRegression(C=c, solver="lbfgs", max_iter=10_000, tol=1e-6)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            solver.fit(rows, truth, sample_weight=weights)
    except ConvergenceWarning as fault:
        raise ModelError(
            f"a logistic regression that does not converge with C = {c:g} ({fault})",
            expected="features on which it converges",
            todo="look for duplicated or extreme features, or choose another encoder",
        ) from fault
    coef, intercept = solver.coef_, solver.intercept_
    if len(intercept) == 1:
        return np.concatenate([-coef / 2, coef / 2]), np.concatenate([-intercept / 2, intercept / 2])
    return np.ascontiguousarray(coef), intercept
