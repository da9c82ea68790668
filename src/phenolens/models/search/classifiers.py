"""The classifiers of the search: quick on hundreds of rows, and each a few arrays after fitting.

Every one gives decisions (n, q) from prepared rows (n, p): q = 1 for two classes (higher: the second), else one column
a class. Probabilities come later, from decisions on rows that a fit did not see.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from phenolens.models.columns import Matrix
from phenolens.models.linear import softmax
from phenolens.models.search.prepare import Block
from phenolens.models.tabular import Truth

_NEWTON, _LBFGS, _SVM = 50, 200, 20_000


class Decides(Protocol):
    """A fitted classifier."""

    kind: ClassVar[str]

    def decide(self, z: Matrix) -> Matrix: ...
    def weights(self) -> dict[str, npt.NDArray[Any]]: ...


@dataclass(frozen=True, kw_only=True)
class Linear:
    """coef (q, p) and intercept (q,)."""

    kind: ClassVar[str] = "linear"
    coef: Matrix
    intercept: Matrix

    def decide(self, z: Matrix) -> Matrix:
        decisions: Matrix = z @ self.coef.T + self.intercept
        return decisions

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        return {"coef": self.coef, "intercept": self.intercept}


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """Gaussian kernels on support rows (s, p) with coefficients (q, s); gamma (1,), intercept (q,)."""

    kind: ClassVar[str] = "kernel"
    rows: Matrix
    dual: Matrix
    intercept: Matrix
    gamma: Matrix

    def decide(self, z: Matrix) -> Matrix:
        squares = (z**2).sum(1)[:, None] + (self.rows**2).sum(1) - 2 * z @ self.rows.T
        decisions: Matrix = np.exp(-self.gamma * np.maximum(squares, 0)) @ self.dual.T + self.intercept
        return decisions

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        return {"rows": self.rows, "dual": self.dual, "intercept": self.intercept, "gamma": self.gamma}


@dataclass(frozen=True, kw_only=True)
class Bayes:
    """Independent normal columns a class: mean and variance (k, p), log prior (k,)."""

    kind: ClassVar[str] = "bayes"
    mean: Matrix
    variance: Matrix
    prior: Matrix

    def decide(self, z: Matrix) -> Matrix:
        joint = np.empty((len(z), len(self.prior)))
        for c, (mean, variance) in enumerate(zip(self.mean, self.variance, strict=True)):
            joint[:, c] = self.prior[c] - 0.5 * ((z - mean) ** 2 / variance + np.log(variance)).sum(1)
        return _two(joint)

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        return {"mean": self.mean, "variance": self.variance, "prior": self.prior}


@dataclass(frozen=True, kw_only=True)
class Grown:
    """Trees in flat arrays; decisions are `start` (q,) and the sum of the leaves."""

    kind: ClassVar[str] = "trees"
    feature: npt.NDArray[np.int32]
    threshold: Matrix
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    value: Matrix
    roots: npt.NDArray[np.int32]
    start: Matrix

    def decide(self, z: Matrix) -> Matrix:
        from phenolens.models.search.trees import total

        grown = total(
            np.ascontiguousarray(z), self.feature, self.threshold, self.left, self.right, self.value, self.roots
        )
        decisions: Matrix = grown + self.start
        return decisions

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        names = ("feature", "threshold", "left", "right", "value", "roots", "start")
        return {name: getattr(self, name) for name in names}


KINDS: Mapping[str, Callable[..., Decides]] = {c.kind: c for c in (Linear, Kernel, Bayes, Grown)}


def fit_classifier(
    name: str, block: Block, truth: Truth, weights: Matrix, settings: Mapping[str, float], *, seed: int
) -> Decides:
    """Fit one on the prepared rows; `weights` (k,) are those of the classes."""
    if name in ("forest", "boosting"):
        return _trees(name, block, truth, weights, settings, seed)
    fit = {"logistic": _logistic, "svm_linear": _svm, "svm_rbf": _svm, "lda": _lda, "naive_bayes": _bayes}[name]
    return fit(block, truth, weights, settings)


def _two(joint: Matrix) -> Matrix:
    """Decisions from one figure a class: with two classes their difference."""
    return joint[:, 1:] - joint[:, :1] if joint.shape[1] == 2 else joint


def _logistic(block: Block, truth: Truth, weights: Matrix, settings: Mapping[str, float]) -> Decides:
    rows, basis = block.thin
    if len(weights) == 2:
        inner, intercept = _newton(rows, truth, weights[truth], settings["c"])
    else:
        inner, intercept = _multinomial(rows, np.eye(len(weights))[truth], weights[truth], settings["c"])
    return Linear(coef=inner if basis is None else inner @ basis, intercept=intercept)


def _newton(rows: Matrix, truth: Truth, weights: Matrix, c: float) -> tuple[Matrix, Matrix]:
    """Two classes with an L2 penalty by Newton's method, each step halved until the loss falls."""
    x = np.column_stack([rows, np.ones(len(rows))])
    penalty = np.full(x.shape[1], 1 / c)
    penalty[-1] = 1e-10
    signs = 2.0 * truth - 1

    def loss(w: Matrix) -> float:
        return float((weights * np.logaddexp(0, -signs * (x @ w))).sum() + 0.5 * (penalty * w**2).sum())

    w = np.zeros(x.shape[1])
    now = loss(w)
    for _ in range(_NEWTON):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -500, 500)))
        slope = x.T @ (weights * (p - truth)) + penalty * w
        if np.abs(slope).max() < 1e-6 * len(x):
            break
        bend = (x.T * (weights * p * (1 - p))) @ x
        bend[np.diag_indices_from(bend)] += penalty
        step = np.linalg.solve(bend, slope)
        size = 1.0
        while (new := loss(w - size * step)) > now and size > 1e-6:
            size /= 2
        if new > now:
            break
        w, now = w - size * step, new
    return w[None, :-1], w[-1:]


