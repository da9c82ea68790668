"""What a unit looks like: a few vectors a part, of bags instances, of tiles and volumes what their px are like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.core.types import Example, Part, TileSet, Volume

Floats = npt.NDArray[np.float64]

Rows = npt.NDArray[np.float64]

INSTANCES = 32
"""Instances of a part that are looked at, evenly spaced over the image."""
PERCENTILES = (5, 25, 50, 75, 95)


@dataclass(frozen=True, kw_only=True)
class Look:
    """One unit: of each part that is there some instances, (m, d), at most INSTANCES; a volume counts as one."""

    patient: str
    unit_id: str
    site: str
    rows: Mapping[str, Rows]

    def of(self, part: str | None) -> Rows | None:
        """The instances of a part, or None when it is absent; of all parts together where `part` is None."""
        return np.concatenate([self.rows[name] for name in sorted(self.rows)]) if part is None else self.rows.get(part)


def look(example: Example) -> Look:
    """Read each part that is there once; raises ModelError for a unit without any instance."""
    rows: dict[str, Rows] = {}
    for part in example.parts:
        if (held := _rows(part)) is not None:
            rows[part.name] = held
    if not rows:
        example.instances()  # refuses, and says of whom
    site = str(example.covariates.get("site", "unknown"))
    return Look(patient=example.patient, unit_id=example.unit_id, site=site, rows=rows)


def _rows(part: Part) -> Rows | None:
    held = None if part.source is None else part.source.load()
    if held is None:
        return None
    if isinstance(held, Volume):
        return intensities(held)[None]
    if isinstance(held, TileSet):
        return colours(held)
    return evenly(held.x, INSTANCES).astype(np.float64) if len(held.x) else None


def evenly(rows: npt.NDArray[Any], most: int) -> npt.NDArray[Any]:
    """At most so many of the rows (n, d), evenly spaced from the first to the last."""
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).round().astype(np.intp)]


def intensities(volume: Volume) -> Floats:
    """Of each channel, the mask's own left out: mean, standard deviation and PERCENTILES, over the region and over the
    whole crop (7 + 7 numbers); at last the logarithm of the voxels of the region. Without a region the crop is it.
    """
    whole = np.ones(volume.x.shape[1:], dtype=bool)
    region = volume.mask if volume.mask is not None and volume.mask.any() else whole
    channels = volume.x[: len(volume.x) - int(volume.mask_channel)].astype(np.float64)
    told = [_statistics(values) for channel in channels for values in (channel[region], channel.ravel())]
    size: Floats = np.array([np.log(float(region.sum()))])
    return np.concatenate([*told, size])


def colours(tiles: TileSet) -> Rows:
    """What `_statistics` says of each colour of up to INSTANCES tiles, evenly over the slide, (n, 21)."""
    rows = evenly(np.arange(len(tiles)), INSTANCES).tolist()
    told = [np.concatenate([_statistics(c) for c in tile.reshape(-1, 3).T]) for tile in tiles.pixels(rows)]
    return np.array(told).reshape(-1, 3 * (2 + len(PERCENTILES)))


def _statistics(values: Floats) -> Floats:
    return np.concatenate([[values.mean(), values.std()], np.percentile(values, PERCENTILES)])
