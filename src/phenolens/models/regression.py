"""Logistic regression on a table, with an L2 or an elastic-net penalty chosen on the tune split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import ModelError
from phenolens.core.types import Example
from phenolens.models.bags import Scaler
from phenolens.models.columns import Matrix, TableModel
from phenolens.models.contract import Probabilities
from phenolens.models.determinism import one_thread
from phenolens.models.linear import GRID, log_loss, logistic, row_space, softmax
from phenolens.models.tabular import Reader, Table, Truth, fit_table
from phenolens.tasks._contract import Task

_STEPS, _CLOSE = 50_000, 1e-7


@dataclass(frozen=True, kw_only=True)
class FittedRegression:
    """Standardise the row, then softmax of a linear map. coef is (k, m), intercept (k,), float64."""

    reader: Reader
    scaler: Scaler
    coef: Matrix
    intercept: Matrix
    search: Mapping[str, Any]

    def predict(self, examples: Sequence[Example]) -> Probabilities:
        """Probabilities (n, k); every row is computed alone."""
        return self.reader.predict(examples, self._one)

    def _one(self, row: Matrix) -> Matrix:
        return softmax((self.coef * self.scaler.apply(row)).sum(1) + self.intercept)

    def coefficients(self) -> dict[str, Matrix]:
        """Of each column, (k,): the change of each class's logit with one standard deviation of the training units."""
        return dict(zip(self.reader.names, self.coef.T.copy(), strict=True))

    def flags(self, examples: Sequence[Example]) -> list[str]:
        """What is to be said of each example's set of parts; empty where training had it."""
        return self.reader.flags(examples)

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        own = {"mean": self.scaler.mean, "scale": self.scaler.scale, "coef": self.coef, "intercept": self.intercept}
        return {**self.reader.weights(), **own}

    def config(self) -> dict[str, Any]:
        """The table as training saw it, and the search of the penalty."""
        return {"table": self.reader.config(), "search": dict(self.search)}

    @classmethod
    def restore(
        cls, settings: TableModel, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]
    ) -> FittedRegression:
        """From what `weights()` and `config()` gave."""
        return cls(
            reader=Reader.restore(settings, weights, config["table"]),
            scaler=Scaler(mean=weights["mean"], scale=weights["scale"]),
            coef=weights["coef"],
            intercept=weights["intercept"],
            search=config["search"],
        )


def fit_regression(
    settings: TableModel, train: Sequence[Example], tune: Sequence[Example], task: Task, *, l1_ratio: float
) -> FittedRegression:
    """Fit on `train` with the C of GRID that has the least class-weighted log loss on `tune` (a tie: the smaller C).

    The model is not refitted on train and tune together. Raises ModelError when there is nothing to choose on, or when
    a fit does not converge.
    """
    table = fit_table(settings, train, task)
    tune_x, tune_truth = table.held(tune, task)
    with one_thread():
        scaler = Scaler.fit([table.x])
        z, tune_z = scaler.apply(table.x), scaler.apply(tune_x)
        found = _elastic_path(z, table, l1_ratio) if l1_ratio else _ridge_path(z, table)
        losses = [log_loss(softmax(tune_z @ coef.T + b), tune_truth, table.class_weights) for coef, b in found]
    best = int(np.argmin(losses))
    coef, intercept = found[best]
    search = {
        "C": GRID[best],
        "l1_ratio": l1_ratio,
        "tune_loss": {f"{c:g}": loss for c, loss in zip(GRID, losses, strict=True)},
        "used": int((coef != 0).any(0).sum()),
    }
    return FittedRegression(reader=table.reader, scaler=scaler, coef=coef, intercept=intercept, search=search)


def _ridge_path(z: Matrix, table: Table) -> list[tuple[Matrix, Matrix]]:
    rows, basis = row_space(z)
    weights = table.class_weights[table.truth]
    found = (logistic(rows, table.truth, weights, c) for c in GRID)
    return [(inner if basis is None else inner @ basis, intercept) for inner, intercept in found]


def _elastic_path(z: Matrix, table: Table, l1_ratio: float) -> list[tuple[Matrix, Matrix]]:
    """coef (k, m) and intercept (k,) for each C of GRID, each started from the one before."""
    k = len(table.class_weights)
    start = np.zeros((1 if k == 2 else k, z.shape[1] + 1))
    found = []
    for c in GRID:
        start = elastic_net(z, table.truth, table.class_weights[table.truth], c=c, l1_ratio=l1_ratio, start=start)
        coef, intercept = start[:, :-1].copy(), start[:, -1].copy()
        if k == 2:
            coef, intercept = np.concatenate([-coef, coef]) / 2, np.concatenate([-intercept, intercept]) / 2
        found.append((coef, intercept))
    return found


def elastic_net(z: Matrix, truth: Truth, weights: Matrix, *, c: float, l1_ratio: float, start: Matrix) -> Matrix:
    """Coefficients and intercept in one array (q, m + 1), q = 1 for two classes, else the number of classes.

    Least C · Σ w·(−log p) + l1_ratio·|coef|₁ + (1 − l1_ratio)/2·|coef|₂², as scikit-learn writes it; the intercept is
    not penalised. Accelerated proximal gradient (Beck and Teboulle, A fast iterative shrinkage-thresholding algorithm,
    2009) with restarts (O'Donoghue and Candès, Adaptive restart for accelerated gradient schemes, 2015). Raises
    ModelError when it does not converge.
    """
    x = np.column_stack([z, np.ones(len(z))])
    q = len(start)
    y = np.eye(q)[truth] if q > 1 else truth[:, None].astype(np.float64)
    step = 1 / (np.linalg.norm(x * np.sqrt(weights)[:, None], 2) ** 2 * (0.25 if q == 1 else 0.5))
    cut, shrink = step * l1_ratio / c, 1 / (1 + step * (1 - l1_ratio) / c)
    w: Matrix = start
    ahead, speed = start, 1.0
    for _ in range(_STEPS):
        logits = x @ ahead.T
        p = 1 / (1 + np.exp(-np.clip(logits, -500, 500))) if q == 1 else softmax(logits)
        new = ahead - step * ((p - y) * weights[:, None]).T @ x
        new[:, :-1] = np.sign(new[:, :-1]) * np.maximum(np.abs(new[:, :-1]) - cut, 0) * shrink
        moved = new - w
        if float(((ahead - new) * moved).sum()) > 0:
            speed = 1.0
        faster = (1 + np.sqrt(1 + 4 * speed**2)) / 2
        worst = float(np.abs(ahead - new).max())
        ahead, w, speed = new + (speed - 1) / faster * moved, new, faster
        if worst <= _CLOSE * step * max(1.0, float(weights.sum())):
            return w
    raise ModelError(
        f"an elastic net that does not converge in {_STEPS} steps with C = {c:g}",
        expected="features on which it converges",
        todo="look for duplicated or extreme features, or set l1_ratio: 0",
    )
