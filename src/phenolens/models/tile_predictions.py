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
    tables = []
    for example, read in zip(examples, reads, strict=True):
        for image, coords, p in zip(read.images, read.coords, read.p, strict=True):
            rows = np.arange(len(p))
            table = pd.DataFrame({"row": rows, "x": coords[:, 0], "y": coords[:, 1]})
            table = table.assign(experiment="main", scheme=split.scheme, target=task.target, model=name, part=part)
            table = table.assign(repeat=split.repeat, fold=split.fold, patient=example.patient, unit=TILE)
            table = table.assign(unit_id=[f"{image}:{row}" for row in rows], of=example.unit_id, image=image)
            table = table.assign(site=site_of(example), split_hash=split.hash)
            table = table.assign(**dict(zip(task.known, task.facts(example), strict=True)))
            tables.append(table.assign(**dict(zip(task.columns, p.T, strict=True))))
    own = ["site", "split_hash", "of", "image", "row", "x", "y", *task.known, *task.columns]
    columns = [*PREDICTION_KEYS, *own]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)
