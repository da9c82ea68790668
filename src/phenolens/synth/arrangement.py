"""Where cells lie: lattices, bundles of parallel cells, and rings. All lengths in micrometres."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

Points = npt.NDArray[np.float64]
Rng = np.random.Generator


class Extent(NamedTuple):
    """A box in micrometres."""

    x0: float
    y0: float
    x1: float
    y1: float


def lattice(box: Extent, angle: float, along: float, across: float, jitter: float, rng: Rng) -> Points:
    """Points (n, 2) of a brick-like lattice turned by `angle`, shaken by `jitter` of its steps, inside the box."""
    reach = 0.5 * float(np.hypot(box.x1 - box.x0, box.y1 - box.y0))
    n, m = int(2 * reach / along) + 3, int(2 * reach / across) + 3
    u, v = np.meshgrid((np.arange(n) - n / 2) * along, (np.arange(m) - m / 2) * across)
    u = u + (np.arange(m) % 2)[:, None] * along / 2 + rng.normal(0, jitter * along, u.shape)
    v = v + rng.normal(0, jitter * across, v.shape)
    x = (box.x0 + box.x1) / 2 + u * np.cos(angle) - v * np.sin(angle)
    y = (box.y0 + box.y1) / 2 + u * np.sin(angle) + v * np.cos(angle)
    inside = (x >= box.x0) & (x < box.x1) & (y >= box.y0) & (y < box.y1)
    return np.column_stack([x[inside], y[inside]])


def bundles(box: Extent, size: float, spread: float, step: tuple[float, float], rng: Rng) -> tuple[Points, Points]:
    """Bundles of parallel cells: points (n, 2) and their direction (n,).

    Bundles are about `size` wide and their directions differ by `spread` (radians, standard deviation) from one of two
    crossing directions; `step` is the distance of cells along and across the bundle.
    """
    wide = Extent(box.x0 - size, box.y0 - size, box.x1 + size, box.y1 + size)
    seeds = lattice(wide, rng.uniform(0, np.pi), size, size, 0.25, rng)
    angles = rng.uniform(0, np.pi) + rng.integers(0, 2, len(seeds)) * np.pi * 0.42 + rng.normal(0, spread, len(seeds))
    tree = cKDTree(seeds)
    found, directions = [], []
    for i, (x, y) in enumerate(seeds):
        near = Extent(x - size * 1.3, y - size * 1.3, x + size * 1.3, y + size * 1.3)
        points = lattice(near, angles[i], step[0], step[1], 0.13, rng)
        own = points[tree.query(points)[1] == i]
        found.append(own)
        directions.append(np.full(len(own), angles[i]))
    points, theta = np.concatenate(found), np.concatenate(directions)
    inside = (points[:, 0] >= box.x0) & (points[:, 0] < box.x1) & (points[:, 1] >= box.y0) & (points[:, 1] < box.y1)
    return points[inside], theta[inside]


def ring(centre: Points, radius: npt.NDArray[np.float64], step: float, rng: Rng) -> tuple[Points, Points]:
    """Points on slightly wobbly rings around centres (n, 2), and the direction away from the centre."""
    found, away = [], []
    for (x, y), r in zip(centre, radius, strict=True):
        n = max(6, round(2 * np.pi * r / step))
        phi = 2 * np.pi * (np.arange(n) + rng.uniform(0, 1) + rng.normal(0, 0.1, n)) / n
        wobble = r * (1 + 0.1 * np.sin(2 * phi + rng.uniform(0, 6.3))) + rng.normal(0, 0.7, n)
        found.append(np.column_stack([x + wobble * np.cos(phi), y + wobble * np.sin(phi)]))
        away.append(phi)
    if not found:
        return np.zeros((0, 2)), np.zeros(0)
    return np.concatenate(found), np.concatenate(away)
