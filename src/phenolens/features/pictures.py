"""Tiles and whole slides as pictures, for the report; called by `run` alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phenolens.core.types import Frame, Rgb
from phenolens.slides.image import open_slide
from phenolens.slides.prepare import SlideJob


def cut(job: SlideJob, xy: npt.ArrayLike, side: float, size_px: int) -> Rgb:
    """The tiles of one slide at `xy` (n, 2) level-0 px with `side` level-0 px, as (n, size_px, size_px, 3) uint8.

    Raises ImageError where the slide cannot be read.
    """
    corners = np.asarray(xy).reshape(-1, 2)
    if not len(corners):
        return np.zeros((0, size_px, size_px, 3), np.uint8)
    with open_slide(job.path, patient=job.patient, image=job.image, mpp=job.mpp) as slide:
        return slide.read_tiles(corners, side, size_px)


def thumbnail(job: SlideJob, max_px: int) -> tuple[Rgb, Frame]:
    """The whole slide with its longer side `max_px`, and its frame, where features were made elsewhere.

    Raises ImageError where the slide is not there or cannot be read.
    """
    with open_slide(job.path, patient=job.patient, image=job.image, mpp=job.mpp) as slide:
        return slide.thumbnail(max_px), slide.frame
