"""How models read volumes: checked on reading, standardised by training statistics, kept while there is room."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from phenolens.core.errors import ModelError
from phenolens.core.types import Example, FloatArray, Part, Volume
from phenolens.models.bags import CLIP, Scaler
from phenolens.models.intensity import StandardScale

CACHE_BYTES = 2**30
"""Standardised volumes up to this much are kept in memory during a fit; the others are read again in each epoch."""
SPACING_TOLERANCE = 0.01
"""The share by which the voxels of two volumes may differ and still be one grid."""
OF_READING = ("scaler.", "standard.")
"""How the names of the arrays begin that a `Reading` stores beside the weights of its network."""
Groups = tuple[tuple[str, ...], ...]
"""The names of the parts that make up each input of a network; the channels of one group are stacked."""
Inputs = tuple[FloatArray | None, ...]
"""One standardised array (c, z, y, x) a group; None where a part of the group is absent."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What the volumes of a fit look like: channels, shape (x, y, z) or None where it may differ, spacing in mm.

    `where` says in words where that was seen first.
    """

    channels: int
    shape: tuple[int, ...] | None
    spacing: tuple[float, ...]
    where: str

    @classmethod
    def of(cls, examples: Iterable[Example], *, any_shape: bool = False) -> Grid:
        """Of the first volume that is there; raises ModelError when there is none."""
        for example in examples:
            for part in example.parts:
                if (volume := part.volume()) is not None:
                    return cls(
                        channels=volume.x.shape[0],
                        shape=None if any_shape else volume.frame.shape,
                        spacing=volume.frame.spacing,
                        where=f"unit {example.unit_id!r}",
                    )
        raise ModelError(
            "no unit with a volume",
            expected="at least one image with a volume",
            todo="see quarantine.csv for the images",
        )

    def check(self, volume: Volume, who: str, part: Part) -> Volume:
        """The volume, when it fits; ModelError naming unit and image when it does not or is not finite."""
        here = f"image {part.image!r} of unit {who!r}"
        if volume.x.shape[0] != self.channels:
            raise ModelError(
                f"{volume.x.shape[0]} channels in {here} and {self.channels} in {self.where}",
                expected="the same channels for every image",
                todo="extract both with one encoder",
            )
        if self.shape is not None and volume.frame.shape != self.shape:
            raise ModelError(
                f"{_times(volume.frame.shape)} voxels in {here} and {_times(self.shape)} in {self.where}",
                expected="one size for every image",
                todo="extract both with one encoder whose size is given",
            )
        if not np.allclose(volume.frame.spacing, self.spacing, rtol=SPACING_TOLERANCE):
            raise ModelError(
                f"voxels of {_times(volume.frame.spacing)} mm in {here} and {_times(self.spacing)} in {self.where}",
                expected="one spacing for every image",
                todo="extract both with one encoder whose spacing_mm is given",
            )
        if not np.isfinite(volume.x).all():
            bad = int(np.count_nonzero(~np.isfinite(volume.x)))
            raise ModelError(
                f"{bad} voxels that are not finite in {here}",
                expected="finite intensities",
                todo="extract the volume of this image again, or leave it out",
            )
        return volume

    def to_json(self) -> dict[str, Any]:
        """What `from_json` needs."""
        shape = None if self.shape is None else list(self.shape)
        return {"channels": self.channels, "shape": shape, "spacing": list(self.spacing)}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Grid:
        shape = None if told["shape"] is None else tuple(told["shape"])
        spacing = tuple(told["spacing"])
        return cls(channels=told["channels"], shape=shape, spacing=spacing, where="the training of this model")


def _times(values: Sequence[float]) -> str:
    return " x ".join(f"{v:g}" for v in values)


def present(example: Example) -> dict[str, Part]:
    """The parts that are there, by name; ModelError where a name comes twice."""
    found: dict[str, Part] = {}
    for part in example.parts:
        if not part.present:
            continue
        if part.name in found:
            raise ModelError(
                f"two images of sequence {part.name!r} in unit {example.unit_id!r}",
                expected="one image a sequence",
                todo="leave one of them out of images.csv",
            )
        found[part.name] = part
    return found


def names_of(examples: Iterable[Example]) -> tuple[str, ...]:
    """The names of the parts that are there in any example, sorted."""
    return tuple(sorted({name for e in examples for name in present(e)}))


def fit_scales(examples: Sequence[Example], names: Iterable[str], grid: Grid) -> dict[str, StandardScale]:
    """The standard scale of each name whose volumes carry landmarks. Raises ModelError where only some of them do."""
    scales: dict[str, StandardScale] = {}
    for name in names:
        parts = _of(examples, name)
        known = [read(e, part, grid).landmarks for e, part in parts]
        given = [marks for marks in known if marks is not None]
        if given and len(given) < len(known):
            example, part = next(p for p, marks in zip(parts, known, strict=True) if marks is None)
            raise _unlike(example, part, "without landmarks", f"landmarks, as in {len(given)} others of {name!r}")
        if given:
            scales[name] = StandardScale.fit(given)
    return scales


def fit_scalers(
    examples: Sequence[Example], names: Iterable[str], grid: Grid, scales: Mapping[str, StandardScale] | None = None
) -> dict[str, Scaler]:
    """Mean and standard deviation of each channel over all voxels of all volumes of a name, float32, one at a time.

    Voxels are taken as they are on the standard `scales`, where there are any.
    """
    scalers = {}
    for name in names:
        rows = (scaled(e, part, grid, scales or {}) for e, part in _of(examples, name))
        fitted = Scaler.fit(x.reshape(grid.channels, -1).T for x in rows)
        scalers[name] = Scaler(mean=fitted.mean.astype(np.float32), scale=fitted.scale.astype(np.float32))
    return scalers


def _of(examples: Iterable[Example], name: str) -> list[tuple[Example, Part]]:
    """The examples that have a part of this name, each with it."""
    return [(e, part) for e in examples if (part := present(e).get(name)) is not None]


def scaled(example: Example, part: Part, grid: Grid, scales: Mapping[str, StandardScale]) -> FloatArray:
    """The intensities (c, z, y, x) of a part that is there, checked and on the standard scale of its name, if any.

    Raises ModelError where the volume has landmarks and its name no scale, or the other way round.
    """
    volume, scale = read(example, part, grid), scales.get(part.name)
    if volume.landmarks is None and scale is None:
        return volume.x
    if volume.landmarks is None:
        raise _unlike(example, part, "without landmarks", "landmarks, as in the training of this model")
    if scale is None:
        raise _unlike(example, part, "with landmarks", "none, as in the training of this model")
    count = len(volume.x) - volume.mask_channel
    return np.concatenate([scale.map(volume.x[:count], volume.landmarks), volume.x[count:]])


def _unlike(example: Example, part: Part, found: str, expected: str) -> ModelError:
    return ModelError(
        f"a volume {found} in image {part.image!r} of unit {example.unit_id!r}",
        expected=expected,
        todo="prepare all scans of a sequence with one scan.intensity",
    )


def read(example: Example, part: Part, grid: Grid) -> Volume:
    """The volume of a part that is there, checked."""
    volume = part.volume()
    assert volume is not None
    return grid.check(volume, example.unit_id, part)


def standardised(x: FloatArray, scaler: Scaler) -> FloatArray:
    """(c, z, y, x) by the channel's mean and standard deviation, cut at ±CLIP."""
    mean, scale = (v[:, None, None, None] for v in (scaler.mean, scaler.scale))
    z: FloatArray = np.clip((x - mean) / scale, -CLIP, CLIP).astype(np.float32, copy=False)
    return z


