"""What a slide looks like, so that a copy under another name, encoded again or cropped, is found."""

from __future__ import annotations

import numpy as np

from phenolens.core.look import VERSION, look_of
from phenolens.core.types import Rgb
from phenolens.slides.contour import small
from phenolens.slides.stain import glass_colour, mean, optical_density

__all__ = ["VERSION", "look"]

_FREQUENCIES = 16


def look(thumbnail: Rgb) -> str:
    """The look of a thumbnail (h, w, 3) of the whole slide, by its mean optical density (`core.look`)."""
    seen = np.asarray(small(thumbnail))
    return look_of([mean(optical_density(seen, glass_colour(seen)))], _FREQUENCIES)
