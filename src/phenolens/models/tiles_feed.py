"""Tiles on their way to the device: which are drawn, and how they are decoded ahead of it.

A tile of training is drawn class → patient → tile, each uniformly, so that neither a common class nor a patient with
many tiles counts more. Threads decode the next batches while the device computes (decoding releases Python's lock);
never more than WINDOW batches a thread, and one, are in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import ModelError
from phenolens.core.types import Example, Rgb, TileSet
from phenolens.models.lent import SOFT
from phenolens.models.tiles_augment import Augmentation, Change, turned
from phenolens.tasks._contract import Task

T = TypeVar("T")
R = TypeVar("R")
WINDOW = 2
"""Batches a thread may be ahead."""


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """The tiles of one image: its set, the class and the patient they stand for, and (n, k) soft targets, NaN in the
    rows without one; None without any."""

    held: TileSet
    image: str
    patient: str
    label: int
    soft: npt.NDArray[np.float64] | None


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Tiles (n, s, s, 3), turned already; class (n,), soft targets (n, k), NaN without, and changes left to do."""

    tiles: Rgb
    label: npt.NDArray[np.int64]
    soft: npt.NDArray[np.float64] | None
    changes: list[Change]


def shelves(examples: Sequence[Example], task: Task) -> list[Shelf]:
    """One shelf an image with tiles; their headers are read, no tile is. Raises ModelError for a unit without any."""
    made = []
    for example in examples:
        soft = example.targets.get(SOFT) or {}
        for image, held in sets_of(example):
            told = _soft(soft[image], len(held), len(task.classes), image) if image in soft else None
            label = task.truth(example)
            made.append(Shelf(held=held, image=image, patient=example.patient, label=label, soft=told))
    return made


def sets_of(example: Example) -> list[tuple[str, TileSet]]:
    """The image and tiles of every part that has some; raises ModelError where none has."""
    held = [(part.image, tiles) for part in example.parts if (tiles := part.tiles()) is not None and len(tiles)]
    if not held:
        raise ModelError(
            f"no tile in unit {example.unit_id!r} of patient {example.patient!r}",
            expected="at least one tile",
            todo="see quarantine.csv for its images",
        )
    return held


def _soft(given: Any, count: int, classes: int, image: str) -> npt.NDArray[np.float64]:
    rows, p = np.asarray(given[0], dtype=np.intp), np.asarray(given[1], dtype=np.float64)
    told = np.full((count, classes), np.nan)
    sound = p.shape == (len(rows), classes) and (not len(rows) or (rows.min() >= 0 and rows.max() < count))
    if not sound or (p < 0).any() or np.abs(p.sum(1) - 1).max(initial=0) > 1e-6:
        raise ModelError(
            f"soft targets of shape {p.shape} for {len(rows)} rows of image {image!r}",
            expected=f"probabilities of {classes} classes that sum to one, for rows below {count}",
            todo="make them with models.tiles_soft.soft_targets",
        )
    told[rows] = p
    return told


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Draws tiles of training by (seed, epoch, place in the epoch) alone.

    A class is drawn, then one of its patients with a chance that grows with the number n of its tiles as n **
    size_power, then one of those tiles.
    """

    shelves: Sequence[Shelf]
    classes: int
    seed: int
    augmentation: Augmentation
    size_power: float = 0.0

    def __post_init__(self) -> None:
        of: list[dict[str, list[int]]] = [{} for _ in range(self.classes)]
        for i, shelf in enumerate(self.shelves):
            of[shelf.label].setdefault(shelf.patient, []).append(i)
        made = [[of_class[p] for p in sorted(of_class)] for of_class in of]
        sizes = [np.array([sum(len(self.shelves[i].held) for i in own) for own in of_class]) for of_class in made]
        ends = [np.cumsum(size**self.size_power) for size in sizes]
        object.__setattr__(self, "_of", made)
        object.__setattr__(self, "_ends", [end / end[-1:] for end in ends])

    def draw(self, epoch: int, place: int) -> tuple[int, int, Change]:
        """The shelf, the row and the change of one tile."""
        rng = np.random.default_rng([self.seed, epoch, place])
        of: list[list[list[int]]] = self._of  # type: ignore[attr-defined]
        label = int(rng.integers(self.classes))
        chosen = of[label][self._patient(rng, label)]
        ends = np.cumsum([len(self.shelves[i].held) for i in chosen])
        tile = int(rng.integers(ends[-1]))
        at = int(np.searchsorted(ends, tile, side="right"))
        row = tile - (int(ends[at - 1]) if at else 0)
        return chosen[at], row, Change.drawn(rng, self.augmentation)

    def _patient(self, rng: np.random.Generator, label: int) -> int:
        ends: npt.NDArray[np.float64] = self._ends[label]  # type: ignore[attr-defined]
        if not self.size_power:
            return int(rng.integers(len(ends)))
        return min(int(np.searchsorted(ends, rng.random(), side="right")), len(ends) - 1)

    def batch(self, epoch: int, places: Sequence[int]) -> Batch:
        """The tiles of these places of an epoch."""
        drawn = [self.draw(epoch, place) for place in places]
        tiles = [turned(self.shelves[i].held.pixels([row])[0], change) for i, row, change in drawn]
        soft = None
        if any(self.shelves[i].soft is not None for i, _, _ in drawn):
            soft = np.stack([self._soft(i, row) for i, row, _ in drawn])
        label = np.array([self.shelves[i].label for i, _, _ in drawn], dtype=np.int64)
        return Batch(tiles=np.stack(tiles), label=label, soft=soft, changes=[c for _, _, c in drawn])

    def _soft(self, shelf: int, row: int) -> npt.NDArray[np.float64]:
        told = self.shelves[shelf].soft
        return np.full(self.classes, np.nan) if told is None else told[row]


def ahead(work: Iterable[T], make: Callable[[T], R], workers: int) -> Iterator[R]:
    """`make` of each piece of work, in order, by threads that run at most WINDOW pieces each ahead of the reader."""
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for piece in work:
                waiting.append(pool.submit(make, piece))
                if len(waiting) > WINDOW * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
