"""One prediction explained: a heatmap an image, with its fidelity."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from phenolens.core.registry import EXPLAINERS
from phenolens.core.store import key_of
from phenolens.core.types import Example, Heatmap, Loaded
from phenolens.explain.contract import Predictor
from phenolens.explain.fidelity import fidelity


def heatmaps(fitted: Predictor, example: Example, method: str, target: int, explains: str) -> list[Heatmap]:
    """Heatmaps of every image of the example for class number `target`, called `explains`.

    Fidelity is of the whole example. The random orders it is compared with depend on unit and method alone.
    """
    fitted, example = condensed(fitted, example)
    parts = [(p, bag) for p in example.parts if (bag := p.load()) is not None]
    loaded = replace(example, parts=tuple(replace(p, source=Loaded(bag=bag)) for p, bag in parts))
    scores = EXPLAINERS.create(method).scores(fitted, loaded, target)
    seed = int(key_of([example.unit_id, method])[:8], 16)
    figures = fidelity(fitted, loaded, target, scores, seed=seed)
    ends = np.cumsum([len(bag.x) for _, bag in parts])
    return [
        Heatmap(
            image=part.image,
            scores=scores[end - len(bag.x) : end].astype(np.float32),
            coords=bag.coords,
            extent=bag.extent,
            frame=bag.frame,
            method=method,
            explains=explains,
            fidelity=figures,
        )
        for (part, bag), end in zip(parts, ends, strict=True)
    ]


def condensed(fitted: Any, example: Example) -> tuple[Any, Example]:
    """A model and an example as maps ask them: one that judges tiles is asked for them once, and then explained on what
    it said, so that no pixel is read again; any other stays as it is."""
    if not hasattr(fitted, "condensed"):
        return fitted, example
    made: tuple[Any, Example] = fitted.condensed(example)
    return made


def top(heatmap: Heatmap, most: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Coordinates (n, 2) of the highest instances, highest first, in the frame's unit."""
    best = np.argsort(-heatmap.scores, kind="stable")[:most]
    return heatmap.coords[best, :2]