def _multinomial(rows: Matrix, y: Matrix, weights: Matrix, c: float) -> tuple[Matrix, Matrix]:
    """Several classes, y (n, k), with an L2 penalty by L-BFGS, up to a fixed number of steps."""
    from scipy.optimize import minimize

    k, p = y.shape[1], rows.shape[1]
    mass = weights[:, None] / weights.sum()

    def loss(flat: Matrix) -> tuple[float, Matrix]:
        w = flat.reshape(k, p + 1)
        share = softmax(rows @ w[:, :-1].T + w[:, -1])
        off = (share - y) * mass
        slope = np.column_stack([off.T @ rows + w[:, :-1] / (c * weights.sum()), off.sum(0)])
        chosen = np.log(np.maximum((share * y).sum(1), 1e-300))
        return float(-(mass[:, 0] * chosen).sum() + 0.5 * (w[:, :-1] ** 2).sum() / (c * weights.sum())), slope.ravel()

    found = minimize(loss, np.zeros(k * (p + 1)), jac=True, method="L-BFGS-B", options={"maxiter": _LBFGS})
    w = found.x.reshape(k, p + 1)
    return np.ascontiguousarray(w[:, :-1]), np.ascontiguousarray(w[:, -1])


def _svm(block: Block, truth: Truth, weights: Matrix, settings: Mapping[str, float]) -> Decides:
    """LIBSVM on kernels computed once for all workflows of a preparation; several classes one against the rest.

    A fit that reaches its limit of steps is kept as it is: the search sees how well it does.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import SVC

    gamma = None
    kernel = block.gram
    if "width" in settings:
        gamma = settings["width"] / max(float(np.median(block.squares)), 1e-12)
        kernel = np.exp(-gamma * block.squares)
    k = len(weights)
    dual, intercept = np.zeros((1 if k == 2 else k, len(truth))), np.zeros(1 if k == 2 else k)
    for row, positive in enumerate([1] if k == 2 else range(k)):
        machine = SVC(C=settings["c"], kernel="precomputed", max_iter=_SVM, tol=1e-3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            machine.fit(kernel, truth == positive, sample_weight=weights[truth])
        dual[row, machine.support_] = machine.dual_coef_[0]
        intercept[row] = machine.intercept_[0]
    if gamma is None:
        return Linear(coef=dual @ block.z, intercept=intercept)
    used = np.flatnonzero((dual != 0).any(0))
    return Kernel(rows=block.z[used], dual=dual[:, used], intercept=intercept, gamma=np.array([gamma]))


def _lda(block: Block, truth: Truth, weights: Matrix, settings: Mapping[str, float]) -> Decides:
    """Linear discriminants with the pooled covariance drawn towards a multiple of the identity."""
    rows, basis = block.thin
    k, share = len(weights), settings["shrinkage"]
    y = np.eye(k)[truth]
    counts = y.sum(0)
    means = (y.T @ rows) / counts[:, None]
    off = rows - means[truth]
    own = weights[truth]
    within = (off.T * own) @ off / own.sum()
    level = max(np.trace(within) / block.z.shape[1], 1e-12)
    within *= 1 - share
    within[np.diag_indices_from(within)] += share * level
    coef = np.linalg.solve(within, means.T).T
    mass = counts * weights
    intercept = np.log(mass / mass.sum()) - 0.5 * (coef * means).sum(1)
    if k == 2:
        coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
    return Linear(coef=coef if basis is None else coef @ basis, intercept=intercept)


def _bayes(block: Block, truth: Truth, weights: Matrix, settings: Mapping[str, float]) -> Decides:
    groups = [block.z[truth == c] for c in range(len(weights))]
    floor = settings["smoothing"] * max(float(block.z.var(0).max()), 1e-12) + 1e-9
    mass = np.array([len(g) for g in groups]) * weights
    return Bayes(
        mean=np.stack([g.mean(0) for g in groups]),
        variance=np.stack([g.var(0) for g in groups]) + floor,
        prior=np.log(mass / mass.sum()),
    )


def _trees(name: str, block: Block, truth: Truth, weights: Matrix, settings: Mapping[str, float], seed: int) -> Decides:
    from phenolens.models.search.trees import grow_boosted, grow_forest

    k, p = len(weights), block.z.shape[1]
    y = np.ascontiguousarray(np.eye(k)[truth][:, 1:] if k == 2 else np.eye(k)[truth])
    count, depth, leaf = (int(settings[n]) for n in ("trees", "depth", "leaf"))
    tries = max(1, round(p**0.5))
    mass = np.ascontiguousarray(weights[truth])
    start = np.zeros(y.shape[1])
    if name == "forest":
        grown = grow_forest(block.codes, y, mass, count, tries, depth, leaf, seed)
    else:
        share = np.clip((y * mass[:, None]).sum(0) / mass.sum(), 1e-6, 1 - 1e-6)
        start = np.log(share / (1 - share)) if k == 2 else np.log(share)
        grown = grow_boosted(block.codes, y, mass, start, count, tries, depth, leaf, settings["rate"], seed)
    feature, cut, left, right, value, roots = grown
    return Grown(
        feature=feature,
        threshold=block.edges[cut, feature],
        left=left,
        right=right,
        value=value / count if name == "forest" else value,
        roots=roots,
        start=start,
    )
