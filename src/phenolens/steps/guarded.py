"""What the guard of a stored model says of a new case, as columns of predictions.csv and as lines for a person."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.core.conformal import ALPHAS
from phenolens.core.predictions import SET_NONE
from phenolens.core.types import Example
from phenolens.models.cross import Cross
from phenolens.models.guard import DECLARED, Guard, Judged
from phenolens.models.predict import Stored

ABSTAINS = "abstains"


def guarded(stored: Stored, example: Example, p: npt.NDArray[np.float64]) -> tuple[dict[str, Any], list[str], str]:
    """Columns, lines, and in words what is predicted by p: the likeliest class, ABSTAINS, or a risk.

    Beside the columns of `Stored.told`: `q_CLASS` (recalibrated), `set_90`, `set_80`, `ood` (above 1 is outside) and
    `abstains` (the reason); a model without a guard has none of them.
    """
    row, shown = stored.told(p)
    judged, guard = stored.judge(p, example), stored.guard
    if judged is None or guard is None:
        return row, [], shown
    lines = []
    if judged.abstains:
        shown = ABSTAINS + shown.removeprefix(row["predicted"])
        row["predicted"] = ABSTAINS
        lines.append(f"  abstains: {judged.abstains}")
    if judged.q is not None:
        row |= {f"q_{c}": round(float(v), 6) for c, v in zip(stored.classes, judged.q, strict=True)}
        told = ", ".join(f"{c} {v:.2f}" for c, v in zip(stored.classes, judged.q, strict=True))
        lines.append(f"  recalibrated to the tune patients: {told}")
    row |= {column: SET_NONE if s is None else "|".join(s) for column, s in judged.sets.items()}
    lines += _of_set(judged, guard)
    if judged.ood is not None:
        row["ood"] = round(judged.ood, 4)
    return {**row, "abstains": judged.abstains}, [*lines, *(f"  {said}" for said in guard.unfitted())], shown


def guard_columns(stored: Stored) -> list[str]:
    """The columns that `guarded` can give beside those of `Stored.told`, in their order; none without a guard."""
    if stored.guard is None:
        return []
    return [*(f"q_{c}" for c in stored.classes), *ALPHAS, "ood", "abstains"]


def _of_set(judged: Judged, guard: Guard) -> list[str]:
    """The set and what it is worth: of cross-conformal ones the guarantee, which is less than what is aimed at."""
    found = judged.sets.get(DECLARED)
    if not found or judged.abstains:
        return []
    worth = "with at most one error in ten"
    if isinstance(guard.conformal, Cross):
        most = math.ceil(100 * (1 - guard.conformal.at_least(ALPHAS[DECLARED])) - 1e-9)
        worth = f"made for one error in ten, guaranteed for {most} in 100"
    return [f"  {worth}: {' or '.join(found)}"]
