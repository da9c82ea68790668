"""How `sequence_fusion` reads examples: which sequences are there, and bags in a few directions learnt in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import ModelError
from phenolens.core.types import Bag, Example, FloatArray, Part, Volume
from phenolens.models.bags import Features, Scaler
from phenolens.models.columns import Matrix
from phenolens.models.volumes import present

_MOST_F = 100.0
"""F statistics are cut here: a feature that tells all classes apart must not silence every other."""


class Sets(Protocol):
    """What decides over sets of sequences, as documented in `zoo/sequence_fusion.py`."""

    @property
    def new_subset(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """The sequences of training, sorted, and how many training units had each set of them (names joined by +)."""

    names: tuple[str, ...]
    sets: Mapping[str, int]

    @classmethod
    def of(cls, train: Sequence[Example]) -> Sequences:
        """Raises ModelError for a unit without any, and where no name recurs (images that have no sequence)."""
        patients: dict[str, set[str]] = {}
        sets: dict[str, int] = {}
        for example in train:
            for name in present(example):
                patients.setdefault(name, set()).add(example.patient)
            key = _key(example)
            sets[key] = sets.get(key, 0) + 1
        if len({e.patient for e in train}) > 1 and all(len(who) == 1 for who in patients.values()):
            raise ModelError(
                f"{len(patients)} parts whose names no two training patients share (such as {min(patients)!r})",
                expected="parts named by sequence, the same for every patient",
                todo="choose a model that does not tell parts apart, such as mean_pool or abmil",
            )
        return cls(names=tuple(sorted(patients)), sets=dict(sorted(sets.items())))

    def parts(self, example: Example, settings: Sets) -> dict[str, Part]:
        """The parts that are there, by name. Raises ModelError for what training never had, as declared."""
        there = present(example)
        strange = sorted(set(there) - set(self.names))
        if strange:
            raise ModelError(
                f"sequence {strange[0]!r} in unit {example.unit_id!r}, which no training unit had",
                expected=f"some of {', '.join(self.names)}",
                todo="correct its sequence in images.csv, or leave the image out",
            )
        key = _key(example)
        if settings.new_subset == "refuse" and key not in self.sets:
            raise ModelError(
                f"the sequences {key} in unit {example.unit_id!r}, a set that no training unit had",
                expected=f"one of {'; '.join(self.sets)}",
                todo="leave the unit out, or declare new_subset: predict to have it predicted with a flag",
            )
        return there

    def flag(self, example: Example) -> str:
        """What is to be said of the example's set of sequences; empty when a training unit had it."""
        key = _key(example)
        return "" if key in self.sets else f"the sequences {key}, a set that no training unit had"


def _key(example: Example) -> str:
    there = present(example)
    if not there:
        raise ModelError(
            f"no image of unit {example.unit_id!r} of patient {example.patient!r}",
            expected="at least one sequence",
            todo="leave the unit out; see quarantine.csv for its images",
        )
    return "+".join(sorted(there))


def refuse_filled(example: Example, part: Part, held: Bag | Volume) -> None:
    """Raises ModelError where absence was filled with zeros: every feature, or every voxel, is exactly 0."""
    x = held.x[: len(held.x) - held.mask_channel] if isinstance(held, Volume) else held.x
    if x.size > 1 and not x.any():
        what = "voxel" if isinstance(held, Volume) else "feature"
        raise ModelError(
            f"{x.size} zeros for sequence {part.name!r} of unit {example.unit_id!r}: every {what} is exactly 0",
            expected="measured values, or no image",
            todo="leave the image out of images.csv: an absent sequence is declared, not filled",
        )


@dataclass(frozen=True, kw_only=True)
class Space:
    """From the instances of one sequence to a point in a few directions: (n, d) to (r,).

    Standardised instances are averaged, centred and turned by `basis` (d, r), which weighs each feature first.
    """

    scaler: Scaler
    centre: Matrix
    basis: Matrix

    @classmethod
    def fit(cls, bags: Sequence[FloatArray], truth: npt.NDArray[np.intp], *, screen: float, components: int) -> Space:
        """From the training units that have the sequence: their instances, one array a unit, and their classes.

        Each standardised feature is weighed by its one-way F statistic over these units to the power `screen` (0 weighs
        all alike; screening by marginal utility: Fan and Lv, Sure independence screening, 2008). The directions are
        the first principal components of what is left, unwhitened, so that the mean squared length of a point is their
        number.
        """
        scaler = Scaler.fit(bags)
        z = np.stack([scaler.apply(x).mean(0) for x in bags])
        centre = z.mean(0)
        f = np.minimum(f_statistics(z, truth), _MOST_F) ** screen
        weights = f / root if (root := float(np.sqrt((f**2).mean()))) > 0 else np.ones_like(f)
        _, spread, turned = np.linalg.svd((z - centre) * weights, full_matrices=False)
        rank = int((spread > 1e-9 * max(float(spread[0]), 1e-12)).sum())
        kept = max(1, min(components, rank))
        length = float((spread[:kept] ** 2).sum()) / len(z)
        scale = np.sqrt(kept / length) if length > 1e-12 else 0.0
        return cls(scaler=scaler, centre=centre, basis=weights[:, None] * turned[:kept].T * scale)

    def apply(self, x: FloatArray) -> Matrix:
        """The point (r,) of the instances x (n, d)."""
        point: Matrix = (self.scaler.apply(x).mean(0) - self.centre) @ self.basis
        return point


