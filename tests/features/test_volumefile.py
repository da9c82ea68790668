"""Volume files."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from phenolens.core.errors import FeatureError
from phenolens.core.types import Frame, Volume
from phenolens.features.volumefile import VolumeFile, write, write_volume

TILT = (0.0, 1.0, 0.0, 0.6, 0.0, -0.8, -0.8, 0.0, -0.6)


def volume(**changes: object) -> Volume:
    frame = Frame(shape=(7, 5, 3), spacing=(0.7, 0.8, 5.5), origin=(-10.0, 1 / 3, 4.0), unit="mm", direction=TILT)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 5, 7)).astype(np.float16).astype(np.float32)
    made = Volume(x=x, mask=rng.random((3, 5, 7)) > 0.6, frame=frame, recipe="abc")
    return dataclasses.replace(made, **changes)


TOLD = {"encoder": "volume", "image": "Leber ä", "share": 0.5}


@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_a_volume_comes_back_as_it_was(tmp_path: Path, precision: str) -> None:
    path = tmp_path / "v.h5"
    write(path, volume(), TOLD, precision=precision)
    back = VolumeFile(path).load()
    np.testing.assert_array_equal(back.x, volume().x)
    np.testing.assert_array_equal(back.mask, volume().mask)
    assert back.x.dtype == np.float32
    assert (back.frame, back.recipe) == (volume().frame, "abc")
    assert VolumeFile(path).size() == (2, 3, 5, 7)
    assert VolumeFile(path).attributes()["image"] == "Leber ä"
    with h5py.File(path) as file:
        assert file["x"].dtype == precision


def test_a_volume_without_mask_or_direction_comes_back_without(tmp_path: Path) -> None:
    plain = volume(mask=None, frame=dataclasses.replace(volume().frame, direction=None))
    write(tmp_path / "v.h5", plain, {})
    back = VolumeFile(tmp_path / "v.h5").load()
    assert back.mask is None
    assert back.frame == plain.frame


def test_landmarks_and_the_mask_channel_come_back_and_are_not_written_where_they_are_not_known(tmp_path: Path) -> None:
    marks = (0.1, 1 / 3, 70000.5)
    write(tmp_path / "a.h5", volume(landmarks=marks, mask_channel=True), TOLD)
    back = VolumeFile(tmp_path / "a.h5").load()
    assert (back.landmarks, back.mask_channel) == (marks, True)
    write(tmp_path / "b.h5", volume(), TOLD)
    back = VolumeFile(tmp_path / "b.h5").load()
    assert (back.landmarks, back.mask_channel) == (None, False)
    assert not {"landmarks", "mask_channel"} & set(VolumeFile(tmp_path / "b.h5").attributes())


def test_what_an_encoder_cuts_is_written_with_the_recipe_of_its_attributes(tmp_path: Path) -> None:
    write(tmp_path / "a.h5", volume(), TOLD)
    write_volume(tmp_path / "b.h5", (volume().x, volume().mask, volume().frame), TOLD | {"recipe": "abc"})
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_equal_content_gives_equal_bytes_at_any_time_and_place(tmp_path: Path) -> None:
    first, second = tmp_path / "one.h5", tmp_path / "elsewhere" / "two.h5"
    second.parent.mkdir()
    write(first, volume(), TOLD)
    time.sleep(1.1)
    write(second, volume(), dict(reversed(TOLD.items())))
    assert first.read_bytes() == second.read_bytes()
    write(second, volume(), {**TOLD, "share": 0.25})
    assert first.read_bytes() != second.read_bytes()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "v.h5"
    write(path, volume(), TOLD)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(FeatureError, match=r"v\.h5: found a volume file that cannot be read"):
        VolumeFile(path).load()
    with h5py.File(path, "w") as file:
        file["other"] = 1
    with pytest.raises(FeatureError, match="cannot be read"):
        VolumeFile(path).load()


def test_what_is_not_finite_or_too_large_for_the_precision_is_not_written(tmp_path: Path) -> None:
    x = volume().x.copy()
    x[0, 1, 2, 3] = np.nan
    with pytest.raises(FeatureError, match="1 voxels that are not finite"):
        write(tmp_path / "v.h5", volume(x=x), TOLD)
    x[0, 1, 2, 3] = 70000
    with pytest.raises(FeatureError, match="an intensity of 70000"):
        write(tmp_path / "v.h5", volume(x=x), TOLD)
    write(tmp_path / "v.h5", volume(x=x), TOLD, precision="float32")
    assert VolumeFile(tmp_path / "v.h5").load().x.max() == 70000


def test_a_slide_is_not_written_as_a_volume(tmp_path: Path) -> None:
    frame = dataclasses.replace(volume().frame, unit="um")
    with pytest.raises(FeatureError, match="frame in um"):
        write(tmp_path / "v.h5", volume(frame=frame), TOLD)
