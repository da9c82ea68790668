"""Three distances from a cloud of vectors, put on one scale: to its nearest members, and twice from its middle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.models.determinism import one_thread

Floats = npt.NDArray[np.float64]

FEWEST = 10
"""Reference patients below which there is no principal component (at most n / 10 of them)."""
NEIGHBOURS = 5
_SCALE_AT, _FOLDS = 0.95, 5


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """reference (n, d) and axes (r, d), float32, rows of length one; centre (d,), variance (r + 1,), usual (2, 3).

    1. The cosine distance to the NEIGHBOURS-th nearest of the reference (Sun, Ming, Zhu and Li, Out-of-distribution
       detection with deep nearest neighbors, 2022).
    2. The Mahalanobis distance in the first n / 10 principal components.
    3. The Mahalanobis distance in all d directions; those that no reference unit shows have the variance that shrinking
       gives them, the last of `variance`. What breaks the rules of the training images (two colours exchanged) is often
       small in the leading components and seen here alone.

    Variances are shrunk to their mean (Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance
    matrices, 2004). The score is the largest of the three, each on the scale where 0 is the median and 1 the 95% point
    (`usual`) of the reference's own units when a fifth of its patients is left out of it in turn; at least 0.
    """

    reference: npt.NDArray[np.float32]
    centre: Floats
    axes: npt.NDArray[np.float32]
    variance: Floats
    usual: Floats

    @property
    def components(self) -> int:
        """How many leading components the second distance looks at."""
        return min(max(1, len(self.reference) // 10), len(self.axes))

    def distances(self, z: Floats) -> Floats:
        """The three distances of one vector (d,)."""
        near = np.sort(1 - (self.reference * _direction(z)).sum(1))
        moved = z - self.centre
        along = (self.axes * moved).sum(1) ** 2
        rest = max(0.0, float((moved**2).sum() - along.sum()))
        squares = along / self.variance[:-1]
        beyond = rest / self.variance[-1] if self.variance[-1] > 0 else 0.0
        return np.array(
            [near[NEIGHBOURS - 1], np.sqrt(squares[: self.components].sum()), np.sqrt(squares.sum() + beyond)]
        )

    def score(self, z: Floats) -> float:
        """The largest of the three distances, each on its scale; 0 for a unit in the middle of the reference."""
        median, high = self.usual
        return max(0.0, float(((self.distances(z) - median) / (high - median)).max()))

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def restore(cls, weights: Mapping[str, npt.NDArray[Any]]) -> Likeness:
        """From what `weights()` gave."""
        return cls(**{f.name: weights[f.name] for f in fields(cls)})


def fit_likeness(z: Floats, patients: Sequence[str]) -> Likeness:
    """From standardised vectors (n, d) and whose they are, (n,); of FEWEST patients at least."""
    _, of = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    folds = [of % _FOLDS == i for i in range(_FOLDS)]
    with one_thread():
        held = [cloud.distances(row) for out in folds for cloud in (_cloud(z[~out]),) for row in z[out]]
        made = _cloud(z)
    usual = np.quantile(np.stack(held), [0.5, _SCALE_AT], axis=0)
    usual[1] = np.maximum(usual[1], usual[0] + 1e-9)
    return replace(made, usual=usual)


def _cloud(z: Floats) -> Likeness:
    centre = z.mean(0)
    shrunk, mean = _shrinkage(z - centre)
    _, size, basis = np.linalg.svd(z - centre, full_matrices=False)
    kept = size > 1e-7 * max(float(size[0]), 1e-12)
    kept[0] = True
    variance = np.append((1 - shrunk) * size[kept] ** 2 / len(z), 0.0) + shrunk * mean
    return Likeness(
        reference=np.stack([_direction(row) for row in z]).astype(np.float32),
        centre=centre,
        axes=np.ascontiguousarray(basis[kept]).astype(np.float32),
        variance=np.append(np.maximum(variance[:-1], 1e-12), variance[-1]),
        usual=np.stack([np.zeros(3), np.ones(3)]),
    )


def _shrinkage(x: Floats) -> tuple[float, float]:
    """Ledoit and Wolf's weight of the mean variance, and that mean, of centred rows (n, d); by products of rows."""
    n, d = x.shape
    products = x @ x.T
    lengths = np.diag(products)
    mean = float(lengths.sum() / (n * d))
    square = float((products**2).sum() / n**2)
    apart = square / d - mean**2
    noise = float(((lengths**2).sum() - n * square) / (n**2 * d))
    return (min(1.0, noise / apart) if apart > 1e-12 else 1.0), mean


def _direction(z: Floats) -> Floats:
    """The vector at length one; zero stays zero, at a distance of one from everything."""
    length = float(np.sqrt((z**2).sum()))
    return z / length if length > 0 else z
