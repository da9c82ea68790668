"""What the inputs of a fit look like, whether bags or volumes; checked whenever one is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from phenolens.core.errors import ModelError
from phenolens.core.types import Bag, Example, Volume, VolumeSource
from phenolens.models.bags import Checked, Features, Pooled


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What the volumes of a fit look like: channels, voxels (z, y, x), spacing in mm; `where` says where that was."""

    channels: int
    voxels: tuple[int, int, int]
    spacing: tuple[float, ...]
    where: str

    def check(self, volume: Volume, who: str, image: str) -> Volume:
        """The volume, when it fits; ModelError naming the unit when it does not or is not finite."""
        channels, *voxels = volume.x.shape
        found = (channels, tuple(voxels), tuple(round(s, 4) for s in volume.frame.spacing))
        wanted = (self.channels, self.voxels, tuple(round(s, 4) for s in self.spacing))
        if found != wanted:
            raise ModelError(
                f"a volume of {_told(found)} in image {image!r} of unit {who!r} and of {_told(wanted)} in {self.where}",
                expected="volumes of one shape and spacing",
                todo="extract all with one encoder",
            )
        bad = int((~np.isfinite(volume.x)).sum())
        if bad:
            raise ModelError(
                f"{bad} voxels that are not finite in image {image!r} of unit {who!r}",
                expected="finite intensities",
                todo="extract the volume of this image again, or leave it out",
            )
        return volume


def _told(shape: tuple[int, tuple[Any, ...], tuple[float, ...]]) -> str:
    channels, voxels, spacing = shape
    return f"{channels} x {' x '.join(map(str, voxels))} voxels of {' x '.join(f'{s:g}' for s in spacing)} mm"


@dataclass(frozen=True, kw_only=True)
class CheckedVolume:
    """A source whose volumes are checked each time they are read."""

    source: VolumeSource
    shape: Shape
    unit: str
    image: str

    def load(self) -> Volume:
        return self.shape.check(self.source.load(), self.unit, self.image)


Inputs = Features | Shape


def inputs_of(example: Example) -> Inputs:
    """What the first part that is there looks like; raises ModelError when there is none."""
    for part in example.parts:
        held = None if part.source is None else part.source.load()
        if isinstance(held, Volume):
            channels, z, y, x = held.x.shape
            where = f"unit {example.unit_id!r}"
            return Shape(channels=channels, voxels=(z, y, x), spacing=held.frame.spacing, where=where)
        if isinstance(held, Bag):
            break
    return Features.of(example)


def checked_inputs(examples: Iterable[Example], inputs: Inputs) -> list[Example]:
    """The same examples, compared with `inputs` and asked to be finite whenever they are read."""
    return [replace(e, parts=tuple(_checked(p, e.unit_id, inputs) for p in e.parts)) for e in examples]


def _checked(part: Any, unit: str, inputs: Inputs) -> Any:
    if part.source is None or isinstance(part.source, Pooled):
        return part
    if isinstance(inputs, Shape):
        return replace(part, source=CheckedVolume(source=part.source, shape=inputs, unit=unit, image=part.image))
    return replace(part, source=Checked(source=part.source, features=inputs, unit=unit, image=part.image))


def as_config(inputs: Inputs) -> dict[str, Any]:
    """As it is stored beside the weights."""
    if isinstance(inputs, Shape):
        return {"channels": inputs.channels, "voxels": inputs.voxels, "spacing": inputs.spacing}
    return {"dimension": inputs.dimension, "names": inputs.names, "extent": inputs.extent}


def from_config(config: Mapping[str, Any]) -> Inputs:
    """What `as_config` stored."""
    where = "the training of this model"
    if "channels" in config:
        z, y, x = config["voxels"]
        return Shape(channels=config["channels"], voxels=(z, y, x), spacing=tuple(config["spacing"]), where=where)
    names = tuple(config["names"]) if config["names"] else None
    return Features(dimension=config["dimension"], names=names, extent=config["extent"], where=where)
