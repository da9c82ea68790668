"""From raw columns to what a classifier sees: scaled, selected, turned to components; once for many workflows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

from phenolens.models.bags import CLIP
from phenolens.models.columns import Matrix
from phenolens.models.tabular import Truth

NEIGHBOURS = 10


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """Learnt from the rows of one fit: columns kept (p,), their centre and scale (p,), and axes (p, c) or None.

    With axes, `middle` (p,) is taken off before the scaled columns are projected.
    """

    columns: npt.NDArray[np.intp]
    centre: Matrix
    scale: Matrix
    middle: Matrix | None
    axes: Matrix | None

    def apply(self, x: Matrix) -> Matrix:
        """Rows (n, m) of raw columns to (n, p) or (n, c)."""
        z: Matrix = np.clip((x[:, self.columns] - self.centre) / self.scale, -CLIP, CLIP)
        return z if self.axes is None or self.middle is None else (z - self.middle) @ self.axes

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        own = {"columns": self.columns.astype(np.int64), "centre": self.centre, "scale": self.scale}
        return own if self.axes is None or self.middle is None else {**own, "middle": self.middle, "axes": self.axes}

    @classmethod
    def restore(cls, weights: Mapping[str, npt.NDArray[Any]]) -> Preparation:
        """From what `weights()` gave."""
        return cls(
            columns=weights["columns"].astype(np.intp),
            centre=weights["centre"],
            scale=weights["scale"],
            middle=weights.get("middle"),
            axes=weights.get("axes"),
        )


class Workbench:
    """The rows of one fit, x (n, m) and their classes (n,), with the rankings of columns computed when asked for."""

    def __init__(self, x: Matrix, truth: Truth, k: int) -> None:
        self.x, self.truth, self.k = x, truth, k
        spread = np.ptp(x, axis=0)
        self.usable = np.flatnonzero(spread > 1e-9 * np.abs(x).max(0) + 1e-12)
        if not len(self.usable):
            self.usable = np.arange(1)
        self._ranked: dict[str, npt.NDArray[np.intp]] = {}

    def prepare(self, scaling: str, selection: str, keep: int, components: float) -> Preparation:
        """Learn one preparation from these rows; columns that are constant here are never kept."""
        columns = np.sort(self._order(selection)[:keep]) if keep else self.usable
        held = self.x[:, columns]
        centre, scale = _scaling(held, scaling)
        z = np.clip((held - centre) / scale, -CLIP, CLIP)
        middle = z.mean(0) if components else None
        axes = None if middle is None else _axes(z - middle, components)
        return Preparation(columns=columns, centre=centre, scale=scale, middle=middle, axes=axes)

    def _order(self, selection: str) -> npt.NDArray[np.intp]:
        """The usable columns, best first; equal ones in their order."""
        if selection not in self._ranked:
            score = {"anova": anova, "ranks": kruskal, "relief": relief}[selection]
            values = score(self.x[:, self.usable], self.truth, self.k)
            self._ranked[selection] = self.usable[np.argsort(-values, kind="stable")]
        return self._ranked[selection]


class Block:
    """The prepared rows of one fit, z (n, p), with what classifiers of one preparation share."""

    def __init__(self, z: Matrix) -> None:
        self.z = z

    @cached_property
    def thin(self) -> tuple[Matrix, Matrix | None]:
        """Coordinates of the rows in an orthonormal basis of the space they span, and that basis (r, p); see linear."""
        n, p = self.z.shape
        if p <= n:
            return self.z, None
        basis, rows = np.linalg.qr(self.z.T)
        return np.ascontiguousarray(rows.T), np.ascontiguousarray(basis.T)

    @cached_property
    def gram(self) -> Matrix:
        """Inner products of the rows, (n, n)."""
        products: Matrix = self.z @ self.z.T
        return products

    @cached_property
    def squares(self) -> Matrix:
        """Squared distances of the rows, (n, n)."""
        own = np.diag(self.gram)
        return np.maximum(own[:, None] + own[None] - 2 * self.gram, 0)

    @cached_property
    def edges(self) -> Matrix:
        """Where the trees may cut, (cuts, p): quantiles of each column."""
        return np.ascontiguousarray(np.quantile(self.z, np.arange(1, 32) / 32, axis=0))

    @cached_property
    def codes(self) -> npt.NDArray[np.uint8]:
        """How many edges of its column each value lies above, (n, p)."""
        from phenolens.models.search.trees import encode

        found: npt.NDArray[np.uint8] = encode(self.z, self.edges)
        return found


def _scaling(x: Matrix, scaling: str) -> tuple[Matrix, Matrix]:
    spread = x.std(0)
    spread = np.where(spread > 0, spread, 1.0)
    if scaling == "minmax":
        low, high = x.min(0), x.max(0)
        return low, np.where(high > low, high - low, 1.0)
    if scaling == "zscore":
        return x.mean(0), spread
    low, middle, high = np.quantile(x, [0.25, 0.5, 0.75], axis=0)
    return middle, np.where(high - low > 1e-6 * spread, high - low, spread)


def _axes(z: Matrix, components: float) -> Matrix:
    """Principal axes (p, c): a number of them, or as many as explain a share of the variance."""
    _, scale, axes = np.linalg.svd(z, full_matrices=False)
    rank = max(int((scale > 1e-10 * max(scale[0], 1e-300)).sum()), 1)
    share = np.cumsum(scale**2) / max((scale**2).sum(), 1e-300)
    count = int(components) if components >= 1 else int(np.searchsorted(share, components)) + 1
    kept = axes[: min(count, rank)]
    signs = np.sign(kept[np.arange(len(kept)), np.abs(kept).argmax(1)])
    return np.ascontiguousarray((kept * signs[:, None]).T)


def anova(x: Matrix, truth: Truth, k: int) -> Matrix:
    """F of a one-way analysis of variance a column, (m,)."""
    y = np.eye(k)[truth]
    counts = y.sum(0)
    centred = x - x.mean(0)
    means = (y.T @ centred) / np.maximum(counts, 1)[:, None]
    between = (counts[:, None] * means**2).sum(0)
    within = np.maximum((centred**2).sum(0) - between, 1e-300)
    f: Matrix = between / within * (len(x) - k) / (k - 1)
    return f


def kruskal(x: Matrix, truth: Truth, k: int) -> Matrix:
    """F on average ranks, (m,): it orders columns as the p of Mann and Whitney, or of Kruskal and Wallis, does."""
    return anova(rankdata(x, axis=0), truth, k)


def relief(x: Matrix, truth: Truth, k: int) -> Matrix:
    """ReliefF weights a column, (m,): how far the nearest of other classes lie beyond the nearest of one's own.

    Kononenko, Estimating attributes: analysis and extensions of RELIEF, 1994; columns scaled by their range, up to
    NEIGHBOURS neighbours, other classes weighed by their shares.
    """
    z = (x - x.min(0)) / np.maximum(np.ptp(x, axis=0), 1e-300)
    far = cdist(z, z, "cityblock")
    np.fill_diagonal(far, np.inf)
    share = np.bincount(truth, minlength=k) / len(x)
    total = np.zeros(x.shape[1])
    for c in range(k):
        of = np.flatnonzero(truth == c)
        for other in range(k):
            to = np.flatnonzero(truth == other)
            count = min(NEIGHBOURS, len(to) - (c == other))
            if count < 1 or not len(of):
                continue
            near = to[np.argsort(far[np.ix_(of, to)], axis=1, kind="stable")[:, :count]]
            weight = -1.0 if c == other else share[other] / (1 - share[c])
            for j in range(count):
                total += weight / count * np.abs(z[of] - z[near[:, j]]).sum(0)
    return total / len(x)
