"""Tiles as pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from featuredata import write_slide

from phenolens.core.errors import ImageError
from phenolens.features.pictures import cut
from phenolens.slides.image import open_slide
from phenolens.slides.prepare import SlideJob


def test_cut_gives_the_tiles_the_slide_gives(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "s.tif")
    job = SlideJob(patient="p", image="s", path=str(path), mpp=0.5)
    xy = np.array([[0, 0], [512, 256]])
    made = cut(job, xy, 256.0, 128)
    assert (made.shape, made.dtype) == ((2, 128, 128, 3), np.uint8)
    with open_slide(path, mpp=0.5) as slide:
        np.testing.assert_array_equal(made, slide.read_tiles(xy, 256.0, 128))
    assert cut(job, [], 256.0, 128).shape == (0, 128, 128, 3)


def test_a_slide_that_is_gone_is_an_image_error(tmp_path: Path) -> None:
    job = SlideJob(patient="p", image="s", path=str(tmp_path / "gone.tif"), mpp=0.5)
    with pytest.raises(ImageError):
        cut(job, [[0, 0]], 256.0, 128)
