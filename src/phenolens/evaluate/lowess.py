"""Locally weighted straight lines (Cleveland 1979) as a table of weights, so that any resample is smoothed cheaply.

The same rules as `stats::lowess` of R with `iter = 0` and its default span and step: no robustness iterations, so that
the smoother is linear in the outcomes. Units with equal predictors always stay together; R drops some of them where a
window ends among them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
SPAN = 2 / 3
_STEP = 0.01
_AT_ONCE = 250
"""Resamples smoothed in one go: bounds the memory to a few hundred rows a time."""


@dataclass(frozen=True, kw_only=True)
class Lowess:
    """A smoother over x (n,): its places (m,), and the tricube weight of each unit at each place (m, n)."""

    x: Floats
    places: Floats
    weights: Floats

    def fit(self, y: Floats, counts: Floats | None = None) -> Floats:
        """The smoothed y (n,) at the places (m,); (draws, m) where `counts` (draws, n) says how often a unit is drawn.

        A resample keeps the windows of the whole set.
        """
        apart = self.x[None] - self.places[:, None]
        pulled = self.weights * apart
        sums = np.concatenate([self.weights, pulled, pulled * apart, self.weights * y, pulled * y]).T
        rows = np.ones((1, len(self.x))) if counts is None else counts
        found = np.concatenate([_lines(part @ sums, np.ptp(self.x)) for part in _parts(rows)])
        return found[0] if counts is None else found

    def at(self, fitted: Floats, points: Floats) -> Floats:
        """Fitted values (m,) or (draws, m) at other points (k,), on straight lines between the places."""
        if len(self.places) == 1:
            return np.repeat(fitted, len(points), axis=-1)
        right = np.clip(np.searchsorted(self.places, points), 1, len(self.places) - 1)
        share = (points - self.places[right - 1]) / (self.places[right] - self.places[right - 1])
        between = np.zeros((len(self.places), len(points)))
        between[right - 1, np.arange(len(points))] = 1 - share
        between[right, np.arange(len(points))] += share
        found: Floats = fitted @ between
        return found


def lowess(x: Floats) -> Lowess:
    """The smoother over x (n,), n of two or more: each window holds two thirds of the units."""
    ordered = np.sort(x)
    n = len(x)
    held = max(2, min(n, int(SPAN * n + 1e-7)))
    places = _places(ordered)
    first = (
        np.searchsorted(ordered[: n - held] + ordered[held:], 2 * places) if held < n else np.zeros(len(places), int)
    )
    radius = np.maximum(places - ordered[first], ordered[first + held - 1] - places)[:, None]
    apart = np.abs(x[None] - places[:, None])
    far = np.divide(apart, radius, out=np.zeros_like(apart), where=radius > 0)
    weights = np.where(apart <= 0.001 * radius, 1.0, (1 - far**3) ** 3)
    return Lowess(x=x, places=places, weights=np.where(apart <= 0.999 * radius, weights, 0.0))


def _places(ordered: Floats) -> Floats:
    """Where lines are fitted: the ends, between them the last value within a hundredth of the range, or the next."""
    step = _STEP * (ordered[-1] - ordered[0])
    values = np.unique(ordered)
    chosen = [0]
    while chosen[-1] < len(values) - 1:
        within = int(np.searchsorted(values, values[chosen[-1]] + step, side="right")) - 1
        chosen.append(max(chosen[-1] + 1, within))
    return values[chosen]


def _parts(counts: Floats) -> list[Floats]:
    return np.array_split(counts, max(1, -(-len(counts) // _AT_ONCE)))


def _lines(sums: Floats, spread: float) -> Floats:
    """The height at its place of each weighted straight line; the weighted mean where x is not spread out there."""
    w, wd, wdd, wy, wdy = np.split(sums, 5, axis=1)
    mean = wd / w
    variance = wdd / w - mean**2
    wide = np.sqrt(np.maximum(variance, 0)) > 0.001 * spread
    slope = np.divide(wdy / w - mean * wy / w, variance, out=np.zeros_like(w), where=wide)
    height: Floats = wy / w - slope * mean
    return height
