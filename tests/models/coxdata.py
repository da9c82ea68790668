"""Units with a follow-up, for the tests of models of survival."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from tabledata import unit

from phenolens.core.types import Example
from phenolens.tasks.survival import Survival

TASK = Survival(target="os", time="days", event="dead", horizons=(365, 1095))
HAZARD = 0.001


def cohort(n: int, *, seed: int = 0, effect: float = 1.0, absent: float = 0.0, d: int = 5) -> list[Example]:
    """Units with the parts T1 and T2 whose log hazard is `effect` times the first feature of T1; parts go at random."""
    draw = np.random.default_rng(seed)
    made = []
    for i in range(n):
        x = draw.normal(size=(2, d))
        days = draw.exponential(1 / (HAZARD * np.exp(effect * x[0, 0])))
        limit = draw.exponential(1 / (0.7 * HAZARD))
        gone = draw.random(2) < absent
        if gone.all():
            gone[int(draw.integers(2))] = False
        t1, t2 = (None if g else row for g, row in zip(gone, x, strict=True))
        example = unit(f"p{i:03d}", None, f"s{i % 3}", T1=t1, T2=t2)
        told = {"days": round(min(days, limit) + 0.01, 2), "dead": int(days <= limit)}
        made.append(replace(example, targets=told))
    return made


def follow_up(examples: list[Example]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Times and whether the event was seen."""
    told = [TASK.facts(e) for e in examples]
    return np.array([t for t, _ in told]), np.array([e == 1 for _, e in told])


def harrell(time: npt.NDArray[np.float64], event: npt.NDArray[np.bool_], risk: npt.NDArray[np.float64]) -> float:
    """The share of comparable pairs whose earlier event has the higher risk, ties counting one half."""
    pairs = event[:, None] & (time[:, None] < time[None, :])
    right = (risk[:, None] > risk[None, :]) + 0.5 * (risk[:, None] == risk[None, :])
    return float(right[pairs].mean())
