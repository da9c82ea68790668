"""What a fitted model says of every tile, as a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from phenolens.core.predictions import PREDICTION_KEYS
from phenolens.core.types import Example, Split
from phenolens.models.tile_reading import Read
from phenolens.models.told import site_of
from phenolens.tasks._contract import Task

TILE = "tile"
"""The unit of the table."""


def tile_rows(
    part: str, examples: Sequence[Example], reads: Sequence[Read], task: Task, split: Split, name: str
) -> pd.DataFrame:
    """One row a tile: the keys of the predictions with the unit "tile" and the id IMAGE:ROW, site and split hash; of
    which unit and image it is, its row there, its corner x, y in um, the truth of its unit and its probabilities."""
    own = ["site", "split_hash", "of", "image", "row", "x", "y", *task.known, *task.columns]
    columns = [*PREDICTION_KEYS, *own]
    sets = [
        (example, *held)
        for example, read in zip(examples, reads, strict=True)
        for held in zip(read.images, read.coords, read.p, strict=True)
    ]
    if not sets:
        return pd.DataFrame(columns=columns)
    told = [(e.patient, e.unit_id, image, site_of(e), *task.facts(e)) for e, image, _, _ in sets]
    by_set = pd.DataFrame(told, columns=["patient", "of", "image", "site", *task.known])
    table = by_set.loc[np.repeat(by_set.index, [len(p) for *_, p in sets])].reset_index(drop=True)
    row = np.concatenate([np.arange(len(p)) for *_, p in sets])
    at, p = np.concatenate([held for _, _, held, _ in sets]), np.concatenate([held for *_, held in sets])
    table = table.assign(row=row, x=at[:, 0], y=at[:, 1], **dict(zip(task.columns, p.T, strict=True)))
    table = table.assign(experiment="main", scheme=split.scheme, target=task.target, model=name, part=part)
    table = table.assign(repeat=split.repeat, fold=split.fold, unit=TILE, split_hash=split.hash)
    return table.assign(unit_id=[f"{i}:{r}" for i, r in zip(table["image"], row, strict=True)])[columns]
