"""A log hazard ratio from one vector a unit: what every Cox regression here shares, whatever the vector holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.core.types import Example
from phenolens.models.bags import Scaler, Vector
from phenolens.models.determinism import one_thread
from phenolens.models.linear import GRID, row_space
from phenolens.models.partial_likelihood import Matrix, RiskSets, ridge_path
from phenolens.tasks._contract import Task

_STEEPEST = 30.0
"""Log hazard ratios beyond this change no survival any more, and are cut so that no curve overflows."""


@dataclass(frozen=True, kw_only=True)
class Risk:
    """Standardise the vector, then a log hazard ratio. coef (m,), hazard (t,) the baseline's, cut (1,), float64."""

    scaler: Scaler
    coef: Matrix
    hazard: Matrix
    cut: Matrix

    def told(self, row: Vector) -> Matrix:
        """Of one unit: risk (log hazard ratio), group (1: above the median of training) and survival, (2 + t,)."""
        risk = float((self.coef * self.scaler.apply(row)).sum())
        curve = np.exp(-self.hazard * np.exp(np.clip(risk, -_STEEPEST, _STEEPEST)))
        return np.concatenate([[risk, risk > self.cut[0]], curve])

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        own = {"mean": self.scaler.mean, "scale": self.scaler.scale, "coef": self.coef}
        return {**own, "hazard": self.hazard, "cut": self.cut}

    @classmethod
    def restore(cls, weights: Mapping[str, npt.NDArray[Any]]) -> Risk:
        """From what `weights()` gave."""
        scaler = Scaler(mean=weights["mean"], scale=weights["scale"])
        return cls(scaler=scaler, **{name: weights[name] for name in ("coef", "hazard", "cut")})


def fit_risk(
    rows: tuple[Matrix, Matrix], units: tuple[Sequence[Example], Sequence[Example]], task: Task, *, screen: int | None
) -> tuple[Risk, dict[str, Any]]:
    """The risk fitted on training rows with the C of GRID under which the tune rows are likeliest (a tie: the smaller).

    `rows` are those of train (n, m) and tune, `units` theirs. How likely tune is, is the log partial likelihood of
    train and tune together less that of train (Verweij and van Houwelingen, Cross-validation in survival analysis,
    1993): it counts few events, or none, for what they are worth. `screen` keeps as many columns, those with the
    largest score of their own in train. The baseline hazard and the median risk, the cut, are those of train. The
    second value says how the search went. Raises ModelError when a fit does not converge.
    """
    (time, event), (more_time, more_event) = (_follow_up(task, own) for own in units)
    sets = RiskSets.of(time, event)
    both = RiskSets.of(np.concatenate([time, more_time]), np.concatenate([event, more_event]))
    with one_thread():
        scaler = Scaler.fit([rows[0]])
        z, tune_z = scaler.apply(rows[0]), scaler.apply(rows[1])
        used = _screened(z, sets, screen)
        inner, basis = row_space(z[:, used])
        best, chosen, losses = None, GRID[0], dict[str, float]()
        for c, found in zip(GRID, ridge_path(inner, sets, GRID), strict=True):
            coef = np.zeros(z.shape[1])
            coef[used] = found if basis is None else found @ basis
            risk = z @ coef
            loss = sets.log_likelihood(risk) - both.log_likelihood(np.concatenate([risk, tune_z @ coef]))
            losses[f"{c:g}"] = loss
            if best is None or loss < losses[f"{chosen:g}"]:
                best, chosen = coef, c
        assert best is not None
        risk = np.array([(best * row).sum() for row in z])
        hazard = sets.hazard(risk, _times(task))
    search = {"C": chosen, "tune_loss": losses, "used": len(used), "events": int(event.sum())}
    return Risk(scaler=scaler, coef=best, hazard=hazard, cut=np.array([np.median(risk)])), search


def _screened(z: Matrix, sets: RiskSets, screen: int | None) -> npt.NDArray[np.intp]:
    """The columns that are kept, in their order."""
    if screen is None or screen >= z.shape[1]:
        return np.arange(z.shape[1])
    order = np.argsort(-np.abs(sets.score(z)), kind="stable")
    return np.sort(order[:screen])


def _follow_up(task: Task, examples: Sequence[Example]) -> tuple[Matrix, npt.NDArray[np.bool_]]:
    told = [task.facts(e) for e in examples]
    return np.array([t for t, _ in told], dtype=np.float64), np.array([e == 1 for _, e in told], dtype=np.bool_)


def _times(task: Task) -> list[float]:
    """The times that the task's columns `s_TIME` name."""
    return [float(c.removeprefix("s_")) for c in task.columns if c.startswith("s_")]
