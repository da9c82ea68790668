"""Cox regression on a table: a ridge penalty chosen on the tune split, a baseline hazard, a cut of the risk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.core.types import Example
from phenolens.models.bags import Scaler
from phenolens.models.columns import Matrix, TableModel
from phenolens.models.determinism import one_thread
from phenolens.models.linear import GRID, row_space
from phenolens.models.partial_likelihood import RiskSets, ridge_path
from phenolens.models.tabular import Reader, fit_table
from phenolens.tasks._contract import Task

_STEEPEST = 30.0
"""Log hazard ratios beyond this change no survival any more, and are cut so that no curve overflows."""


@dataclass(frozen=True, kw_only=True)
class FittedCox:
    """Standardise the row, then a log hazard ratio. coef (m,), hazard (t,) the baseline's, cut (1,), float64."""

    reader: Reader
    scaler: Scaler
    coef: Matrix
    hazard: Matrix
    cut: Matrix
    search: Mapping[str, Any]

    def predict(self, examples: Sequence[Example]) -> Matrix:
        """Risk (log hazard ratio), group (1: above the median of training) and survival (n, 2 + t), rows alone."""
        made = np.empty((len(examples), 2 + len(self.hazard)))
        for i, example in enumerate(examples):
            row = self.reader.row(example)
            assert row is not None, "a Cox model has no fallback"
            risk = float((self.coef * self.scaler.apply(row)).sum())
            made[i, :2] = risk, risk > self.cut[0]
            made[i, 2:] = np.exp(-self.hazard * np.exp(np.clip(risk, -_STEEPEST, _STEEPEST)))
        return made

    def coefficients(self) -> dict[str, Matrix]:
        """Of each column, (1,): the change of the log hazard with one standard deviation of the training units."""
        return dict(zip(self.reader.names, self.coef[:, None].copy(), strict=True))

    def flags(self, examples: Sequence[Example]) -> list[str]:
        """What is to be said of each example's set of parts; empty where training had it."""
        return self.reader.flags(examples)

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        own = {"mean": self.scaler.mean, "scale": self.scaler.scale, "coef": self.coef}
        return {**self.reader.weights(), **own, "hazard": self.hazard, "cut": self.cut}

    def config(self) -> dict[str, Any]:
        """The table as training saw it, and the search of the penalty."""
        return {"table": self.reader.config(), "search": dict(self.search)}

    @classmethod
    def restore(
        cls, settings: TableModel, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]
    ) -> FittedCox:
        """From what `weights()` and `config()` gave."""
        return cls(
            reader=Reader.restore(settings, weights, config["table"]),
            scaler=Scaler(mean=weights["mean"], scale=weights["scale"]),
            coef=weights["coef"],
            hazard=weights["hazard"],
            cut=weights["cut"],
            search=config["search"],
        )


def fit_cox(
    settings: TableModel, train: Sequence[Example], tune: Sequence[Example], task: Task, *, screen: int | None
) -> FittedCox:
    """Fit on `train` with the C of GRID under which `tune` is likeliest (a tie: the smaller C).

    How likely tune is, is the log partial likelihood of train and tune together less that of train (Verweij and van
    Houwelingen, Cross-validation in survival analysis, 1993): it counts few events, or none, for what they are worth.
    `screen` keeps as many columns, those with the largest score of their own in `train`. The baseline hazard and the
    median risk, the cut, are those of `train`. Raises ModelError when there is nothing to choose on, or when a fit does
    not converge.
    """
    table = fit_table(settings, train, task)
    tune_x, tuned = table.rows(tune)
    time, event = _follow_up(task, table.kept)
    more_time, more_event = _follow_up(task, tuned)
    sets = RiskSets.of(time, event)
    both = RiskSets.of(np.concatenate([time, more_time]), np.concatenate([event, more_event]))
    with one_thread():
        scaler = Scaler.fit([table.x])
        z, tune_z = scaler.apply(table.x), scaler.apply(tune_x)
        used = _screened(z, sets, screen)
        rows, basis = row_space(z[:, used])
        best, chosen, losses = None, GRID[0], dict[str, float]()
        for c, inner in zip(GRID, ridge_path(rows, sets, GRID), strict=True):
            coef = np.zeros(z.shape[1])
            coef[used] = inner if basis is None else inner @ basis
            risk = z @ coef
            loss = sets.log_likelihood(risk) - both.log_likelihood(np.concatenate([risk, tune_z @ coef]))
            losses[f"{c:g}"] = loss
            if best is None or loss < losses[f"{chosen:g}"]:
                best, chosen = coef, c
        assert best is not None
        risk = np.array([(best * row).sum() for row in z])
        hazard = sets.hazard(risk, _times(task))
    search = {"C": chosen, "tune_loss": losses, "used": len(used), "events": int(event.sum())}
    cut = np.array([np.median(risk)])
    return FittedCox(reader=table.reader, scaler=scaler, coef=best, hazard=hazard, cut=cut, search=search)


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
