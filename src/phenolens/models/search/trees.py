"""Forests and boosted trees for hundreds of small fits: columns cut at 31 quantiles, everything in compiled loops.

Splits lessen the squared error of one or several targets; with indicators of the classes as targets that is the Gini
impurity. Random numbers come from a state of our own (SplitMix64), so that results do not depend on the thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit

CUTS = 31
F = TypeVar("F", bound=Callable[..., Any])


def _compiled(function: F) -> F:
    """Machine code that frees the GIL, kept on disk where a folder for it can be written, else for this process."""
    try:
        made: F = njit(cache=True, nogil=True)(function)
    except RuntimeError:
        made = njit(nogil=True)(function)
    return made


@_compiled
def encode(z: Any, edges: Any) -> Any:
    """How many edges (cuts, p) of its column each value of z (n, p) lies above: uint8 (n, p)."""
    n, p = z.shape
    codes = np.zeros((n, p), dtype=np.uint8)
    for i in range(n):
        for j in range(p):
            low, high = 0, edges.shape[0]
            while low < high:
                mid = (low + high) // 2
                if z[i, j] > edges[mid, j]:
                    low = mid + 1
                else:
                    high = mid
            codes[i, j] = low
    return codes


@_compiled
def _draw(state: Any, below: int) -> Any:
    """A whole number from 0 to below − 1; moves the state (1,) on. Steele, Lea and Flood 2014."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.int64((z >> np.uint64(32)) * np.uint64(below) >> np.uint64(32))


@_compiled
def _best_cut(codes: Any, j: int, rows: Any, target: Any, weight: Any, leaf: int, held: Any, sums: Any) -> Any:
    """The best cut of column j over these rows: score Σ S²/W of both sides, and the last code that goes left."""
    q = target.shape[1]
    held[:] = 0
    sums[:] = 0
    for i in rows:
        c = codes[i, j]
        held[c, 0] += 1
        held[c, 1] += weight[i]
        for t in range(q):
            sums[c, t] += weight[i] * target[i, t]
    count, mass = 0.0, 0.0
    all_mass = held[:, 1].sum()
    left = np.zeros(q)
    whole = np.zeros(q)
    for c in range(held.shape[0]):
        for t in range(q):
            whole[t] += sums[c, t]
    best, at = -np.inf, -1
    for c in range(held.shape[0] - 1):
        if held[c, 0] == 0:
            continue
        count += held[c, 0]
        mass += held[c, 1]
        for t in range(q):
            left[t] += sums[c, t]
        if count < leaf:
            continue
        if len(rows) - count < leaf:
            break
        score = 0.0
        for t in range(q):
            score += left[t] ** 2 / mass + (whole[t] - left[t]) ** 2 / (all_mass - mass)
        if score > best:
            best, at = score, c
    return best, at


@_compiled
def _grow(
    codes: Any,
    target: Any,
    curve: Any,
    weight: Any,
    rows: Any,
    tries: int,
    depth: int,
    leaf: int,
    state: Any,
    feature: Any,
    cut: Any,
    left: Any,
    right: Any,
    value: Any,
    where: Any,
) -> int:
    """One tree into the arrays from node 0 on; returns its number of nodes. `where` (n,) gets each row's leaf.

    A leaf holds Σ w·target / Σ w·curve of its rows; `tries` columns are drawn a node; rows are reordered.
    """
    p, q = codes.shape[1], target.shape[1]
    pool = np.arange(p)
    held, sums = np.zeros((CUTS + 1, 2)), np.zeros((CUTS + 1, q))
    starts, ends, levels = np.zeros(len(left), np.int64), np.zeros(len(left), np.int64), np.zeros(len(left), np.int64)
    ends[0] = len(rows)
    count, node = 1, 0
    while node < count:
        own = rows[starts[node] : ends[node]]
        best, column, at = -np.inf, -1, -1
        whole, mass, bend, error = np.zeros(q), 0.0, np.zeros(q), 0.0
        for i in own:
            mass += weight[i]
            for t in range(q):
                whole[t] += weight[i] * target[i, t]
                bend[t] += weight[i] * curve[i, t]
                error += weight[i] * target[i, t] ** 2
        for t in range(q):
            error -= whole[t] ** 2 / mass
        if levels[node] < depth and len(own) >= 2 * leaf and error > 1e-12 * mass and count + 2 <= len(left):
            for draw in range(tries):
                pick = draw + _draw(state, p - draw)
                pool[draw], pool[pick] = pool[pick], pool[draw]
                score, c = _best_cut(codes, pool[draw], own, target, weight, leaf, held, sums)
                if c >= 0 and score > best:
                    best, column, at = score, pool[draw], c
        feature[node], cut[node], left[node], right[node] = 0, 0, node, node
        if column >= 0:
            feature[node], cut[node], left[node], right[node] = column, at, count, count + 1
            middle = starts[node]
            for place in range(starts[node], ends[node]):
                i = rows[place]
                if codes[i, column] <= at:
                    rows[place], rows[middle] = rows[middle], i
                    middle += 1
            starts[count], ends[count], levels[count] = starts[node], middle, levels[node] + 1
            starts[count + 1], ends[count + 1], levels[count + 1] = middle, ends[node], levels[node] + 1
            count += 2
        else:
            for i in own:
                where[i] = node
        for t in range(q):
            value[node, t] = whole[t] / max(bend[t], 1e-9 * mass + 1e-300)
        node += 1
    return count


