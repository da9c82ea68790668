"""Bodies that enclose a set of points: a small turned box and the smallest ellipsoid, to a stated accuracy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
"""Shape (n, 3), in mm."""
_FACES = 8
_ROUNDS = 8
_TOLERANCE = 1e-3
_MOST_STEPS = 2000


def smallest_box(corners: Points, normals: Points, areas: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Sides in mm of a small box, in any orientation, around the corners of a convex body.

    Starts along the coordinate axes, the principal axes and the normals of the 8 largest faces, and turns the box about
    one of its axes at a time to the smallest rectangle until it no longer shrinks (after Chan and Tan, Computing 2001).
    Not proven minimal; never larger than the box along the axes.
    """
    best: Points | None = None
    for axes in _starts(corners, normals, areas):
        for _ in range(_ROUNDS):
            before = _volume(corners, axes)
            for k in range(3):
                axes = _turned(corners, axes, k)
            if _volume(corners, axes) > before * (1 - 1e-9):
                break
        if best is None or _volume(corners, axes) < _volume(corners, best):
            best = axes
    assert best is not None
    a, b, c = (float(v) for v in np.ptp(corners @ best.T, axis=0))
    return a, b, c


def _starts(corners: Points, normals: Points, areas: npt.NDArray[np.float64]) -> list[Points]:
    """Orthonormal axes (rows) to start from."""
    principal = np.linalg.eigh(np.cov(corners.T))[1].T
    rounded = np.round(normals * np.where(normals[:, [2]] < -1e-9, -1, 1), 6) + 0.0
    kinds, where = np.unique(rounded, axis=0, return_inverse=True)
    largest = np.argsort(-np.bincount(where.ravel(), areas), kind="stable")[:_FACES]
    return [np.eye(3), principal, *(_basis(kinds[i]) for i in largest)]


def _basis(normal: npt.NDArray[np.float64]) -> Points:
    """Orthonormal rows of which the first is along `normal`."""
    first = normal / np.linalg.norm(normal)
    second = np.cross(first, np.eye(3)[int(np.abs(first).argmin())])
    second /= np.linalg.norm(second)
    return np.stack([first, second, np.cross(first, second)])


def _volume(corners: Points, axes: Points) -> float:
    return float(np.prod(np.ptp(corners @ axes.T, axis=0)))


def _turned(corners: Points, axes: Points, k: int) -> Points:
    """The axes turned about the k-th to the smallest rectangle in the plane of the others."""
    from scipy.spatial import ConvexHull, QhullError

    u, v = axes[(k + 1) % 3], axes[(k + 2) % 3]
    flat = np.stack([corners @ u, corners @ v], 1)
    try:
        ring = flat[ConvexHull(flat).vertices]
    except QhullError:
        return axes
    edges = np.roll(ring, -1, axis=0) - ring
    angle = np.unique(np.round(np.arctan2(edges[:, 1], edges[:, 0]) % (np.pi / 2), 9))
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    wide = np.ptp(cos * ring[:, 0] + sin * ring[:, 1], axis=1)
    high = np.ptp(cos * ring[:, 1] - sin * ring[:, 0], axis=1)
    i = int((wide * high).argmin())
    c, s = float(cos[i, 0]), float(sin[i, 0])
    made = np.empty((3, 3))
    made[0], made[1], made[2] = axes[k], c * u + s * v, c * v - s * u
    return made


def smallest_ellipsoid(corners: Points) -> tuple[float, float, float]:
    """Semi-axes in mm, longest first, of the smallest ellipsoid around the corners of a convex body.

    Its volume is within 0.2% of the smallest: Khachiyan's ascent with away steps (Todd and Yildirim, Discrete Applied
    Mathematics 2007), stopped when every corner lies within 1e-3 of the surface, then grown to hold them all.
    """
    scale = float(np.ptp(corners, axis=0).max())
    q = np.c_[(corners - corners.mean(0)) / scale, np.ones(len(corners))]
    u = np.zeros(len(q))
    ends = np.unique(np.r_[q[:, :3].argmin(0), q[:, :3].argmax(0)])
    u[ends] = 1 / len(ends)
    if np.linalg.matrix_rank(q[ends]) < 4:
        u[:] = 1 / len(q)
    for _ in range(_MOST_STEPS):
        kappa = ((q @ np.linalg.inv((q.T * u) @ q)) * q).sum(1)
        far = int(kappa.argmax())
        near = int(np.where(u > 0, kappa, np.inf).argmin())
        out, slack = kappa[far] / 4 - 1, 1 - kappa[near] / 4
        if max(out, slack) < _TOLERANCE:
            break
        j = far if out > slack else near
        step = (kappa[j] - 4) / (4 * (kappa[j] - 1))
        if out <= slack:
            step = max(step, -u[j] / (1 - u[j])) if kappa[j] > 1 else -u[j] / (1 - u[j])
        u *= 1 - step
        u[j] = max(u[j] + step, 0.0)
    centre = u @ q[:, :3]
    spread = (q[:, :3].T * u) @ q[:, :3] - np.outer(centre, centre)
    away = q[:, :3] - centre
    grow = float(((away @ np.linalg.inv(spread)) * away).sum(1).max())
    a, b, c = (float(v) for v in np.sqrt(np.linalg.eigvalsh(spread)[::-1] * grow) * scale)
    return a, b, c


def ellipsoid_area(a: float, b: float, c: float) -> float:
    """Surface in mm2 of an ellipsoid with semi-axes a >= b >= c, by the series of the IBSI (RDD2, to the 20th term).

    The series is exact for spheres only (4% off where the axes are as 1 : 0.82 : 0.75); the reference values of the
    standard are made with it, so it stands as printed.
    """
    alpha2, beta2 = 1 - (b / a) ** 2, 1 - (c / a) ** 2
    middle, product = (alpha2 + beta2) / 2, alpha2 * beta2
    term, last = 1.0, 0.0
    total = 0.0
    for v in range(21):
        total += term / (1 - 4 * v * v)
        term, last = ((2 * v + 1) * middle * term - v * product * last) / (v + 1), term
    return 4 * np.pi * a * b * total
