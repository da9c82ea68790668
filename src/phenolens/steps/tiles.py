"""What models of tiles say of single tiles: one table of all test tiles, and how well they are told."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from phenolens.core.store import atomic
from phenolens.evaluate.tiles import tile_estimates
from phenolens.models.fit import fits_tiles
from phenolens.steps.desk import Desk, write_csv
from phenolens.steps.models import Fit

PREDICTIONS, ESTIMATES = "tile_predictions.parquet", "tile_estimates.csv"


def measure_tiles(desk: Desk, fits: Sequence[Fit]) -> None:
    """results/tile_predictions.parquet (test tiles) and tile_estimates.csv, whose intervals count patients.

    One model and scheme is held at a time; without a model that judges tiles, neither file is there.
    """
    sets: dict[tuple[str, str], list[Fit]] = {}
    for one in fits:
        if one.split is not None:
            sets.setdefault((one.model.name, one.split.scheme), []).append(one)
    made = [measured for own in sets.values() if (measured := _measured(desk, own)) is not None]
    for name in (PREDICTIONS, ESTIMATES):
        (desk.results / name).unlink(missing_ok=True)
    if not made:
        return
    write_csv(desk.results / ESTIMATES, pd.concat([e for e, _ in made], ignore_index=True))
    with atomic(desk.results / PREDICTIONS) as part:
        pd.concat([t for _, t in made], ignore_index=True).to_parquet(part, index=False)


def _measured(desk: Desk, fits: Sequence[Fit]) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    tables = [table for one in fits if (table := fits_tiles(desk.store, one.key)) is not None]
    if not tables:
        return None
    whole = pd.concat([t[t["part"] == "test"] for t in tables], ignore_index=True)
    return tile_estimates(whole), whole.drop(columns=["experiment", "target", "unit", "part"])