@dataclass(frozen=True, kw_only=True)
class Reading:
    """From an example to the inputs of a network: which parts, on which grid, on which scale, standardised by what."""

    groups: Groups
    grid: Grid
    scalers: Mapping[str, Scaler]
    scales: Mapping[str, StandardScale] = field(default_factory=dict)

    @classmethod
    def fit(cls, examples: Sequence[Example], groups: Groups, grid: Grid) -> Reading:
        """Scales and scalers of the parts of `groups`, from training examples."""
        names = [name for group in groups for name in group]
        scales = fit_scales(examples, names, grid)
        return cls(groups=groups, grid=grid, scalers=fit_scalers(examples, names, grid, scales), scales=scales)

    def inputs(self, example: Example) -> Inputs:
        """One array a group, None where it is not complete; all None when the example has nothing to read."""
        there = present(example)
        return tuple(
            np.concatenate([self._part(example, there[name]) for name in group])
            if all(name in there for name in group)
            else None
            for group in self.groups
        )

    def _part(self, example: Example, part: Part) -> FloatArray:
        return standardised(scaled(example, part, self.grid, self.scales), self.scalers[part.name])

    def arrays(self) -> dict[str, Any]:
        """The scalers and standard scales as arrays by name, as they are stored; see OF_READING."""
        made = {}
        for i, name in enumerate(sorted(self.scalers)):
            made[f"scaler.{i}.mean"], made[f"scaler.{i}.scale"] = self.scalers[name].mean, self.scalers[name].scale
            if name in self.scales:
                made[f"standard.{i}.landmarks"] = self.scales[name].landmarks
        return made

    def to_json(self) -> dict[str, Any]:
        return {"groups": [list(group) for group in self.groups], "grid": self.grid.to_json()}

    @classmethod
    def restore(cls, weights: Mapping[str, Any], told: Mapping[str, Any]) -> Reading:
        """From what `arrays` and `to_json` gave."""
        groups = tuple(tuple(group) for group in told["groups"])
        names = sorted({name for group in groups for name in group})
        scalers = {
            name: Scaler(mean=weights[f"scaler.{i}.mean"], scale=weights[f"scaler.{i}.scale"])
            for i, name in enumerate(names)
        }
        scales = {
            name: StandardScale(landmarks=weights[f"standard.{i}.landmarks"])
            for i, name in enumerate(names)
            if f"standard.{i}.landmarks" in weights
        }
        return cls(groups=groups, grid=Grid.from_json(told["grid"]), scalers=scalers, scales=scales)


class Cached:
    """What `make` gives for each of `count` positions; the first CACHE_BYTES of arrays are made once."""

    def __init__(self, examples: Sequence[Example], make: Any) -> None:
        self.examples, self.make = examples, make
        self.kept: dict[int, tuple[Any, ...]] = {}
        self.free = CACHE_BYTES

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, i: int) -> tuple[Any, ...]:
        if i in self.kept:
            return self.kept[i]
        made: tuple[Any, ...] = self.make(self.examples[i])
        size = sum(a.nbytes for a in made if a is not None)
        if size <= self.free:
            self.kept[i] = made
            self.free -= size
        return made
