"""What a model is shown of a slide is what it was trained on: the same spacing, the same colours, tissue alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.small_slides import MPP, write_slides

from phenolens.core.store import Store
from phenolens.models.tilesets import Tiles
from phenolens.slides.image import open_slide
from phenolens.slides.normalise import normaliser, sample_of
from phenolens.slides.prepare import Prepared, SlideJob, load_prepared, prepare
from phenolens.slides.quality import QualitySettings
from phenolens.slides.region import RegionSettings
from phenolens.slides.tiles import TileSettings
from phenolens.steps.found_slides import Sheet, found_on, outline_sizes

PX, TILE_MPP = 64, 4.0


@dataclass
class Dark:
    """A model that calls what is darker than glass, and keeps what it was shown."""

    seen: Tiles = field(default_factory=lambda: Tiles(size_px=PX, extent=PX * TILE_MPP, where="a test"))
    settings: Any = field(default_factory=lambda: SimpleNamespace(smooth_um=12.0, smallest_mm2=0.01))
    shown: list[np.ndarray[Any, Any]] = field(default_factory=list)

    @contextmanager
    def at_work(self) -> Iterator[Any]:
        def tell(tiles: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            self.shown.append(tiles)
            return (tiles.mean(-1) < 220).astype(np.float32)

        yield tell


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Prepared]:
    folder = write_slides(tmp_path_factory.mktemp("found"), patients=1)
    job = SlideJob(patient="P00", image="P00-HE", path=str(folder / "slides" / "P00.tif"), mpp=MPP)
    key = prepare(job, RegionSettings(), TileSettings(size_px=PX, mpp=TILE_MPP), QualitySettings(), folder / "a")
    return Path(job.path), load_prepared(Store(folder / "a"), key)


def find(slide: tuple[Path, Prepared], **context: str) -> tuple[Any, Dark]:
    model = Dark()
    stored: Any = SimpleNamespace(fitted=model, config={"context": context})
    with open_slide(slide[0], mpp=MPP) as held:
        return found_on(held, slide[1], stored), model


def test_windows_have_the_spacing_of_the_tiles_and_what_is_found_lies_where_it_is(slide: tuple[Path, Prepared]) -> None:
    found, model = find(slide)
    assert Sheet(frame=slide[1].frame, mpp=TILE_MPP).step == 2.0
    with open_slide(slide[0], mpp=MPP) as held:
        first = held.read_tiles(np.array([[256, 192]]), PX * 2.0, PX)[0]
    assert any((tile == first).all() for tile in np.concatenate(model.shown))
    assert outline_sizes(found, slide[1].frame)["area_mm2"] == pytest.approx(slide[1].tissue_mm2, rel=0.05)
    assert found.within(slide[1].tissue.buffer(4))


def test_windows_are_normalised_as_the_tiles_of_the_training_were(slide: tuple[Path, Prepared]) -> None:
    _, plain = find(slide)
    _, changed = find(slide, normalised="reinhard")
    with open_slide(slide[0], mpp=MPP) as held:
        sample = held.read_tiles(sample_of(slide[1].xy), slide[1].side, PX)
    expected = normaliser("reinhard", sample).apply(np.concatenate(plain.shown))
    np.testing.assert_array_equal(np.concatenate(changed.shown), expected)
    assert (expected != np.concatenate(plain.shown)).any()
