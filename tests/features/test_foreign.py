"""Feature files of TRIDENT, CLAM and STAMP, in the layouts those tools write."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from phenolens.core.errors import FeatureError
from phenolens.core.types import Frame
from phenolens.features import bagfile
from phenolens.features.foreign import open_folder, without_features

XY = np.array([[0, 0], [448, 0], [896, 1344]])
X = np.arange(12, dtype=np.float32).reshape(3, 4)


def table(*images: str, mpp: float = math.nan, suffix: str = ".svs") -> pd.DataFrame:
    return pd.DataFrame({"image": images, "path": [f"/slides/{i}{suffix}" for i in images], "mpp": mpp})


def h5(
    path: Path, data: Mapping[str, np.ndarray], root: Mapping[str, object] = {}, coords: Mapping[str, object] = {}
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in data.items():
            file.create_dataset(name, data=array)
        file.attrs.update(root)
        if coords:
            file["coords"].attrs.update(coords)
    return path


def trident(path: Path, **changes: object) -> Path:
    told = {"patch_size": 224, "patch_size_level0": 448, "level0_magnification": 40, "target_magnification": 20}
    told |= {"level0_width": 5000, "level0_height": 4000, "name": path.stem} | changes
    return h5(path, {"features": X, "coords": XY}, coords={k: v for k, v in told.items() if v is not None})


def test_trident_is_read_in_um(tmp_path: Path) -> None:
    trident(tmp_path / "a.h5")
    source = open_folder(tmp_path, table("a", mpp=0.252))["a"]
    bag = source.load()
    np.testing.assert_array_equal(bag.x, X)
    np.testing.assert_allclose(bag.coords, XY * 0.252)
    assert bag.extent == pytest.approx(448 * 0.252)
    assert bag.frame == Frame(shape=(5000, 4000), spacing=(0.252, 0.252), origin=(0.0, 0.0), unit="um")
    assert bag.recipe == source.recipe


def test_trident_without_mpp_in_the_table_takes_its_magnification(tmp_path: Path) -> None:
    trident(tmp_path / "a.h5")
    assert open_folder(tmp_path, table("a"))["a"].load().extent == 448 * 0.25
    trident(tmp_path / "a.h5", level0_magnification=None)
    with pytest.raises(FeatureError, match="no micrometres per pixel.*add mpp to images.csv"):
        open_folder(tmp_path, table("a"))


def test_features_with_a_leading_axis_of_one_are_read(tmp_path: Path) -> None:
    h5(tmp_path / "a.h5", {"features": X[None], "coords": XY}, root={"patch_size_level0": 448})
    source = open_folder(tmp_path, table("a", mpp=0.25))["a"]
    assert source.size == (3, 4)
    np.testing.assert_array_equal(source.load().x, X)


def test_clam_needs_the_size_of_a_tile_from_the_study(tmp_path: Path) -> None:
    h5(tmp_path / "a.h5", {"features": X, "coords": XY})
    with pytest.raises(FeatureError, match=r"no size of a tile.*tile_um: 112\} or tile_px_level0: 448"):
        open_folder(tmp_path, table("a", mpp=0.25))
    by_px = open_folder(tmp_path, table("a", mpp=0.25), tile_px_level0=448)["a"].load()
    by_um = open_folder(tmp_path, table("a", mpp=0.25), tile_um=112)["a"].load()
    assert by_px.extent == by_um.extent == 112
    assert by_px.frame.shape == (896 + 448, 1344 + 448)


@pytest.mark.parametrize("name", ["tile_size_um", "tile_size"])
def test_stamp_coordinates_are_um_already(tmp_path: Path, name: str) -> None:
    root = {"unit": "um", name: 256.0, "tile_size_px": 224, "stamp_version": "2.1.0"}
    h5(tmp_path / "a.h5", {"feats": X.astype(np.float16), "coords": XY.astype(np.float32)}, root)
    bag = open_folder(tmp_path, table("a"))["a"].load()
    np.testing.assert_array_equal(bag.coords, XY)
    assert bag.extent == 256
    assert bag.x.dtype == np.float32
    known = open_folder(tmp_path, table("a", mpp=0.25))["a"].load()
    np.testing.assert_array_equal(known.coords, XY)
    assert known.frame.mpp == 0.25


def test_our_own_files_are_read_as_foreign_ones(tmp_path: Path) -> None:
    trident(tmp_path / "a.h5")
    bag = open_folder(tmp_path, table("a", mpp=0.25))["a"].load()
    (tmp_path / "ours").mkdir()
    bagfile.write(tmp_path / "ours" / "a.h5", bag, {"size_px": 224, "mpp": 0.5, "encoder": "uni"})
    again = open_folder(tmp_path / "ours", table("a"))["a"].load()
    np.testing.assert_array_equal(again.coords, bag.coords)
    assert (again.extent, again.frame) == (bag.extent, bag.frame)


def test_files_match_by_image_id_or_by_the_stem_of_the_path(tmp_path: Path) -> None:
    trident(tmp_path / "sub" / "TCGA-1.h5")
    trident(tmp_path / "b.h5")
    images = pd.DataFrame({"image": ["one", "b", "c"], "path": ["/x/TCGA-1.svs", "/x/other.svs", "/x/c.svs"]})
    sources = open_folder(tmp_path, images)
    assert set(sources) == {"one", "b"}
    assert without_features(images, sources) == ["c"]


def test_what_could_be_two_things_is_refused(tmp_path: Path) -> None:
    trident(tmp_path / "x" / "a.h5")
    trident(tmp_path / "y" / "a.h5")
    with pytest.raises(FeatureError, match=r"2 files for image 'a': x/a\.h5, y/a\.h5"):
        open_folder(tmp_path, table("a"))
    trident(tmp_path / "z" / "slide.h5")
    twice = pd.DataFrame({"image": ["one", "two"], "path": ["/l/slide.svs", "/r/slide.svs"]})
    with pytest.raises(FeatureError, match="could be of the images one, two"):
        open_folder(tmp_path / "z", twice)


def test_a_folder_that_matches_nothing_says_what_it_holds(tmp_path: Path) -> None:
    trident(tmp_path / "patient_1.h5")
    with pytest.raises(FeatureError, match=r"files: patient_1.*such as patient-1.*did you mean 'patient_1'"):
        open_folder(tmp_path, table("patient-1"))
    with pytest.raises(FeatureError, match="no folder"):
        open_folder(tmp_path / "nowhere", table("a"))


def test_coordinates_that_are_missing_or_do_not_count_up_are_refused(tmp_path: Path) -> None:
    h5(tmp_path / "a.h5", {"features": X})
    with pytest.raises(FeatureError, match=r"a\.h5: found no coordinates"):
        open_folder(tmp_path, table("a"))
    h5(tmp_path / "a.h5", {"features": X, "coords": XY[:2]})
    with pytest.raises(FeatureError, match=r"shape \(3, 4\) with coords of shape \(2, 2\)"):
        open_folder(tmp_path, table("a"))
    h5(tmp_path / "a.h5", {"features": X[0], "coords": XY})
    with pytest.raises(FeatureError, match="not slide embeddings"):
        open_folder(tmp_path, table("a"))
    h5(tmp_path / "a.h5", {"embedding": X, "coords": XY})
    with pytest.raises(FeatureError, match="'features' .TRIDENT, CLAM. or 'feats' .STAMP."):
        open_folder(tmp_path, table("a"))


def test_slides_of_two_encoders_are_refused(tmp_path: Path) -> None:
    trident(tmp_path / "a.h5")
    h5(tmp_path / "b.h5", {"features": X[:, :3], "coords": XY}, root={"patch_size_level0": 448})
    with pytest.raises(FeatureError, match="4 of image 'a' and 3 of image 'b'"):
        open_folder(tmp_path, table("a", "b", mpp=0.25))


def test_a_size_that_contradicts_the_study_is_refused(tmp_path: Path) -> None:
    trident(tmp_path / "a.h5")
    assert open_folder(tmp_path, table("a", mpp=0.25), tile_um=112)
    with pytest.raises(FeatureError, match=r"tiles of 448 px of level 0; expected 1024"):
        open_folder(tmp_path, table("a", mpp=0.25), tile_um=256)


def test_an_empty_file_counts_as_missing(tmp_path: Path) -> None:
    trident(tmp_path / "a.h5")
    h5(tmp_path / "b.h5", {"features": X[:0], "coords": XY[:0]}, root={"patch_size_level0": 448})
    sources = open_folder(tmp_path, table("a", "b", mpp=0.25))
    assert without_features(table("a", "b"), sources) == ["b"]


def test_the_fingerprint_is_of_the_content_not_of_the_path(tmp_path: Path) -> None:
    trident(tmp_path / "1" / "a.h5")
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "a.h5").write_bytes((tmp_path / "1" / "a.h5").read_bytes())
    one, two = (open_folder(tmp_path / f, table("a"))["a"].recipe for f in "12")
    trident(tmp_path / "2" / "a.h5", overlap=0)
    assert one == two != open_folder(tmp_path / "2", table("a"))["a"].recipe


def test_broken_and_non_finite_files_are_named(tmp_path: Path) -> None:
    path = trident(tmp_path / "a.h5")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(FeatureError, match="not HDF5 or is cut short"):
        open_folder(tmp_path, table("a"))
    h5(path, {"features": X * np.nan, "coords": XY}, root={"patch_size_level0": 448})
    source = open_folder(tmp_path, table("a", mpp=0.25))["a"]
    with pytest.raises(FeatureError, match=r"a\.h5: found features that are not finite"):
        source.load()
