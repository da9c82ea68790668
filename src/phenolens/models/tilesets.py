"""How models read tiles: one size and one spacing for a fit, checked on reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phenolens.core.errors import ModelError
from phenolens.core.types import Example, Part, TileSet

EXTENT_TOLERANCE = 0.02
"""Tiles are cut on whole pixels of a level, so that their side in um may differ a little between scanners."""


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """What the tiles of a fit look like: px and um of their side; `where` says in words where that was seen first."""

    size_px: int
    extent: float
    where: str

    @classmethod
    def of(cls, example: Example) -> Tiles:
        """Of the first set of tiles of an example; raises ModelError when it has none."""
        for part in example.parts:
            if (held := part.tiles()) is not None:
                return cls(size_px=held.size_px, extent=held.extent, where=f"unit {example.unit_id!r}")
        raise ModelError(
            f"no image of unit {example.unit_id!r} with tiles",
            expected="at least one image with tiles",
            todo="leave the unit out; see quarantine.csv for its images",
        )

    def check(self, held: TileSet, who: str, image: str) -> TileSet:
        """The tiles, when they fit; ModelError naming unit and image when they do not."""
        near = abs(held.extent - self.extent) <= EXTENT_TOLERANCE * self.extent
        if held.size_px == self.size_px and near:
            return held
        raise ModelError(
            f"tiles of {held.size_px} px and {held.extent:g} um in image {image!r} of unit {who!r}, of {self.size_px} "
            f"px and {self.extent:g} um in {self.where}",
            expected="tiles of one size and spacing",
            todo="cut the tiles of all images with one tiles section, and check the mpp of the images table",
        )

    def to_json(self) -> dict[str, Any]:
        """What `from_json` needs."""
        return {"tile_px": self.size_px, "extent": self.extent}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Tiles:
        return cls(size_px=told["tile_px"], extent=told["extent"], where="the training of this model")


@dataclass(frozen=True, kw_only=True)
class CheckedTiles:
    """The tiles of a part, checked each time they are opened."""

    part: Part
    tiles: Tiles
    unit: str

    def load(self) -> TileSet:
        held = self.part.tiles()
        assert held is not None, "only parts that are there are checked"
        return self.tiles.check(held, self.unit, self.part.image)
