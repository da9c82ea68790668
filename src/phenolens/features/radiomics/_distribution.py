"""What intensity statistics and intensity histograms share: the sixteen measures of one distribution."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phenolens.features.radiomics._grid import LARGE, ratio

Sorted = npt.NDArray[np.float64]


def distribution(values: Sorted) -> list[float]:
    """Mean to quartile coefficient of dispersion of ascending values, in the order of `NAMES`.

    Percentiles are interpolated linearly between ranks; skewness and kurtosis of a constant are 0 (IBSI 3.3.3, 3.3.4).
    The robust deviation is 0 where no value lies within the percentiles 10 and 90 (two values). The two coefficients
    are kept within -1e6 and 1e6, which is also what a vanishing denominator gives; 0 / 0 is 0.
    """
    mean = float(values.mean())
    flat = values[0] == values[-1]
    away = np.zeros_like(values) if flat else values - mean
    reach = 1.0 if flat else float(np.abs(away).max())
    unit = away / reach
    square = unit * unit
    spread = 1.0 if flat else float(square.mean())
    variance = 0.0 if flat else reach**2 * spread
    skewness = float((square * unit).mean()) / spread**1.5
    kurtosis = 0.0 if flat else float((square * square).mean()) / spread**2 - 3.0
    p10, p25, median, p75, p90 = (percentile(values, q) for q in (10, 25, 50, 75, 90))
    middle = values[np.searchsorted(values, p10, "left") : np.searchsorted(values, p90, "right")]
    return [
        mean,
        variance,
        skewness,
        kurtosis,
        median,
        float(values[0]),
        p10,
        p90,
        float(values[-1]),
        p75 - p25,
        float(values[-1] - values[0]),
        float(np.abs(away).mean()),
        float(np.abs(middle - middle.mean()).mean()) if len(middle) and middle[0] < middle[-1] else 0.0,
        float(np.abs(values - median).mean()),
        _bounded(0.0 if flat else reach * spread**0.5, mean),
        _bounded(p75 - p25, p75 + p25),
    ]


def _bounded(above: float, below: float) -> float:
    return max(-LARGE, min(LARGE, ratio(above, below)))


def percentile(values: Sorted, percent: float) -> float:
    """The percentile of ascending values, linear between ranks (type 7 of Hyndman and Fan, 1996)."""
    rank = (len(values) - 1) * percent / 100
    low = int(rank)
    high = min(low + 1, len(values) - 1)
    return float(values[low] + (values[high] - values[low]) * (rank - low))
