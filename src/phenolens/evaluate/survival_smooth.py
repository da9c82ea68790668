"""A smooth curve of observed survival over forecast survival: a small Cox model that measures and is then forgotten."""

from __future__ import annotations

import numpy as np

from phenolens.evaluate.metric import NotEstimable
from phenolens.evaluate.survival_curves import Bools, Floats

_LEAST = 1e-8
_STEPS = 50


def smoothed_survival(forecast: Floats, time: Floats, event: Bools, horizon: float) -> Floats:
    """Observed survival at the horizon for patients with each forecast (n,), by a Cox model of a spline of it.

    Raises:
        NotEstimable: forecasts without spread, no event, or a model that does not settle.
    """
    inside = np.clip(forecast, _LEAST, 1 - _LEAST)
    x = spline(np.log(-np.log(inside)))
    if not event.any() or not (x.std(axis=0) > 0).all():
        raise NotEstimable("the forecasts at the horizon are all equal, or there is no event")
    centre, scale = x.mean(0), x.std(0)
    z = (x - centre) / scale
    hazard = np.exp(z @ _cox(z, time, event))
    base = _breslow(hazard, time, event, horizon)
    found: Floats = np.exp(-base * hazard)
    return found


def spline(x: Floats) -> Floats:
    """Restricted cubic spline basis with 3 knots at the 10%, 50% and 90% quantiles (Harrell 2015, eq. 2.25); (n, 2).

    One column, x itself, where the knots are not distinct.
    """
    first, middle, last = np.quantile(x, [0.1, 0.5, 0.9])
    if not first < middle < last:
        return x[:, None]
    cubes = [np.maximum(x - k, 0) ** 3 for k in (first, middle, last)]
    bend = cubes[0] - cubes[1] * (last - first) / (last - middle) + cubes[2] * (middle - first) / (last - middle)
    return np.column_stack([x, bend / (last - first) ** 2])


def _cox(z: Floats, time: Floats, event: Bools) -> Floats:
    """Coefficients that maximise Breslow's partial likelihood (Newton with halved steps); z (n, p)."""
    order = np.argsort(-time, kind="stable")
    z, time, event = z[order], time[order], event[order]
    ends = np.searchsorted(-time, -time[event], side="right") - 1  # the last row at risk at each event
    beta = np.zeros(z.shape[1])
    value, slope, bend = _likelihood(beta, z, event, ends)
    for _ in range(_STEPS):
        step = np.linalg.lstsq(bend, slope, rcond=None)[0]
        new = _likelihood(beta + step, z, event, ends)
        while not new[0] >= value - 1e-10 and np.abs(step).max() > 1e-12:
            step = step / 2
            new = _likelihood(beta + step, z, event, ends)
        beta, (value, slope, bend) = beta + step, new
        if np.abs(step).max() < 1e-10:
            return beta
    raise NotEstimable("the smooth calibration curve does not settle")


def _likelihood(
    beta: Floats, z: Floats, event: Bools, ends: np.ndarray[tuple[int], np.dtype[np.intp]]
) -> tuple[float, Floats, Floats]:
    """The log partial likelihood, its gradient (p,) and its information (p, p); rows in falling order of time."""
    linear = z @ beta
    hazard = np.exp(linear)
    total = np.cumsum(hazard)[ends]
    first = np.cumsum(hazard[:, None] * z, axis=0)[ends] / total[:, None]
    second = np.cumsum(hazard[:, None, None] * z[:, :, None] * z[:, None, :], axis=0)[ends] / total[:, None, None]
    value = float(linear[event].sum() - np.log(total).sum())
    return value, z[event].sum(0) - first.sum(0), (second - first[:, :, None] * first[:, None, :]).sum(0)


def _breslow(hazard: Floats, time: Floats, event: Bools, horizon: float) -> float:
    """The cumulative baseline hazard at the horizon."""
    order = np.argsort(-time, kind="stable")
    seen = time[event & (time <= horizon)]
    ends = np.searchsorted(-time[order], -seen, side="right") - 1
    return float((1 / np.cumsum(hazard[order])[ends]).sum())
