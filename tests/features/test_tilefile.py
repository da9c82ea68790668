"""Tiles as they are stored for networks that are trained on pixels."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from featuredata import prepared_job, write_slide

from phenolens.core.errors import FeatureError, ModelError
from phenolens.core.registry import Choice
from phenolens.core.store import Store
from phenolens.core.types import Part
from phenolens.features.extract import ExtractJob, extract, stored_slide
from phenolens.slides.image import open_slide
from phenolens.slides.prepare import load_prepared

LOSS_FREE = Choice("encoder", "pixels", {"quality": None})


@pytest.fixture
def job(tmp_path: Path) -> ExtractJob:
    return prepared_job(tmp_path / "a", write_slide(tmp_path / "s.tif", seed=3), rows=tuple(range(60, 3, -3)))


def stored(job: ExtractJob, root: Path, choice: Choice, workers: int = 0) -> Part:
    (outcome,) = extract([job], choice, root, workers=workers)
    return Part(name="s", image="s", source=stored_slide(Store(root), outcome.unwrap(), choice))


def read(job: ExtractJob, root: Path) -> np.ndarray:
    made = load_prepared(Store(root), job.prepared)
    with open_slide(job.slide.path, mpp=0.5) as slide:
        return slide.read_tiles(made.xy[list(job.rows)], made.side, 128)


def test_loss_free_tiles_are_the_tiles_of_the_slide_in_any_order(tmp_path: Path, job: ExtractJob) -> None:
    tiles = stored(job, tmp_path / "a", LOSS_FREE).tiles()
    assert tiles is not None
    expected = read(job, tmp_path / "a")
    assert len(tiles) == len(expected) == 19
    np.testing.assert_array_equal(tiles.pixels(range(19)), expected)
    np.testing.assert_array_equal(tiles.pixels([7, 0, 7]), expected[[7, 0, 7]])
    made = load_prepared(Store(tmp_path / "a"), job.prepared)
    np.testing.assert_array_equal(tiles.coords, made.xy[list(job.rows)] * 0.5)
    assert (tiles.size_px, tiles.extent, tiles.mpp) == (128, 64.0, 0.5)


def test_jpeg_tiles_are_near_the_tiles_of_the_slide_and_smaller(tmp_path: Path, job: ExtractJob) -> None:
    tiles = stored(job, tmp_path / "a", Choice("encoder", "pixels", {})).tiles()
    assert tiles is not None
    difference = tiles.pixels(range(19)).astype(float) - read(job, tmp_path / "a")
    assert 0 < np.abs(difference).mean() < 4
    assert sum(map(len, tiles.data.read(range(19)))) < 19 * 3 * 128**2 / 2


def test_the_number_of_workers_does_not_change_a_byte(tmp_path: Path, job: ExtractJob) -> None:
    held = []
    for workers in (0, 2):
        root = tmp_path / "a"
        (outcome,) = extract([job], Choice("encoder", "pixels", {}), root, workers=workers)
        path = Store(root).path("features", outcome.unwrap(), ".h5")
        held.append(path.read_bytes())
        path.unlink()
    assert held[0] == held[1]


def test_a_damaged_tile_is_named_and_the_others_can_be_read(tmp_path: Path, job: ExtractJob) -> None:
    part = stored(job, tmp_path / "a", LOSS_FREE)
    (outcome,) = extract([job], LOSS_FREE, tmp_path / "a", workers=0)
    with h5py.File(Store(tmp_path / "a").path("features", outcome.unwrap(), ".h5"), "r+") as file:
        first, last = file["tiles_at"][4:6]
        file["tiles"][first + 8 : last] = 0
    tiles = part.tiles()
    assert tiles is not None
    with pytest.raises(FeatureError, match="row 4"):
        tiles.pixels([3, 4])
    assert tiles.pixels([3, 5]).shape == (2, 128, 128, 3)


def test_a_file_that_was_cut_is_refused(tmp_path: Path, job: ExtractJob) -> None:
    part = stored(job, tmp_path / "a", LOSS_FREE)
    tiles = part.tiles()
    assert tiles is not None
    path = tiles.data.path  # type: ignore[attr-defined]
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(FeatureError, match="cannot be read"):
        tiles.pixels([18])


def test_tiles_are_not_a_bag_nor_a_volume(tmp_path: Path, job: ExtractJob) -> None:
    part = stored(job, tmp_path / "a", LOSS_FREE)
    with pytest.raises(ModelError, match="a set of tiles in part 's'"):
        part.load()
    with pytest.raises(ModelError, match="a set of tiles in part 's'"):
        part.volume()
    tiles = part.tiles()
    assert tiles is not None
    with pytest.raises(FeatureError, match="without outlines"):
        tiles.inside([0])
