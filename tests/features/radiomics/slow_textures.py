"""Texture matrices and measures as the definitions read, voxel by voxel: slow, and written apart from the fast ones."""

from __future__ import annotations

from collections import Counter
from itertools import product
from math import exp, log2, sqrt
from typing import Any

import numpy as np
from scipy import ndimage as ndi

Pairs = Counter[tuple[int, int]]

AHEAD = [o for o in product((-1, 0, 1), repeat=3) if o > (0, 0, 0)]


def _at(levels: Any, place: tuple[int, ...]) -> int:
    inside = all(0 <= p < n for p, n in zip(place, levels.shape, strict=True))
    return int(levels[place]) if inside else 0


def _step(place: Any, offset: Any, times: int = 1) -> tuple[int, ...]:
    return tuple(int(p + times * o) for p, o in zip(place, offset, strict=True))


def co_occurrence(levels: Any, offsets: Any = AHEAD) -> Pairs:
    """Symmetric counts of pairs of levels over all offsets."""
    found: Pairs = Counter()
    for place in np.argwhere(levels):
        for offset in offsets:
            here, there = _at(levels, tuple(place)), _at(levels, _step(place, offset))
            if there:
                found[here, there] += 1
                found[there, here] += 1
    return found


def runs(levels: Any, offsets: Any = AHEAD) -> Pairs:
    """Counts of (level, length) over all offsets."""
    found: Pairs = Counter()
    for place in np.argwhere(levels):
        here = _at(levels, tuple(place))
        for offset in offsets:
            if _at(levels, _step(place, offset, -1)) != here:
                length = 1
                while _at(levels, _step(place, offset, length)) == here:
                    length += 1
                found[here, length] += 1
    return found


def zones(levels: Any, planar: bool) -> list[tuple[int, int, int]]:
    """(level, size, distance to the outside) of each zone."""
    near = np.ones((3, 3, 3))
    cross = ndi.generate_binary_structure(3, 1)
    if planar:
        near[[0, 2]] = 0
        cross[[0, 2]] = False
    away = np.zeros(levels.shape, dtype=int)
    left = np.pad(levels != 0, 1)
    while left.any():
        away += left[1:-1, 1:-1, 1:-1]
        left = ndi.binary_erosion(left, cross)
    found = []
    for level in np.unique(levels[levels > 0]):
        labels, n = ndi.label(levels == level, near)
        found += [(int(level), int((labels == k).sum()), int(away[labels == k].min())) for k in range(1, n + 1)]
    return found


def around(levels: Any, planar: bool) -> list[tuple[int, int, float | None]]:
    """Of each voxel: level, voxels alike (itself counted), mean level of its neighbours (None without any)."""
    offsets = [o for o in product((-1, 0, 1), repeat=3) if o != (0, 0, 0) and not (planar and o[0])]
    found = []
    for place in np.argwhere(levels):
        here = _at(levels, tuple(place))
        others = [v for v in (_at(levels, _step(place, o)) for o in offsets) if v]
        found.append((here, 1 + sum(v == here for v in others), sum(others) / len(others) if others else None))
    return found


