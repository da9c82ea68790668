"""One look at the parts of every unit: what is there, how large it is, how it lies on its grid, its mean features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from phenolens.core.types import Bag, Example, Frame, TileSet, Volume
from phenolens.models.baselines import holds_volume, log_volume
from phenolens.models.look import colours

Matrix = npt.NDArray[np.float64]
_Held = Mapping[str, Bag | Volume | TileSet]


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What one look gave; every table has one row a unit and only columns that differ between units.

    `present` has a column a named part that some unit lacks (1: there); `size` says how large the region is, `image`
    how the images lie on their grids. `pooled` (n, d) are mean features, NaN in the block of an absent part; None where
    parts hold volumes, or features that differ from unit to unit.
    """

    present: pd.DataFrame
    size: pd.DataFrame
    image: pd.DataFrame
    pooled: Matrix | None


def look(examples: Sequence[Example]) -> Looked:
    """Read every part once. Parts are told apart by name where one is absent somewhere; else they are pooled."""
    names = sorted({p.name for e in examples for p in e.parts})
    lacking = any(not p.present for e in examples for p in e.parts)
    there = [{n: float(any(p.present and p.name == n for p in e.parts)) for n in names} for e in examples]
    sizes, frames, means = [], [], []
    for example in examples:
        held = {f"{p.name}\n{p.image}": p.source.load() for p in example.parts if p.source is not None}
        sizes.append(_sizes(held))
        frames.append(_frames([h.frame for h in held.values()]))
        means.append(_means(held))
    return Looked(
        present=_varying(pd.DataFrame(there)) if lacking else pd.DataFrame(index=range(len(examples))),
        size=_varying(pd.DataFrame(sizes)),
        image=_varying(pd.DataFrame(frames)),
        pooled=_by_part(means, names) if lacking else _together(means),
    )


def _sizes(held: _Held) -> dict[str, float]:
    bags = [h for h in held.values() if isinstance(h, Bag)]
    masks = [h.mask for h in held.values() if isinstance(h, Volume) and h.mask is not None]
    found = {}
    tiles = [len(b.x) for b in bags] + [len(h) for h in held.values() if isinstance(h, TileSet)]
    if tiles:
        found["number of tiles or regions (log)"] = float(np.log(max(sum(tiles), 1)))
    if bags and all(map(holds_volume, bags)):
        found["volume of the region (log)"] = float(np.mean([log_volume(b)[0] for b in bags]))
    if masks:
        found["voxels of the region (log)"] = float(np.log(max(float(np.mean([m.sum() for m in masks])), 1.0)))
    return found


def _frames(frames: Sequence[Frame]) -> dict[str, float]:
    """Mean size and spacing over the images of a unit."""
    if not frames or len({len(f.shape) for f in frames}) > 1:
        return {}
    axes = "xyz"[: len(frames[0].shape)]
    size, spacing = (np.mean([getattr(f, what) for f in frames], axis=0) for what in ("shape", "spacing"))
    return {
        "number of images": float(len(frames)),
        **{f"image size {a} (px)": float(v) for a, v in zip(axes, size, strict=True)},
        **{f"spacing {a}": float(v) for a, v in zip(axes, spacing, strict=True)},
    }


_Means = Mapping[str, tuple[Matrix, int]]


def _means(held: _Held) -> dict[str, tuple[Matrix, int]]:
    """Part name -> mean features over the instances of all its images, and how many there are."""
    found: dict[str, tuple[Matrix, int]] = {}
    for key, bag in held.items():
        if isinstance(bag, Volume):
            continue
        x = colours(bag) if isinstance(bag, TileSet) else bag.x
        if not (n := len(x)):
            continue
        name, own = key.partition("\n")[0], x.mean(0, dtype=np.float64)
        mean, count = found.get(name, (np.zeros_like(own), 0))
        if len(mean) == len(own):
            found[name] = (mean + (own - mean) * n / (count + n), count + n)
    return found


def _together(means: Sequence[_Means]) -> Matrix | None:
    widths = {len(mean) for held in means for mean, _ in held.values()}
    if len(widths) != 1 or not all(means):
        return None
    rows = []
    for held in means:
        values, weights = zip(*held.values(), strict=True)
        rows.append(np.average(np.stack(values), axis=0, weights=weights))
    return np.stack(rows)


def _by_part(means: Sequence[_Means], names: Sequence[str]) -> Matrix | None:
    blocks = []
    for name in names:
        width = {len(held[name][0]) for held in means if name in held}
        if len(width) > 1:
            return None
        absent = np.full(next(iter(width), 0), np.nan)
        blocks.append(np.stack([held[name][0] if name in held else absent for held in means]))
    whole = np.concatenate(blocks, axis=1)
    return whole if whole.shape[1] else None


def _varying(table: pd.DataFrame) -> pd.DataFrame:
    return table.loc[:, (table.nunique(dropna=False) > 1).to_numpy()]