def f_statistics(z: Matrix, truth: npt.NDArray[np.intp]) -> Matrix:
    """The one-way analysis of variance of each column of z (n, d) over the classes (d,); ones where it has no degrees
    of freedom. The variance within classes is taken to be at least 1e-6."""
    groups = [z[truth == c] for c in np.unique(truth)]
    n, k = len(z), len(groups)
    if k < 2 or n <= k:
        return np.ones(z.shape[1])
    mean = z.mean(0)
    between = np.sum([len(g) * (g.mean(0) - mean) ** 2 for g in groups], axis=0) / (k - 1)
    within = np.sum([((g - g.mean(0)) ** 2).sum(0) for g in groups], axis=0) / (n - k)
    found: Matrix = between / np.maximum(within, 1e-6)
    return found


@dataclass(frozen=True, kw_only=True)
class BagReading:
    """From an example of bags to the input of the network: a point a sequence, zeros where it is absent."""

    sequences: Sequences
    features: Features
    spaces: tuple[Space, ...]

    @classmethod
    def fit(
        cls,
        sequences: Sequences,
        train: Sequence[Example],
        truth: npt.NDArray[np.intp],
        *,
        screen: float,
        components: int,
    ) -> BagReading:
        """Learn scaling, weights and directions of each sequence from the training units that have it."""
        features = Features.of(train[0])
        spaces = []
        for name in sequences.names:
            held = [(i, e, part) for i, e in enumerate(train) if (part := present(e).get(name)) is not None]
            bags = [_rows(e, part, features) for _, e, part in held]
            of = truth[[i for i, _, _ in held]]
            spaces.append(Space.fit(bags, of, screen=screen, components=components))
        return cls(sequences=sequences, features=features, spaces=tuple(spaces))

    @property
    def width(self) -> int:
        """The number of directions of the sequence that has most."""
        return max(int(s.basis.shape[1]) for s in self.spaces)

    def inputs(self, example: Example, settings: Sets) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Points (s, r) float32, and which sequences are there (s,)."""
        there = self.sequences.parts(example, settings)
        points = np.zeros((len(self.spaces), self.width), dtype=np.float32)
        for i, (name, space) in enumerate(zip(self.sequences.names, self.spaces, strict=True)):
            if name in there:
                point = space.apply(_rows(example, there[name], self.features))
                points[i, : len(point)] = point
        return points, np.array([name in there for name in self.sequences.names])

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What was learnt, as arrays by name; see OF_READING."""
        made: dict[str, npt.NDArray[Any]] = {}
        for i, space in enumerate(self.spaces):
            of = {"mean": space.scaler.mean, "scale": space.scaler.scale, "centre": space.centre, "basis": space.basis}
            made |= {f"{OF_READING}{i}.{name}": value for name, value in of.items()}
        return made

    def to_json(self) -> dict[str, Any]:
        names = None if self.features.names is None else list(self.features.names)
        return {"dimension": self.features.dimension, "names": names, "extent": self.features.extent}

    @classmethod
    def restore(
        cls, sequences: Sequences, weights: Mapping[str, npt.NDArray[Any]], told: Mapping[str, Any]
    ) -> BagReading:
        """From what `arrays` and `to_json` gave."""
        names = None if told["names"] is None else tuple(told["names"])
        where = "the training of this model"
        features = Features(dimension=told["dimension"], names=names, extent=told["extent"], where=where)
        spaces = []
        for i in range(len(sequences.names)):
            mean, scale, centre, basis = (weights[f"{OF_READING}{i}.{n}"] for n in ("mean", "scale", "centre", "basis"))
            spaces.append(Space(scaler=Scaler(mean=mean, scale=scale), centre=centre, basis=basis))
        return cls(sequences=sequences, features=features, spaces=tuple(spaces))


OF_READING = "space."
"""How the names of the arrays begin that a `BagReading` stores."""


def _rows(example: Example, part: Part, features: Features) -> FloatArray:
    """The instances (n, d) of a part that is there, checked."""
    bag = part.load()
    assert bag is not None
    features.check(bag, example.unit_id, part.image)
    if not len(bag.x):
        raise ModelError(
            f"no instance in image {part.image!r} of unit {example.unit_id!r}",
            expected="at least one region with features",
            todo="leave the image out, or extract its features again",
        )
    refuse_filled(example, part, bag)
    return bag.x
