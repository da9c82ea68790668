"""Feature files."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from phenolens.core.errors import FeatureError
from phenolens.core.types import Bag, Frame
from phenolens.features.bagfile import BagFile, write


def bag(n: int = 5, d: int = 4, **changes: object) -> Bag:
    frame = Frame(shape=(4000, 3000), spacing=(0.252, 0.248), origin=(0.0, 0.0), unit="um")
    rng = np.random.default_rng(0)
    xy = rng.integers(0, 3000, (n, 2))
    made = Bag(
        x=rng.normal(size=(n, d)).astype(np.float32),
        coords=xy * np.array(frame.spacing),
        extent=448 * frame.mpp,
        names=tuple(f"Kerngröße {i}" for i in range(d)),
        frame=frame,
        recipe="abc",
    )
    return dataclasses.replace(made, **changes)


TOLD = {"encoder": "pathomics", "size_px": 224, "mpp": 0.5, "image": "Schnitt ä"}


def test_a_bag_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    write(path, bag(), TOLD)
    back = BagFile(path).load()
    np.testing.assert_array_equal(back.x, bag().x)
    np.testing.assert_allclose(back.coords, bag().coords, rtol=0, atol=1e-9)
    assert (back.names, back.frame, back.recipe) == (bag().names, bag().frame, "abc")
    assert back.extent == pytest.approx(bag().extent)
    assert back.x.dtype == np.float32
    assert BagFile(path).size() == (5, 4)
    assert BagFile(path).attributes()["image"] == "Schnitt ä"


def test_a_bag_without_names_comes_back_without(tmp_path: Path) -> None:
    write(tmp_path / "f.h5", bag(names=None), {})
    assert BagFile(tmp_path / "f.h5").load().names is None


def test_equal_content_gives_equal_bytes_at_any_time_and_place(tmp_path: Path) -> None:
    first, second = tmp_path / "one.h5", tmp_path / "elsewhere" / "two.h5"
    second.parent.mkdir()
    write(first, bag(), TOLD)
    time.sleep(1.1)
    write(second, bag(), dict(reversed(TOLD.items())))
    assert first.read_bytes() == second.read_bytes()
    write(second, bag(), {**TOLD, "mpp": 0.25})
    assert first.read_bytes() != second.read_bytes()


def test_trident_and_clam_readers_find_what_they_look_for(tmp_path: Path) -> None:
    write(tmp_path / "f.h5", bag(), TOLD)
    with h5py.File(tmp_path / "f.h5") as file:
        assert file["features"].shape == (5, 4)
        assert file["features"].dtype == np.float32
        coords = file["coords"]
        np.testing.assert_array_equal(coords[...], np.rint(bag().coords / np.array([0.252, 0.248])))
        assert coords.dtype == np.int64
        told = dict(coords.attrs)
    assert told["patch_size_level0"] == 448
    assert told["patch_size"] == 224
    assert (told["level0_magnification"], told["target_magnification"]) == (40, 20)
    assert (told["level0_width"], told["level0_height"]) == (4000, 3000)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    write(path, bag(n=2000), TOLD)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(FeatureError, match=r"f\.h5: found a feature file that cannot be read"):
        BagFile(path).load()
    with h5py.File(path, "w") as file:
        file["other"] = 1
    with pytest.raises(FeatureError, match="cannot be read"):
        BagFile(path).load()


def test_what_is_not_finite_is_not_written(tmp_path: Path) -> None:
    x = bag().x.copy()
    x[2, 3] = np.nan
    with pytest.raises(FeatureError, match="1 features that are not finite, the first is Kerngröße 3"):
        write(tmp_path / "f.h5", bag(x=x), TOLD)


def test_the_bag_of_a_scan_comes_back_with_its_frame_and_places_in_mm(tmp_path: Path) -> None:
    turned = (0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    frame = Frame(shape=(9, 8, 7), spacing=(0.7, 0.7, 5.0), origin=(-100.5, 20.25, 3.0), unit="mm", direction=turned)
    places = np.arange(15, dtype=np.float64).reshape(5, 3) / 7
    told = {"encoder": "radiomics", "image": "i"}
    write(tmp_path / "f.h5", bag(frame=frame, coords=places, extent=31.25), told)
    found = BagFile(tmp_path / "f.h5").load()
    assert found.frame == frame
    assert found.extent == 31.25
    np.testing.assert_array_equal(found.coords, places)
    np.testing.assert_array_equal(found.x, bag().x)
    write(tmp_path / "g.h5", bag(frame=frame, coords=places, extent=31.25), told)
    assert (tmp_path / "f.h5").read_bytes() == (tmp_path / "g.h5").read_bytes()
