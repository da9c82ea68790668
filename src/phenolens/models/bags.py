"""How models read examples: checked on reading, standardised by training statistics, pooled once for many refits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import ModelError
from phenolens.core.types import Bag, BagSource, Example

Vector = npt.NDArray[np.float64]
Pool = Callable[[Example], Vector]
"""From an example to one vector (m,): a function of its own instances alone."""

CLIP = 10.0
"""Standardised values beyond this many standard deviations are cut there: one outlier must not decide."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """What the features of a fit look like; `where` says in words where that was seen first."""

    dimension: int
    names: tuple[str, ...] | None
    extent: float
    where: str

    @classmethod
    def of(cls, example: Example) -> Features:
        """Of the first bag of an example; raises ModelError when it has none."""
        for part in example.parts:
            if (bag := part.load()) is not None:
                return cls(
                    dimension=bag.x.shape[1], names=bag.names, extent=bag.extent, where=f"unit {example.unit_id!r}"
                )
        raise ModelError(
            f"no image of unit {example.unit_id!r} with features",
            expected="at least one image with features",
            todo="leave the unit out; see quarantine.csv for its images",
        )

    def check(self, bag: Bag, who: str, image: str) -> Bag:
        """The bag, when it fits; ModelError naming the unit and feature when it does not or is not finite."""
        if bag.x.shape[1] != self.dimension:
            raise ModelError(
                f"{bag.x.shape[1]} features in image {image!r} of unit {who!r} and {self.dimension} in {self.where}",
                expected="the same features for every image",
                todo="extract both with one encoder",
            )
        if bag.names is not None and self.names is not None and bag.names != self.names:
            j = next(i for i, (a, b) in enumerate(zip(bag.names, self.names, strict=True)) if a != b)
            raise ModelError(
                f"feature {j} named {bag.names[j]!r} in unit {who!r} and {self.names[j]!r} in {self.where}",
                expected="the same features in the same order for every image",
                todo="extract both with one encoder",
            )
        finite = np.isfinite(bag.x)
        if not finite.all():
            row, column = (int(i) for i in np.argwhere(~finite)[0])
            name = repr(self.names[column]) if self.names else str(column)
            raise ModelError(
                f"{bag.x[row, column]} in feature {name} of instance {row} of image {image!r} of unit {who!r}"
                f" ({int((~finite).sum())} values that are not finite)",
                expected="finite features",
                todo="extract the features of this image again, or leave it out",
            )
        return bag


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A source whose bags are checked each time they are read."""

    source: BagSource
    features: Features
    unit: str
    image: str

    def load(self) -> Bag:
        return self.features.check(self.source.load(), self.unit, self.image)


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """A source that has kept only what a model pools an example into, for fitting many times (a permutation test)."""

    key: str
    vector: Vector

    def load(self) -> Bag:
        raise ModelError(
            f"features that were pooled for {self.key}",
            expected="the features themselves",
            todo="give this model the examples as they were before condense",
        )


def checked(examples: Iterable[Example], features: Features) -> list[Example]:
    """The same examples, whose bags are compared with `features` and asked to be finite whenever they are read."""
    return [replace(e, parts=tuple(_checked(p, e.unit_id, features) for p in e.parts)) for e in examples]


def _checked(part: Any, unit: str, features: Features) -> Any:
    if part.source is None or isinstance(part.source, Pooled):
        return part
    return replace(part, source=Checked(source=part.source, features=features, unit=unit, image=part.image))


def pooled(example: Example, key: str, pool: Pool) -> Vector:
    """`pool(example)`, or what `condense` has kept of it under the same key."""
    source = example.parts[0].source if example.parts else None
    return source.vector if isinstance(source, Pooled) and source.key == key else pool(example)


def condense(model: Any, examples: Sequence[Example]) -> list[Example]:
    """Examples that hold only what this model pools each of them into; as they are when the model does not pool.

    A pooled vector depends on the example's own instances alone, so fitting on condensed examples gives the same
    numbers while a refit no longer reads the features. Features are checked as in `fit`.
    """
    if not hasattr(model, "pool") or not examples:
        return list(examples)
    kept = []
    for example in checked(examples, Features.of(examples[0])):
        source = Pooled(key=model.pool_key, vector=model.pool(example))
        kept.append(replace(example, parts=(replace(example.parts[0], source=source),)))
    return kept


@dataclass(frozen=True, kw_only=True)
class Scaler:
    """Mean and standard deviation a feature, (d,) each; a constant feature has scale one."""

    mean: npt.NDArray[Any]
    scale: npt.NDArray[Any]

    @classmethod
    def fit(cls, blocks: Iterable[npt.NDArray[Any]]) -> Scaler:
        """From the rows of all blocks, (n_i, d) each, one block in memory at a time.

        Blocks are merged by the pairwise rule of Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm
        for computing sample variances, 1979. float64.
        """
        n, mean, m2 = 0, np.zeros(0), np.zeros(0)
        for block in blocks:
            m = len(block)
            x = block.astype(np.float64)
            block_mean = x.mean(0)
            block_m2 = ((x - block_mean) ** 2).sum(0)
            if n == 0:
                n, mean, m2 = m, block_mean, block_m2
                continue
            delta = block_mean - mean
            m2 = m2 + block_m2 + delta**2 * (n * m / (n + m))
            mean = mean + delta * (m / (n + m))
            n += m
        spread = np.sqrt(m2 / max(n, 1))
        constant = spread <= 1e-6 * np.abs(mean) + 1e-12
        return cls(mean=mean, scale=np.where(constant, 1.0, spread))

    def apply(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Standardised rows, cut at ±CLIP; the type of `mean`."""
        z: npt.NDArray[Any] = np.clip((x.astype(self.mean.dtype) - self.mean) / self.scale, -CLIP, CLIP)
        return z


def in_order(examples: Sequence[Example]) -> list[Example]:
    """Sorted by unit and patient, so that a fit does not depend on the order in which examples come."""
    return sorted(examples, key=lambda e: (e.unit_id, e.patient))
