"""Maps on volumes: scores of voxels by any method that reads volumes, blocks of voxels, and fidelity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from phenolens.core.errors import ModelError
from phenolens.core.registry import EXPLAINERS
from phenolens.core.types import Example, FloatArray, Frame, Held, Volume
from phenolens.explain.contract import Predictor, Scores

STEPS = 10
RANDOM_ORDERS = 5
FIDELITY_BLOCKS = 512


def voxel_scores(
    fitted: Any, example: Example, part: str, target: int, method: str, params: Mapping[str, Any] | None = None
) -> Scores:
    """Scores (z, y, x) of the volume of one part for class number `target`; more means more support.

    Raises ModelError where the part is absent or the method does not read volumes.
    """
    explainer = EXPLAINERS.create(method, params)
    if not hasattr(explainer, "voxel_scores"):
        raise ModelError(
            f"map '{method}' on volumes", expected="a method that reads volumes", todo="choose voxel_occlusion"
        )
    scores: Scores = explainer.voxel_scores(fitted, example, part, target)
    return scores


def voxels_of_parts(method: Any, fitted: Any, example: Example, target: int) -> Scores:
    """The scores of all parts that are there as one vector, part after part, voxels in the order of the array."""
    there = [p.name for p in example.parts if p.present]
    return np.concatenate([method.voxel_scores(fitted, example, name, target).ravel() for name in there])


def part_volume(example: Example, part: str) -> Volume:
    """The volume of a part; raises ModelError where it is absent."""
    for held in example.parts:
        if held.name == part and (volume := held.volume()) is not None:
            return volume
    raise ModelError(
        f"no volume of {part!r} in unit {example.unit_id!r}",
        expected=f"one of {', '.join(p.name for p in example.parts if p.present) or '(none is there)'}",
        todo="explain a sequence that is there",
    )


def in_memory(example: Example) -> Example:
    """The same example with its volumes read once: a map asks for them hundreds of times."""
    parts = tuple(p if (v := p.volume()) is None else replace(p, source=Held(volume=v)) for p in example.parts)
    return replace(example, parts=parts)


def with_x(example: Example, part: str, x: FloatArray) -> Example:
    """The same example, in which the volume of a part holds other intensities."""
    volume = replace(part_volume(example, part), x=x)
    parts = tuple(replace(p, source=Held(volume=volume)) if p.name == part else p for p in example.parts)
    return replace(example, parts=parts)


def blocks_of(frame: Frame, most: int) -> npt.NDArray[np.intp]:
    """Number of the block of each voxel (z, y, x), from 0 without gaps; at most `most` blocks, near cubes in mm."""
    shape, spacing = np.array(frame.shape), np.array(frame.spacing)
    side = spacing.min()
    while True:
        voxels = np.maximum(np.round(side / spacing).astype(int), 1)
        counts = -(-shape // voxels)
        if np.prod(counts) <= most:
            break
        side *= 1.05
    x, y, z = (np.arange(n) * count // n for n, count in zip(shape, counts, strict=True))
    block: npt.NDArray[np.intp] = (z[:, None, None] * counts[1] + y[:, None]) * counts[0] + x
    return block


def surroundings(x: FloatArray, hidden: npt.NDArray[np.bool_]) -> FloatArray:
    """x (c, z, y, x) whose box of hidden voxels takes the mean, by channel, of the shell of half a side around it."""
    ends = []
    for axis in range(3):
        rows = np.flatnonzero(hidden.any(axis=tuple(a for a in range(3) if a != axis)))
        ends.append((int(rows[0]), int(rows[-1]) + 1))
    grown = tuple(slice(max(a - max((b - a) // 2, 1), 0), b + max((b - a) // 2, 1)) for a, b in ends)
    outside = ~hidden[grown]
    made = x.copy()
    for channel in made:
        around = channel[grown][outside] if outside.any() else channel
        channel[hidden] = around.mean(dtype=np.float64)
    return made


def voxel_fidelity(
    fitted: Predictor, example: Example, part: str, target: int, scores: Scores, *, seed: int
) -> dict[str, float]:
    """How far a map may be believed: keys deletion, insertion, deletion_random, insertion_random.

    Blocks of voxels are blurred away from the highest mean score down (deletion), or put into the blurred volume
    (insertion), while the probability of the class is followed; the figure is the mean over the steps. Random ones are
    means over 5 seeded orders of the same blocks. After Petsiuk et al., RISE, BMVC 2018.
    """
    volume = part_volume(example, part)
    block = blocks_of(volume.frame, FIDELITY_BLOCKS)
    count = int(block.max()) + 1
    means = ndimage.mean(scores, block, np.arange(count))
    sides = np.array(volume.x.shape[1:]) / 4
    blurred = np.stack([ndimage.gaussian_filter(channel, sides, mode="nearest") for channel in volume.x])

    def curve(order: npt.NDArray[np.intp]) -> tuple[float, float]:
        rank = np.empty(count, dtype=np.intp)
        rank[order] = np.arange(count)
        without, having = [], []
        for step in range(1, STEPS):
            first = (rank < count * step / STEPS)[block]
            without.append(with_x(example, part, np.where(first, blurred, volume.x)))
            having.append(with_x(example, part, np.where(first, volume.x, blurred)))
        return float(fitted.predict(without)[:, target].mean()), float(fitted.predict(having)[:, target].mean())

    deletion, insertion = curve(np.argsort(-means, kind="stable"))
    rng = np.random.default_rng(seed)
    drawn = np.array([curve(rng.permutation(count)) for _ in range(RANDOM_ORDERS)])
    return {
        "deletion": deletion,
        "insertion": insertion,
        "deletion_random": float(drawn[:, 0].mean()),
        "insertion_random": float(drawn[:, 1].mean()),
    }
