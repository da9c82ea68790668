"""Whole sites dealt to folds with classes as even as they can be: greedy, then moves and exchanges.

The aim is that of preserved-site cross-validation (Howard et al., Nature Communications 12:4423, 2021), there solved
as a quadratic programme; here by local search with several starts. Arithmetic is in whole numbers, so that every
machine finds the same folds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Folds = list[frozenset[str]]
_SCALE = 10**6


def preserved(
    counts: Mapping[str, Mapping[str, int]],
    folds: int,
    orders: Sequence[Sequence[str]],
    seen: Collection[frozenset[frozenset[str]]] = (),
) -> Folds | None:
    """The most even folds reached from any order of the sites (counts: site -> class -> patients).

    None when every start ends in a partition of `seen`.
    """
    best: tuple[int, Folds] | None = None
    for start, order in enumerate(orders):
        sites = sorted(order, key=lambda s: -sum(counts[s].values())) if start == 0 else list(order)
        load, weight = _table(counts, sites)
        home = _improved(load, weight, _greedy(load, weight, folds), folds)
        made = [frozenset(s for s, h in zip(sites, home, strict=True) if h == fold) for fold in range(folds)]
        cost = _cost(load, weight, home, folds)
        if frozenset(made) not in seen and (best is None or cost < best[0]):
            best = cost, made
    return best[1] if best else None


def _table(counts: Mapping[str, Mapping[str, int]], sites: Sequence[str]) -> tuple[Ints, Ints]:
    """Patients by site and class, with a last column for all; and what an imbalance of each column weighs."""
    load = np.array([[*counts[s].values(), sum(counts[s].values())] for s in sites], dtype=np.int64)
    return load, _SCALE // np.maximum(load.sum(0), 1)


def _sums(load: Ints, home: Ints, folds: int) -> Ints:
    sums = np.zeros((folds, load.shape[1]), dtype=np.int64)
    np.add.at(sums, home, load)
    return sums


def _cost(load: Ints, weight: Ints, home: Ints, folds: int) -> int:
    """Weighted sum of squared fold counts: least when every column is even over the folds."""
    return int((_sums(load, home, folds) ** 2 * weight).sum())


def _greedy(load: Ints, weight: Ints, folds: int) -> Ints:
    sums = np.zeros((folds, load.shape[1]), dtype=np.int64)
    home = np.zeros(len(load), dtype=np.int64)
    for i, site in enumerate(load):
        home[i] = np.argmin((sums * site * weight).sum(1))
        sums[home[i]] += site
    return home


def _improved(load: Ints, weight: Ints, home: Ints, folds: int) -> Ints:
    """Take the best move or exchange of sites until none lowers the cost; no fold is emptied."""
    every = np.arange(len(load))
    square = (load**2 * weight).sum(1)
    cross = (load * weight) @ load.T
    while True:
        at = (load * weight) @ _sums(load, home, folds).T
        own = at[every, home]
        move = at - own[:, None] + square[:, None]
        move[np.bincount(home, minlength=folds)[home] == 1] = 0
        move[every, home] = 0
        there = at[:, home]
        swap = there + there.T - own[:, None] - own[None, :] + square[:, None] + square[None, :] - 2 * cross
        swap[home[:, None] == home[None, :]] = 0
        if min(int(move.min()), int(swap.min())) >= 0:
            return home
        home = home.copy()
        if move.min() <= swap.min():
            site, fold = np.unravel_index(move.argmin(), move.shape)
            home[site] = fold
        else:
            a, b = np.unravel_index(swap.argmin(), swap.shape)
            home[a], home[b] = home[b], home[a]
