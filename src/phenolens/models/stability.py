"""Which features repeated readings agree on: intraclass correlation, learnt from the training patients of a fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from phenolens.core.errors import ModelError
from phenolens.core.types import Example, Part
from phenolens.models.columns import Matrix, Schema

LEAST = 3
"""Fewer units with readings say nothing about agreement."""
_UPPER = 0.975


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Intraclass correlation of each feature and the lower limit of its 95% interval, (m,); NaN where all is equal."""

    value: Matrix
    low: Matrix


def icc(readings: Matrix) -> Agreement:
    """Two-way random effects, absolute agreement, one measurement: ICC(A,1) (McGraw & Wong 1996), ICC(2,1) of Shrout &
    Fleiss 1979, whose F-based interval (McGraw & Wong, table 7, with Satterthwaite's degrees of freedom) is used.

    readings is (n units, k readings, m features), finite, n and k at least 2. Where readings are identical both are 1;
    a feature that is the same number for every unit has none.
    """
    n, k, _ = readings.shape
    centre = readings.mean((0, 1))
    units, columns = readings.mean(1), readings.mean(0)
    rows = k * ((units - centre) ** 2).sum(0) / (n - 1)
    between = n * ((columns - centre) ** 2).sum(0) / (k - 1)
    rest = readings - units[:, None] - columns[None] + centre
    error = (rest**2).sum((0, 1)) / ((n - 1) * (k - 1))
    tiny = 1e-20 * (readings**2).mean((0, 1))  # what rounding leaves of a difference that is none
    rows, between, error = (np.where(x > tiny, x, 0.0) for x in (rows, between, error))
    with np.errstate(divide="ignore", invalid="ignore"):
        value = (rows - error) / (rows + (k - 1) * error + k / n * (between - error))
        # a and b of the table, both times n (1 - value) and the denominator of value: the df are the same
        a = k * (rows - error)
        b = n * k * error + k * (between - error) + (n - 1) * a
        df = (a * between + b * error) ** 2 / ((a * between) ** 2 / (k - 1) + (b * error) ** 2 / ((n - 1) * (k - 1)))
        f = stats.f.ppf(_UPPER, n - 1, df)
        low = n * (rows - f * error) / (f * (k * between + (k * n - k - n) * error) + n * rows)
    same = (between == 0) & (error == 0)
    agreed = np.where(rows > 0, 1.0, np.nan)
    return Agreement(value=np.where(same, agreed, value), low=np.where(same, agreed, low))


def stable(schema: Schema, train: Sequence[Example], least: float) -> tuple[Schema, dict[str, Any]]:
    """The schema with the columns whose ICC's lower limit is at least `least`, and what that rests on: counts, and
    `low`, the lower limit of every column (None where a column never varies).

    Reads the repeated readings that training examples carry, and those of people outside the cohort whole; readings of
    any other patient are out of its reach. Raises ModelError where there are none, or where no column is kept.
    """
    own = [(e, e.readings) for e in train if e.readings]
    others = [(train[0], readings) for readings in (train[0].readings_elsewhere if train else ())]
    counts = {len(readings) for _, readings in [*own, *others]}
    if not counts:
        raise ModelError(
            f"stable: {least:g} without repeated readings of any of {len(train)} training units",
            expected="readings of the same units, twice or more often",
            todo="name them in the study file, features: {table: …, repeated: readings.csv}, or of scans {encoder: "
            "radiomics, perturb: [contour, rotation, noise]}; or leave stable out",
        )
    x = np.stack([_rows(schema, e, readings) for e, readings in [*own, *others]])
    low = _limits(schema, x)
    kept = tuple(int(i) for i in np.flatnonzero(low >= least))
    if not kept:
        raise ModelError(
            f"no feature of {len(low)} that repeated readings agree on (stable: {least:g})",
            expected="at least one with that lower limit of the intraclass correlation",
            todo="lower stable, read more patients twice, or measure otherwise",
        )
    told = {
        "least": least,
        "kept": len(kept),
        "of": len(low),
        "training_units": len(own),
        "units_elsewhere": len(others),
        "readings": x.shape[1],
        "low": [round(v, 4) if np.isfinite(v) else None for v in low.tolist()],
    }
    return replace(schema, kept=kept), told


def _limits(schema: Schema, x: Matrix) -> Matrix:
    """The lower limit of every column (m,), each block from the units that have it in all readings of x (n, k, m)."""
    low = np.full(x.shape[2], np.nan)
    for block in schema.blocks:
        whole = np.isfinite(x[:, :, block]).all((1, 2))
        if np.count_nonzero(whole) < LEAST:
            raise ModelError(
                f"repeated readings of {np.count_nonzero(whole)} units to tell stable features by",
                expected=f"{LEAST} or more in the training part of every fold",
                todo="read more of the patients twice, use fewer folds, or leave stable out",
            )
        low[block] = icc(x[whole][:, :, block]).low
    return low


def _rows(schema: Schema, example: Example, readings: Sequence[tuple[Part, ...]]) -> npt.NDArray[np.float64]:
    """One row a reading, (k, m)."""
    return np.stack([schema.row(replace(example, parts=parts))[0] for parts in readings])
