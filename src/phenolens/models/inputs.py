"""What the inputs of a fit look like, whether bags, volumes or tiles; checked whenever one is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from phenolens.core.types import Example, Part, TileSet, Volume
from phenolens.models.bags import Checked, Features, Pooled
from phenolens.models.tilesets import CheckedTiles, Tiles
from phenolens.models.volumes import Grid

Inputs = Features | Grid | Tiles


@dataclass(frozen=True, kw_only=True)
class CheckedVolume:
    """The volume of a part, checked each time it is read."""

    part: Part
    grid: Grid
    unit: str

    def load(self) -> Volume:
        volume = self.part.volume()
        assert volume is not None, "only parts that are there are checked"
        return self.grid.check(volume, self.unit, self.part)


def inputs_of(example: Example, *, any_shape: bool = False) -> Inputs:
    """What the first part that is there looks like; raises ModelError when there is none.

    `any_shape` allows volumes that differ in size, as segmentation reads them.
    """
    first = next((p.source for p in example.parts if p.source is not None), None)
    held = None if first is None or isinstance(first, Pooled) else first.load()
    if isinstance(held, Volume):
        return Grid.of([example], any_shape=any_shape)
    if isinstance(held, TileSet):
        return Tiles.of(example)
    return Features.of(example)


def checked_inputs(examples: Iterable[Example], inputs: Inputs) -> list[Example]:
    """The same examples, compared with `inputs` and asked to be finite whenever they are read."""
    return [replace(e, parts=tuple(_checked(p, e.unit_id, inputs) for p in e.parts)) for e in examples]


def _checked(part: Part, unit: str, inputs: Inputs) -> Part:
    if part.source is None or isinstance(part.source, Pooled):
        return part
    if isinstance(inputs, Grid):
        return replace(part, source=CheckedVolume(part=part, grid=inputs, unit=unit))
    if isinstance(inputs, Tiles):
        return replace(part, source=CheckedTiles(part=part, tiles=inputs, unit=unit))
    held: Any = part.source
    return replace(part, source=Checked(source=held, features=inputs, unit=unit, image=part.image))


def as_config(inputs: Inputs) -> dict[str, Any]:
    """As it is stored beside the weights."""
    if isinstance(inputs, Grid | Tiles):
        return inputs.to_json()
    return {"dimension": inputs.dimension, "names": inputs.names, "extent": inputs.extent}


def from_config(config: Mapping[str, Any]) -> Inputs:
    """What `as_config` stored."""
    if "channels" in config:
        return Grid.from_json(config)
    if "tile_px" in config:
        return Tiles.from_json(config)
    names = tuple(config["names"]) if config["names"] else None
    where = "the training of this model"
    return Features(dimension=config["dimension"], names=names, extent=config["extent"], where=where)
