"""Orthogonal wavelets: their low-pass and high-pass coefficients, and undecimated transforms as separable filters.

Haar and Daubechies wavelets are derived by spectral factorisation (Daubechies, Ten Lectures on Wavelets, 1992, ch. 6);
the coiflets solve Daubechies' moment equations (SIAM J. Math. Anal. 24, 1993) by Newton's method from rounded starts.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from math import comb

import numpy as np
import numpy.typing as npt

Coefficients = npt.NDArray[np.float64]

FAMILIES: tuple[str, ...] = ("haar", *(f"db{n}" for n in range(1, 11)), "coif1", "coif2", "coif3")
SUBBANDS: tuple[str, ...] = tuple("".join(band) for band in product("LH", repeat=3))
"""Which filter runs along x, y and z: L the low-pass, H the high-pass."""
_COIFLETS = {
    1: (-0.0157, -0.0727, 0.3849, 0.8526, 0.3379, -0.0727),
    2: (
        -0.00072,
        -0.00182,
        0.00561,
        0.02368,
        -0.05943,
        -0.07649,
        0.41701,
        0.81272,
        0.38611,
        -0.06737,
        -0.04146,
        0.01639,
    ),
    3: (
        *(-0.00003, -0.00007, 0.00047, 0.00112, -0.00257, -0.00901, 0.01588, 0.03456, -0.0823),
        *(-0.0718, 0.42848, 0.79378, 0.40518, -0.06112, -0.06577, 0.02345, 0.00778, -0.00379),
    ),
}


@cache
def low_pass(family: str) -> Coefficients:
    """The coefficients of the low-pass filter; they sum to the square root of 2 and their squares to 1."""
    if family not in FAMILIES:
        raise ValueError(f"there is no wavelet {family!r}; it must be one of {', '.join(FAMILIES)}")
    if family.startswith("coif"):
        return _coiflet(int(family[4:]))
    return _daubechies(1 if family == "haar" else int(family[2:]))


def high_pass(family: str) -> Coefficients:
    """The quadrature mirror of the low-pass filter: reversed, with alternating signs; it sums to 0."""
    low = low_pass(family)
    made: Coefficients = low[::-1] * (-1.0) ** np.arange(1, len(low) + 1)
    return made


def kernels(family: str, level: int) -> tuple[Coefficients, Coefficients, tuple[Coefficients, ...]]:
    """Low-pass and high-pass kernels of a level (from 1), and the low-pass kernels of the levels before it.

    Each level inserts zeros between the coefficients of the one before (à trous), which leaves out no voxel. Kernels
    have odd length: of the 2n coefficients, number n (from 0) is at the centre.
    """
    low, high = low_pass(family), high_pass(family)
    before = tuple(_centred(low, k) for k in range(1, level))
    return _centred(low, level), _centred(high, level), before


def _centred(coefficients: Coefficients, level: int) -> Coefficients:
    """2r + 1 values around the centre, with 2 ** (level - 1) - 1 zeros between coefficients."""
    gap = 2 ** (level - 1)
    half = len(coefficients) // 2
    made = np.zeros(2 * half * gap + 1)
    made[: (len(coefficients) - 1) * gap + 1 : gap] = coefficients
    return made


def _daubechies(n: int) -> Coefficients:
    """2n coefficients with n vanishing moments: of all such filters the one of least phase, as for decomposition."""
    inner = np.roots([comb(n - 1 + k, k) for k in range(n)][::-1]) if n > 1 else np.array([])
    zeros = []
    for y in inner:
        # y = (2 - z - 1/z) / 4: of the two roots z, the one inside the unit circle
        pair = np.roots([1.0, 4 * y - 2, 1.0])
        zeros.append(pair[np.abs(pair).argmin()])
    made = np.real(np.poly([-1.0] * n + zeros))
    return _polished(made[::-1] * np.sqrt(2) / made.sum(), n)


def _coiflet(n: int) -> Coefficients:
    """6n coefficients with 2n vanishing moments of both functions."""
    return _polished(np.array(_COIFLETS[n]), 2 * n, centre=4 * n - 1)


def _polished(h: Coefficients, moments: int, centre: int | None = None) -> Coefficients:
    """The nearest solution of the defining equations, by Gauss-Newton: orthonormal shifts and vanishing moments."""
    for _ in range(50):
        rest, slope = _equations(h, moments, centre)
        step = np.linalg.lstsq(slope, rest, rcond=None)[0]
        h = h - step
        if np.abs(step).max() < 1e-15:
            break
    return h


def _equations(h: Coefficients, moments: int, centre: int | None) -> tuple[Coefficients, Coefficients]:
    """What is left of each equation, and its slopes."""
    n = len(h)
    at = np.arange(n)
    signs = (-1.0) ** at
    rest, slope = [h.sum() - np.sqrt(2)], [np.ones(n)]
    for shift in range(0, n, 2):
        rest.append(float(h[: n - shift] @ h[shift:]) - (shift == 0))
        slope.append(np.r_[h[shift:], np.zeros(shift)] + np.r_[np.zeros(shift), h[: n - shift]])
    scale = (at - (n - 1) / 2) / n
    for k in range(moments):
        rest.append(float((signs * scale**k) @ h))
        slope.append(signs * scale**k)
    if centre is not None:
        away = (at - centre) / n
        for k in range(1, moments):
            rest.append(float(away**k @ h))
            slope.append(away**k)
    return np.array(rest), np.array(slope)
