"""Two distances from a cloud of vectors, put on one scale: to the nearest neighbours, and from the middle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.models.determinism import one_thread

Floats = npt.NDArray[np.float64]

FEWEST_UNITS = 10
"""Reference units below which there is no principal component (at most n / 10 of them)."""
NEIGHBOURS = 5
_SCALE_AT = 0.95


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """reference (n, d) float32 unit vectors, centre (d,), axes (m, d), spread (m + 1,), scales (2,).

    Cosine: the cosine distance to the NEIGHBOURS-th nearest of the reference (Sun, Ming, Zhu and Li, Out-of-distribution
    detection with deep nearest neighbors, 2022). Mahalanobis: in the first m <= n / 10 principal components with the
    variances shrunk to their mean (Ledoit and Wolf, 2004); what lies outside of them counts as one component more, with
    its mean square in the reference as variance, as in the combined index of Yue and Qin (2001), so that what no
    training unit shows is seen too. The score is the larger of both, each over its 95% point in the reference.
    """

    reference: npt.NDArray[np.float32]
    centre: Floats
    axes: Floats
    spread: Floats
    scales: Floats

    @property
    def components(self) -> int:
        return len(self.axes)

    def distances(self, z: Floats) -> Floats:
        """Cosine and Mahalanobis distance of one vector (d,), (2,)."""
        near = np.sort(1 - (self.reference * _direction(z)).sum(1))
        return np.array([near[NEIGHBOURS - 1], self._from_centre(z)])

    def score(self, z: Floats) -> float:
        """The larger of both distances, each over its scale."""
        return float((self.distances(z) / self.scales).max())

    def _from_centre(self, z: Floats) -> float:
        moved = z - self.centre
        along = (self.axes * moved).sum(1)
        rest = max(0.0, float((moved**2).sum() - (along**2).sum()))
        squares = np.append(along**2, rest)
        known = self.spread > 0
        return float(np.sqrt((squares[known] / self.spread[known]).sum()))

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        names = ("reference", "centre", "axes", "spread", "scales")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def restore(cls, weights: Mapping[str, npt.NDArray[Any]]) -> Likeness:
        """From what `weights()` gave."""
        return cls(**{name: weights[name] for name in ("reference", "centre", "axes", "spread", "scales")})


def fit_likeness(z: Floats) -> Likeness:
    """From standardised vectors (n, d), n at least FEWEST_UNITS."""
    from sklearn.covariance import ledoit_wolf_shrinkage

    n, d = z.shape
    with one_thread():
        centre = z.mean(0)
        _, _, basis = np.linalg.svd(z - centre, full_matrices=False)
        axes = np.ascontiguousarray(basis[: min(max(1, n // 10), n - 1, d)])
        along = (z - centre) @ axes.T
        rest = np.maximum(0, ((z - centre) ** 2).sum(1) - (along**2).sum(1))
        shrunk = float(ledoit_wolf_shrinkage(along, assume_centered=True))
        variance = along.var(axis=0)
        spread = np.append((1 - shrunk) * variance + shrunk * variance.mean(), rest.mean())
        spread = np.where(spread > 1e-9 * max(1.0, float(spread.max())), spread, 0.0)
        reference = np.stack([_direction(row) for row in z]).astype(np.float32)
        made = Likeness(reference=reference, centre=centre, axes=axes, spread=spread, scales=np.ones(2))
        apart = 1 - reference.astype(np.float64) @ reference.T.astype(np.float64)
    np.fill_diagonal(apart, np.inf)
    cosine = np.sort(apart, axis=1)[:, NEIGHBOURS - 1]
    middle = np.array([made.distances(row)[1] for row in z])
    scales = np.array([np.quantile(cosine, _SCALE_AT), np.quantile(middle, _SCALE_AT)])
    return Likeness(
        reference=reference, centre=centre, axes=axes, spread=spread, scales=np.where(scales > 1e-9, scales, 1.0)
    )


def _direction(z: Floats) -> Floats:
    """The vector at length one; zero stays zero, at a distance of one from everything."""
    length = float(np.sqrt((z**2).sum()))
    return z / length if length > 0 else z