def co_occurrence_measures(pairs: Pairs, top: int) -> list[float]:
    """The 25 measures as sums over the matrix."""
    total = sum(pairs.values())
    p = {key: n / total for key, n in pairs.items()}
    margin: Counter[int] = Counter()
    plus: Counter[int] = Counter()
    gap: Counter[int] = Counter()
    for (i, j), share in p.items():
        margin[i] += share
        plus[i + j] += share
        gap[abs(i - j)] += share
    mean = sum(i * share for i, share in margin.items())
    variance = sum((i - mean) ** 2 * share for i, share in margin.items())
    mean_plus, mean_gap = sum(k * s for k, s in plus.items()), sum(k * s for k, s in gap.items())
    hx, hxy = entropy(margin), entropy(p)
    hxy1 = -sum(share * log2(margin[i] * margin[j]) for (i, j), share in p.items())
    hxy2 = -sum(a * b * log2(a * b) for a in margin.values() for b in margin.values())

    def over(weight: Any) -> float:
        return float(sum(weight(i, j) * share for (i, j), share in p.items()))

    return [
        max(p.values()),
        over(lambda i, j: i),
        over(lambda i, j: (i - mean) ** 2),
        hxy,
        mean_gap,
        sum((k - mean_gap) ** 2 * s for k, s in gap.items()),
        entropy(gap),
        mean_plus,
        sum((k - mean_plus) ** 2 * s for k, s in plus.items()),
        entropy(plus),
        sum(share**2 for share in p.values()),
        over(lambda i, j: (i - j) ** 2),
        over(lambda i, j: abs(i - j)),
        over(lambda i, j: 1 / (1 + abs(i - j))),
        over(lambda i, j: 1 / (1 + abs(i - j) / top)),
        over(lambda i, j: 1 / (1 + (i - j) ** 2)),
        over(lambda i, j: 1 / (1 + (i - j) ** 2 / top**2)),
        over(lambda i, j: 0 if i == j else 1 / (i - j) ** 2),
        over(lambda i, j: (i - mean) * (j - mean)) / variance if variance > 1e-12 else 1.0,
        over(lambda i, j: i * j),
        over(lambda i, j: (i + j - 2 * mean) ** 2),
        over(lambda i, j: (i + j - 2 * mean) ** 3),
        over(lambda i, j: (i + j - 2 * mean) ** 4),
        (hxy - hxy1) / hx if hx > 1e-12 else 0.0,
        sqrt(max(0.0, 1 - exp(-2 * (hxy2 - hxy)))),
    ]


def emphasis_measures(pairs: Pairs, voxels: int) -> list[float]:
    """The 17 measures of a matrix of (level, size)."""
    total = sum(pairs.values())
    p = {key: n / total for key, n in pairs.items()}
    levels: Counter[int] = Counter()
    sizes: Counter[int] = Counter()
    for (i, j), n in pairs.items():
        levels[i] += n
        sizes[j] += n

    def over(weight: Any) -> float:
        return float(sum(weight(i, j) * share for (i, j), share in p.items()))

    mean_i, mean_j = over(lambda i, j: i), over(lambda i, j: j)
    return [
        over(lambda i, j: 1 / j**2),
        over(lambda i, j: j**2),
        over(lambda i, j: 1 / i**2),
        over(lambda i, j: i**2),
        over(lambda i, j: 1 / (i**2 * j**2)),
        over(lambda i, j: i**2 / j**2),
        over(lambda i, j: j**2 / i**2),
        over(lambda i, j: i**2 * j**2),
        sum(n**2 for n in levels.values()) / total,
        sum(n**2 for n in levels.values()) / total**2,
        sum(n**2 for n in sizes.values()) / total,
        sum(n**2 for n in sizes.values()) / total**2,
        total / voxels,
        over(lambda i, j: (i - mean_i) ** 2),
        over(lambda i, j: (j - mean_j) ** 2),
        entropy(p),
        sum(share**2 for share in p.values()),
    ]


def tone_measures(looks: list[tuple[int, int, float | None]]) -> list[float]:
    """Coarseness, contrast, busyness, complexity and strength as double sums."""
    seen = [(level, mean) for level, _, mean in looks if mean is not None]
    n = Counter(level for level, _ in seen)
    s = {i: sum(abs(level - mean) for level, mean in seen if level == i) for i in n}
    total, present = len(seen), len(n)
    p = {i: k / total for i, k in n.items()}
    each = list(product(n, repeat=2))
    ps = sum(p[i] * s[i] for i in n)
    spread = sum(abs(i * p[i] - j * p[j]) for i, j in each)
    contrast = sum(p[i] * p[j] * (i - j) ** 2 for i, j in each) * sum(s.values()) / total
    strength = sum((p[i] + p[j]) * (i - j) ** 2 for i, j in each)
    return [
        1 / ps if ps else 1e6,
        contrast / (present * (present - 1)) if present > 1 else 0.0,
        0.0 if present == 1 else ps / spread if spread else 1e6,
        sum(abs(i - j) * (p[i] * s[i] + p[j] * s[j]) / (p[i] + p[j]) for i, j in each) / total,
        strength / sum(s.values()) if sum(s.values()) else 0.0,
    ]


def entropy(shares: Any) -> float:
    """Bits."""
    return -sum(share * log2(share) for share in shares.values() if share > 0)
