"""Which part of each tile lies in the class that was drawn, as pictures beside the tiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from phenolens.core.errors import FeatureError
from phenolens.features.tilefile import Spool
from phenolens.slides.prepare import Prepared
from phenolens.slides.raster import inside


def outlines_of(prepared: Prepared, rows: Sequence[int], size_px: int) -> Spool:
    """One PNG of one channel a tile, 255 where the pixel's centre lies in the outline.

    Raises FeatureError where nothing was drawn that could be an outline.
    """
    import imagecodecs

    if prepared.outline is None:
        raise FeatureError(
            f"outlines of image {prepared.image!r}, of which no annotation was read",
            expected="a study with region.annotation, or of task.kind segmentation",
            todo="name the class in region.annotation, or leave out features.outlines",
        )
    made = Spool()
    for x, y in prepared.xy[np.asarray(rows)].tolist():
        there = inside(prepared.outline, (x, y), prepared.side / size_px, (size_px, size_px))
        made.add([bytes(imagecodecs.png_encode(np.where(there, np.uint8(255), np.uint8(0))))])
    return made
