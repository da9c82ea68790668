"""What is known of a unit without looking at tissue: scanner, spacing, sizes, file, date, order of the ids."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from phenolens.core.errors import StudyError, nearest
from phenolens.core.types import Example

IMAGE_COLUMNS = ("format", "mpp", "spacing_mm", "tiles", "acquired", "stain", "specimen")
"""Columns of results/images.csv and of the images table that are read wherever they stand there."""
ORDER = "order of the patient ids"
FILE = "file size"


def acquisition(
    examples: Sequence[Example],
    image: pd.DataFrame,
    patients: pd.DataFrame,
    images: pd.DataFrame,
    declared: Sequence[str] = (),
) -> pd.DataFrame:
    """One row a unit, in the order of `examples`: what the images say of themselves and the study says of them.

    `image` is that of `look`; `patients` is indexed by patient, `images` has a row an image (patient, image, and what
    is known of each, file_size in bytes among it); `declared` are the columns of audit.acquisition. Of several images
    of a unit numbers are averaged and texts joined. Columns that do not differ fall away. Raises StudyError naming a
    declared column that is in neither table.
    """
    table = image.copy()
    table[ORDER] = _order([e.patient for e in examples])
    for name in declared:
        if name not in patients.columns and name not in images.columns:
            have = [*map(str, patients.columns), *map(str, images.columns)]
            raise StudyError(
                f"audit.acquisition: {name}, which is in neither table",
                expected="columns of the patients or the images table",
                todo=f"correct the name{nearest(name, have)}",
            )
        if name in patients.columns:
            table[name] = _typed([patients[name].get(e.patient) for e in examples])
    mine = _images_of(examples, images)
    for name in (*IMAGE_COLUMNS, "file_size", *declared):
        if name in images.columns and name not in table:
            shown = FILE if name == "file_size" else name
            table[shown] = _gathered([rows[name] for rows in mine])
    return table.loc[:, (table.nunique(dropna=False) > 1).to_numpy()]


def _order(patients: Sequence[str]) -> list[float]:
    place = {p: float(i) for i, p in enumerate(sorted(set(patients), key=natural))}
    return [place[p] for p in patients]


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key by which P2 comes before P10."""
    ends = [i for i in range(1, len(name)) if name[i].isdecimal() != name[i - 1].isdecimal()]
    pieces = [name[a:b] for a, b in pairwise([0, *ends, len(name)])]
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in pieces]


def _images_of(examples: Sequence[Example], images: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of the images that a unit's present parts name; those of its patient where none does."""
    by_image = {str(i): n for n, i in enumerate(images["image"])} if "image" in images else {}
    by_patient = images.groupby(images["patient"].astype(str)).indices if len(images) else {}
    found = []
    for example in examples:
        rows = [by_image[p.image] for p in example.parts if p.present and p.image in by_image]
        found.append(images.iloc[rows or by_patient.get(example.patient, [])])
    return found


def _gathered(columns: Sequence[pd.Series]) -> pd.Series:
    """One value a unit: the mean of its numbers or dates, or its texts joined."""
    whole = pd.concat([c.dropna() for c in columns]) if columns else pd.Series(dtype=object)
    numbers = _numbers(whole)
    if numbers is not None:
        return pd.Series([_mean(c) for c in columns], dtype=float)
    return pd.Series(["+".join(sorted({str(v) for v in c.dropna()})) for c in columns], dtype=object)


def _mean(column: pd.Series) -> float:
    numbers = _numbers(column.dropna())
    return float(numbers.mean()) if numbers is not None and len(numbers) else float("nan")


def _typed(values: list[Any]) -> pd.Series:
    column = pd.Series(values, dtype=object)
    numbers = _numbers(column.dropna())
    if numbers is None:
        return column.map(lambda v: "" if pd.isna(v) else str(v))
    return numbers.reindex(column.index)


def _numbers(values: pd.Series) -> pd.Series | None:
    """Numbers, or the days of dates written year-month-day; None where one value is neither."""
    numbers = pd.to_numeric(values, errors="coerce").astype(float)
    if np.isfinite(numbers.to_numpy()).all():
        return numbers
    dates = pd.to_datetime(values.astype(str), errors="coerce", format="ISO8601", utc=True)
    if dates.notna().all():
        return (dates - pd.Timestamp(0, tz="UTC")).dt.total_seconds() / 86400
    return None
