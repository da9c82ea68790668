"""What a model must beat to have said anything about texture: size alone, of the region and of the image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import ModelError
from phenolens.core.types import Bag, Example

Vector = npt.NDArray[np.float64]
_VOLUME = ("morph_volume_rnu0", "original_shape_meshvolume", "original_shape_voxelvolume", "volume")
"""How features that hold the volume of a region begin: ours, those of PyRadiomics, and a table's own."""


def mean_over_parts(example: Example, of: Callable[[Bag], Vector]) -> Vector:
    """The mean of `of(bag)` over the parts that are there, (m,); raises ModelError where none is."""
    bags = [bag for part in example.parts if (bag := part.load()) is not None]
    if not bags:
        raise ModelError(
            f"no image of unit {example.unit_id!r} with features",
            expected="at least one",
            todo="see quarantine.csv for its images",
        )
    mean: Vector = np.mean([of(bag) for bag in bags], axis=0)
    return mean


def holds_volume(bag: Bag) -> bool:
    """Whether the features hold the volume of the region."""
    return any(name.lower().startswith(_VOLUME) for name in bag.names or ())


def log_volume(bag: Bag) -> Vector:
    """The logarithm of the mesh or voxel volume of the region, summed over its rows, (1,)."""
    found = [i for i, name in enumerate(bag.names or ()) if name.lower().startswith(_VOLUME)]
    if not found:
        raise ModelError(
            "features without the volume of the region",
            expected=f"a feature called like one of {', '.join(_VOLUME)}",
            todo="add the family morphology to the encoder, or leave out the model volume_only",
        )
    total = float(bag.x[:, found[0]].astype(np.float64).sum())
    return np.array([np.log(max(total, 1e-6))])


def log_image_size(bag: Bag) -> Vector:
    """The logarithms of the extents of the whole image along x, y(, z) in the frame's unit."""
    size: Vector = np.log(np.array(bag.frame.shape, dtype=np.float64) * np.array(bag.frame.spacing))
    return size
