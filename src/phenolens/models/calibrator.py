"""Recalibration of a model's probabilities on the tune patients of its fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.models.linear import softmax

Floats = npt.NDArray[np.float64]
Truth = npt.NDArray[np.intp]

FEWEST = 10
"""Tune patients below which nothing is fitted."""
_LEAST_P = 1e-9
_STEPS, _SMALLEST_STEP = 100, 1e-10
_ENDLESS = "no finite value: the tune patients are told apart without error, or all have equal probabilities"


@dataclass(frozen=True, kw_only=True)
class Calibrator:
    """q = softmax(slope · log p + bias): a bias a class, (k,), that of the first 0, and one slope (an inverse
    temperature; 1 where only the intercept is fitted).

    With two classes this is the logistic recalibration of Cox (Two further applications of a model for binary
    regression, 1958) and Steyerberg (Clinical prediction models, 2019, chapter 15), intercept first; with more, the
    slope is the temperature of Guo et al., On calibration of modern neural networks, 2017. `why` says why nothing was
    fitted; then there is no q.
    """

    bias: Floats
    slope: float
    patients: int
    why: str = ""

    @property
    def fitted(self) -> bool:
        return not self.why

    def apply(self, p: Floats) -> Floats:
        """Recalibrated probabilities (n, k) of p (n, k); NaN where nothing was fitted."""
        if not self.fitted:
            return np.full_like(p, np.nan)
        return softmax(self.slope * _logs(p) + self.bias)

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        return {"guard.calibrator": np.concatenate([[self.slope], self.bias])} if self.fitted else {}

    def config(self) -> dict[str, Any]:
        return {"patients": self.patients, "why": self.why}

    @classmethod
    def restore(cls, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Calibrator:
        """From what `weights()` and `config()` gave."""
        held = weights.get("guard.calibrator", np.ones(1))
        return cls(bias=held[1:], slope=float(held[0]), patients=config["patients"], why=config["why"])


def fit_calibrator(
    p: Floats, truth: Truth, patients: Sequence[str], classes: Sequence[str], *, slope: bool
) -> Calibrator:
    """Maximum likelihood on units p (n, k), truth (n,), each patient weighing one, however many units there are.

    Not fitted, with the reason, under FEWEST patients, where a class has none, and where the slope has no finite value
    above 0.
    """
    who, of = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    n = len(who)
    absent = [c for i, c in enumerate(classes) if not (truth == i).any()]
    why = f"{n} tune patients ({FEWEST} needed)" if n < FEWEST else ""
    why = why or (f"no tune patient of class {', '.join(absent)}" if absent else "")
    made = None
    if not why:
        made = _fit(_logs(p), truth, 1 / np.bincount(of)[of], slope=slope)
        why = "" if made is not None else _ENDLESS
    if made is not None and made[0] <= 0:
        why = f"a slope of {made[0]:.2f}: the model ranks the tune patients the wrong way round"
    fitted, bias = (1.0, np.zeros(len(classes))) if made is None or why else made
    return Calibrator(bias=bias, slope=fitted, patients=n, why=why)


def _fit(z: Floats, truth: Truth, weight: Floats, *, slope: bool) -> tuple[float, Floats] | None:
    """Slope and biases by Newton's method on the convex mean log loss; None where it has no finite minimum."""
    k = z.shape[1]
    scale = float(z.std(axis=1).mean()) if slope else 1.0
    if slope and scale < 1e-9:
        return None
    own = np.eye(k)[truth]
    theta = np.zeros(k)
    theta[0] = scale
    loss = _loss(theta, z / scale, own, weight)
    for _ in range(_STEPS):
        gradient, curve = _derivatives(theta, z / scale, own, weight)
        free = slice(0, k) if slope else slice(1, k)
        size = np.linalg.eigvalsh(curve[free, free])
        if size[0] <= 1e-10 * max(size[-1], 1e-12) or loss < 1e-6:
            return None
        step = np.zeros(k)
        step[free] = np.linalg.solve(curve[free, free], gradient[free])
        while (tried := _loss(theta - step, z / scale, own, weight)) > loss + 1e-15 and np.abs(step).max() > 1e-14:
            step /= 2
        theta, loss = theta - step, tried
        if np.abs(step).max() < _SMALLEST_STEP:
            return float(theta[0] / scale), np.concatenate([[0.0], theta[1:]])
    return None


def _loss(theta: Floats, z: Floats, own: Floats, weight: Floats) -> float:
    logits = theta[0] * z + np.concatenate([[0.0], theta[1:]])
    top = logits.max(1)
    spread = top + np.log(np.exp(logits - top[:, None]).sum(1))
    return float((weight * (spread - (own * logits).sum(1))).sum() / weight.sum())


def _derivatives(theta: Floats, z: Floats, own: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Gradient (k,) and curvature (k, k) of the loss in slope and the biases of the second class and on."""
    q = softmax(theta[0] * z + np.concatenate([[0.0], theta[1:]]))
    share = weight / weight.sum()
    k = z.shape[1]
    # design (n, k classes, k parameters): logits are linear in them
    design = np.concatenate([z[:, :, None], np.broadcast_to(np.eye(k)[None, :, 1:], (len(z), k, k - 1))], axis=2)
    gradient = np.einsum("n,nc,ncp->p", share, q - own, design)
    mean = np.einsum("nc,ncp->np", q, design)
    square = np.einsum("n,nc,ncp,ncr->pr", share, q, design, design)
    return gradient, square - np.einsum("n,np,nr->pr", share, mean, mean)


def _logs(p: Floats) -> Floats:
    logs: Floats = np.log(np.maximum(p, _LEAST_P))
    return logs
