"""Three distances from a cloud of units: to the nearest, from the middle, and from the rules that hold in all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.models.determinism import one_thread
from phenolens.models.look import evenly

Floats = npt.NDArray[np.float64]

FEWEST = 10
"""Reference patients below which there is no principal component (at most n / 10 of them)."""
NEIGHBOURS = 5
LEADING = 0.95
"""The share of the variance of instances that the third distance leaves to the others."""
MOST_ROWS = 512
"""Instances of all units together that a covariance is made of."""
_SCALE_AT = 0.95


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """Principal axes of rows: axes (r, d), float32, of length one; variance (r + 1,), the last of what has no axis."""

    axes: npt.NDArray[np.float32]
    variance: Floats

    def squares(self, moved: Floats, first: int, last: int | None = None) -> float:
        """The squared Mahalanobis distance of a centred vector (d,) along the axes from `first` to `last`, or, where
        that is None, from `first` on and in all directions that have no axis."""
        along = (self.axes * moved).sum(1) ** 2
        told = float((along / self.variance[:-1])[first:last].sum())
        if last is not None or self.variance[-1] <= 0:
            return told
        return told + max(0.0, float((moved**2).sum() - along.sum())) / float(self.variance[-1])


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """reference (n, d), float32, rows of length one; centre (d,); `units` and `instances`, clouds about their middles;
    leading (1,), how many axes of the instances hold LEADING of their variance.

    1. The cosine distance of a unit to the NEIGHBOURS-th nearest of the reference (Sun, Ming, Zhu and Li,
       Out-of-distribution detection with deep nearest neighbors, 2022).
    2. Its Mahalanobis distance in the first n / 10 principal components of the units.
    3. Its Mahalanobis distance in all directions but the leading ones of the single instances: how far it breaks the
       rules that hold in every training image, whatever the tissue. Exchanged colours are small in the leading
       components and seen here alone. Units are too few to know these directions; their instances are not.

    Both are per direction (root mean square), so that references of different sizes can be compared, and variances are
    shrunk to their mean (Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance
    matrices, 2004).
    """

    reference: npt.NDArray[np.float32]
    centre: Floats
    units: Cloud
    instances: Cloud
    leading: npt.NDArray[np.int64]

    @property
    def components(self) -> int:
        """How many leading components the second distance looks at."""
        return min(max(1, len(self.reference) // 10), len(self.units.axes))

    def distances(self, z: Floats) -> Floats:
        """The three distances of one unit (d,)."""
        near = np.sort(1 - (self.reference * _direction(z)).sum(1))
        moved = z - self.centre
        first = int(self.leading[0])
        among = self.units.squares(moved, 0, self.components) / self.components
        beyond = self.instances.squares(moved, first) / max(1, len(z) - first)
        return np.array([near[NEIGHBOURS - 1], np.sqrt(among), np.sqrt(beyond)])

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("units", "instances")}
        clouds = {"units": self.units, "instances": self.instances}
        return plain | {f"{of}.{f.name}": getattr(c, f.name) for of, c in clouds.items() for f in fields(c)}

    @classmethod
    def restore(cls, weights: Mapping[str, npt.NDArray[Any]]) -> Likeness:
        """From what `weights()` gave."""
        clouds = {
            of: Cloud(axes=weights[f"{of}.axes"], variance=weights[f"{of}.variance"]) for of in ("units", "instances")
        }
        return cls(reference=weights["reference"], centre=weights["centre"], leading=weights["leading"], **clouds)


def fit_likeness(z: Floats, rows: Floats) -> Likeness:
    """From standardised units (n, d) and their standardised instances (m, d)."""
    with one_thread():
        units = _cloud(z - z.mean(0))
        instances = _cloud(centred := (few := evenly(rows, MOST_ROWS)) - few.mean(0))
        share = np.cumsum(instances.variance[:-1]) / _total(instances, centred.shape[1])
    return Likeness(
        reference=np.stack([_direction(row) for row in z]).astype(np.float32),
        centre=z.mean(0),
        units=units,
        instances=instances,
        leading=np.array([min(int(np.searchsorted(share, LEADING)), len(share))], dtype=np.int64),
    )


def scale_of(distances: Sequence[Floats]) -> Floats:
    """Median and 95% point of each distance, (2, 3), of units that were not in the reference."""
    usual: Floats = np.quantile(np.stack(distances), [0.5, _SCALE_AT], axis=0)
    usual[1] = np.maximum(usual[1], usual[0] + 1e-9)
    return usual


def score(distances: Floats, usual: Floats) -> float:
    """The largest of three distances, each on the scale where 0 is the median and 1 the 95% point of `usual`; at least
    0."""
    median, high = usual
    return max(0.0, float(((distances - median) / (high - median)).max()))


def _total(cloud: Cloud, d: int) -> float:
    return float(cloud.variance[:-1].sum() + cloud.variance[-1] * (d - len(cloud.axes)))


def _cloud(x: Floats) -> Cloud:
    """From centred rows (n, d): by products of rows or of columns, whichever are fewer."""
    shrunk, mean = _shrinkage(x)
    n, d = x.shape
    if n < d:
        size, turned = np.linalg.eigh(x @ x.T)
        basis = turned.T @ x
    else:
        size, basis = np.linalg.eigh(x.T @ x)
        basis = basis.T
    size, basis = size[::-1], basis[::-1]
    kept = size > 1e-12 * max(float(size[0]), 1e-12)
    kept[0] = True
    axes = np.stack([_direction(row) for row in basis[kept]])
    variance = np.append((1 - shrunk) * np.maximum(size[kept], 0) / n, 0.0) + shrunk * mean
    return Cloud(axes=axes.astype(np.float32), variance=np.append(np.maximum(variance[:-1], 1e-12), variance[-1]))


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
