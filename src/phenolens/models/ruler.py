"""Features brought onto one scale before units are compared: heavy tails drawn in, then standardised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.models.bags import Scaler

Floats = npt.NDArray[np.float64]
_NORMAL = 1.4826
"""The standard deviation of normal numbers over their median absolute deviation."""


@dataclass(frozen=True, kw_only=True)
class Ruler:
    """middle and spread of the instances, mean and scale of the units after asinh; (d,) each.

    A feature with a few extreme values (the area of the largest nucleus, the entropy of nearly white tiles) has a large
    variance that hides what all others do. asinh leaves values about the middle as they are and makes far ones
    logarithms of themselves, so that what multiplies a feature (the strength of a stain) moves it alike everywhere.
    """

    middle: Floats
    spread: Floats
    mean: Floats
    scale: Floats

    def apply(self, rows: Floats) -> Floats:
        """Instances (m, d) on the scale of the units."""
        made: Floats = (np.arcsinh((rows - self.middle) / self.spread) - self.mean) / self.scale
        return made


def fit_ruler(units: Sequence[Floats]) -> Ruler:
    """From the instances of each unit, (m_i, d)."""
    rows = np.concatenate(units)
    middle = np.median(rows, axis=0)
    spread, plain = _NORMAL * np.median(np.abs(rows - middle), axis=0), Scaler.fit([rows]).scale
    spread = np.where(spread > 1e-6 * plain, spread, plain)
    means = np.stack([np.arcsinh((of - middle) / spread).mean(0) for of in units])
    scaler = Scaler.fit([means])
    return Ruler(middle=middle, spread=spread, mean=scaler.mean, scale=scaler.scale)


def stacked(rulers: Sequence[Ruler]) -> dict[str, npt.NDArray[Any]]:
    """The numbers of several rulers, (b, d) each, by name."""
    return {f.name: np.stack([getattr(r, f.name) for r in rulers]) for f in fields(Ruler)}


def unstacked(weights: Mapping[str, npt.NDArray[Any]]) -> tuple[Ruler, ...]:
    """The rulers again."""
    names = [f.name for f in fields(Ruler)]
    return tuple(Ruler(**{name: weights[name][i] for name in names}) for i in range(len(weights["middle"])))