@_compiled
def grow_forest(codes: Any, target: Any, weight: Any, trees: int, tries: int, depth: int, leaf: int, seed: int) -> Any:
    """Breiman's forest on targets (n, q): per tree a bootstrap of the rows; leaves hold weighted means.

    Returns feature, cut, left, right (nodes,), value (nodes, q) and roots (trees,).
    """
    n, q = target.shape
    most = min(2 * n, 2 ** (depth + 1))
    feature, cut = np.zeros(trees * most, np.int32), np.zeros(trees * most, np.int32)
    left, right = np.zeros(trees * most, np.int32), np.zeros(trees * most, np.int32)
    value, roots = np.zeros((trees * most, q)), np.zeros(trees, np.int32)
    curve, where, times = np.ones((n, q)), np.zeros(n, np.int64), np.zeros(n)
    state = np.array([seed], dtype=np.uint64)
    used = 0
    for tree in range(trees):
        times[:] = 0
        for _ in range(n):
            times[_draw(state, n)] += 1
        rows = np.flatnonzero(times)
        end = used + most
        roots[tree] = used
        grown = _grow(
            codes,
            target,
            curve,
            times * weight,
            rows,
            tries,
            depth,
            leaf,
            state,
            feature[used:end],
            cut[used:end],
            left[used:end],
            right[used:end],
            value[used:end],
            where,
        )
        left[used : used + grown] += used
        right[used : used + grown] += used
        used += grown
    return feature[:used], cut[:used], left[:used], right[:used], value[:used], roots


@_compiled
def grow_boosted(
    codes: Any,
    target: Any,
    weight: Any,
    start: Any,
    trees: int,
    tries: int,
    depth: int,
    leaf: int,
    rate: float,
    seed: int,
) -> Any:
    """Gradient boosting of the logistic (q = 1) or multinomial loss on indicators (n, q), with Newton steps in leaves.

    Friedman, Greedy function approximation: a gradient boosting machine, 2001; for several classes one tree a round
    holds a value for each. `start` (q,) is where the logits begin. Returns as `grow_forest`, values times the rate.
    """
    n, q = target.shape
    most = min(2 * n, 2 ** (depth + 1))
    feature, cut = np.zeros(trees * most, np.int32), np.zeros(trees * most, np.int32)
    left, right = np.zeros(trees * most, np.int32), np.zeros(trees * most, np.int32)
    value, roots = np.zeros((trees * most, q)), np.zeros(trees, np.int32)
    logits = np.zeros((n, q)) + start
    residual, curve, where = np.zeros((n, q)), np.zeros((n, q)), np.zeros(n, np.int64)
    state = np.array([seed], dtype=np.uint64)
    used = 0
    for tree in range(trees):
        for i in range(n):
            peak, total = logits[i].max(), 0.0
            for t in range(q):
                total += np.exp(logits[i, t] - peak)
            for t in range(q):
                p = 1 / (1 + np.exp(-logits[i, t])) if q == 1 else np.exp(logits[i, t] - peak) / total
                residual[i, t] = target[i, t] - p
                curve[i, t] = p * (1 - p) * (1.0 if q == 1 else q / (q - 1))
        end = used + most
        roots[tree] = used
        grown = _grow(
            codes,
            residual,
            curve,
            weight,
            np.arange(n),
            tries,
            depth,
            leaf,
            state,
            feature[used:end],
            cut[used:end],
            left[used:end],
            right[used:end],
            value[used:end],
            where,
        )
        for node in range(used, used + grown):
            for t in range(q):
                value[node, t] = rate * min(max(value[node, t], -4.0), 4.0)
        for i in range(n):
            for t in range(q):
                logits[i, t] += value[used + where[i], t]
        left[used : used + grown] += used
        right[used : used + grown] += used
        used += grown
    return feature[:used], cut[:used], left[:used], right[:used], value[:used], roots


@_compiled
def total(z: Any, feature: Any, threshold: Any, left: Any, right: Any, value: Any, roots: Any) -> Any:
    """The sum over trees of the values in the leaves where the rows z (n, p) end, (n, q)."""
    out = np.zeros((len(z), value.shape[1]))
    for i in range(len(z)):
        for root in roots:
            node = root
            while left[node] != node:
                node = left[node] if z[i, feature[node]] <= threshold[node] else right[node]
            out[i] += value[node]
    return out
