"""What a unit looks like on the whole: one vector a part, of bags the mean instance, of volumes and tiles their px."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phenolens.core.types import Example, Part, TileSet, Volume

Floats = npt.NDArray[np.float64]

PERCENTILES = (5, 25, 50, 75, 95)
TILES = 64
"""Most tiles of a slide that are looked at, evenly over the slide."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """One unit: the sum (d,) and the number of the instances of each part that is there; a volume counts as one."""

    patient: str
    unit_id: str
    site: str
    sums: Mapping[str, tuple[Floats, int]]

    def of(self, part: str | None) -> Floats | None:
        """The mean vector of a part, or None when it is absent; of all parts together where `part` is None."""
        if part is None:
            return self.whole()
        held = self.sums.get(part)
        return None if held is None else held[0] / held[1]

    def whole(self) -> Floats:
        """The mean over all instances of all parts."""
        total: Floats = np.sum([s for s, _ in self.sums.values()], axis=0)
        return total / sum(n for _, n in self.sums.values())


def look(example: Example) -> Look:
    """Read each part that is there once; raises ModelError for a unit without any instance."""
    sums: dict[str, tuple[Floats, int]] = {}
    for part in example.parts:
        if (held := _sum(part)) is not None:
            sums[part.name] = held
    if not sums:
        example.instances()  # refuses, and says of whom
    site = str(example.covariates.get("site", "unknown"))
    return Look(patient=example.patient, unit_id=example.unit_id, site=site, sums=sums)


def _sum(part: Part) -> tuple[Floats, int] | None:
    held = None if part.source is None else part.source.load()
    if held is None:
        return None
    if isinstance(held, Volume):
        return intensities(held), 1
    if isinstance(held, TileSet):
        return colours(held)
    return (held.x.sum(0, dtype=np.float64), len(held.x)) if len(held.x) else None


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


def colours(tiles: TileSet) -> tuple[Floats, int]:
    """The sum over up to TILES tiles of what `_statistics` says of each colour, (21,), and how many tiles they were."""
    rows = np.unique(np.linspace(0, len(tiles) - 1, min(len(tiles), TILES)).round().astype(int))
    told = [np.concatenate([_statistics(c) for c in tile.reshape(-1, 3).T]) for tile in tiles.pixels(rows.tolist())]
    return np.sum(told, axis=0), len(rows)


def _statistics(values: Floats) -> Floats:
    return np.concatenate([[values.mean(), values.std()], np.percentile(values, PERCENTILES)])
