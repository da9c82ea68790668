"""Volume files: one HDF5 an image, with `x` (c, z, y, x), the region as packed bits and the frame in the attributes.

Equal content gives equal bytes: the HDF5 version is fixed, strings have a fixed length, nothing is compressed and
nothing holds a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import numpy.typing as npt

from phenolens.core.errors import FeatureError
from phenolens.core.types import FloatArray, Frame, Volume

FORMAT = 1
Precision = Literal["float16", "float32"]
"""How x is stored. float16 keeps 11 bits: enough for normalised intensities, half the room."""
_HDF5 = ("earliest", "v110")


@dataclass(frozen=True)
class VolumeFile:
    """The volume of one image on disk, as a volume source."""

    path: Path

    def size(self) -> tuple[int, int, int, int]:
        """(c, z, y, x) without reading any voxel."""
        with _open(self.path) as file:
            c, z, y, x = (int(n) for n in file["x"].shape)
        return c, z, y, x

    def attributes(self) -> dict[str, Any]:
        """The provenance: frame, recipe, format and what else was given to `write`."""
        with _open(self.path) as file:
            return {name: _plain(value) for name, value in file.attrs.items()}

    def load(self) -> Volume:
        """The volume, x as float32. Raises FeatureError where the file is damaged."""
        with _open(self.path) as file:
            told = {name: _plain(value) for name, value in file.attrs.items()}
            x = file["x"][...].astype(np.float32)
            bits = file["mask"][...] if "mask" in file else None
            frame = Frame(
                shape=tuple(told["shape"]),
                spacing=tuple(told["spacing"]),
                origin=tuple(told["origin"]),
                direction=tuple(told["direction"]) if "direction" in told else None,
                unit="mm",
            )
            recipe = told["recipe"]
        return Volume(
            x=x,
            mask=None if bits is None else _unpacked(bits, x.shape[1:]),
            frame=frame,
            recipe=recipe,
            landmarks=tuple(told["landmarks"]) if "landmarks" in told else None,
            mask_channel=bool(told.get("mask_channel", False)),
        )


def write(path: Path, volume: Volume, attributes: Mapping[str, Any], *, precision: Precision = "float16") -> None:
    """Write a volume. `attributes` holds anything worth knowing beside the frame: numbers, text or lists of numbers.

    Raises FeatureError when a voxel is not finite, or not within the range of `precision`, or the frame is not in mm.
    """
    if volume.frame.unit != "mm":
        raise FeatureError(f"a frame in {volume.frame.unit}", expected="mm", todo="store slides as bags")
    stored = _stored(volume.x, precision)
    told = {**attributes, "format": FORMAT, "recipe": volume.recipe, **_frame(volume.frame), **_meaning(volume)}
    with h5py.File(path, "w", libver=_HDF5, track_order=False) as file:
        for name in sorted(told):
            file.attrs[name] = _fixed(told[name])
        file.create_dataset("x", data=stored, track_times=False)
        if volume.mask is not None:
            file.create_dataset("mask", data=np.packbits(volume.mask), track_times=False)


def write_volume(
    path: Path,
    cut: tuple[FloatArray, npt.NDArray[np.bool_] | None, Frame],
    attributes: Mapping[str, Any],
    *,
    precision: Precision = "float16",
) -> None:
    """Write x (c, z, y, x), mask (z, y, x) and frame, as an encoder gives them; `attributes` holds the recipe."""
    x, mask, frame = cut
    write(path, Volume(x=x, mask=mask, frame=frame, recipe=str(attributes["recipe"])), attributes, precision=precision)


def _frame(frame: Frame) -> dict[str, npt.NDArray[Any]]:
    made: dict[str, npt.NDArray[Any]] = {
        "shape": np.array(frame.shape, np.int64),
        "spacing": np.array(frame.spacing, np.float64),
        "origin": np.array(frame.origin, np.float64),
    }
    return made if frame.direction is None else {**made, "direction": np.array(frame.direction, np.float64)}


def _meaning(volume: Volume) -> dict[str, Any]:
    """What is known of the intensities; nothing is written where nothing is."""
    made: dict[str, Any] = {"mask_channel": 1} if volume.mask_channel else {}
    return made if volume.landmarks is None else {**made, "landmarks": np.array(volume.landmarks, np.float64)}


def _stored(x: npt.NDArray[np.float32], precision: Precision) -> npt.NDArray[Any]:
    """x as it is stored; what is not finite, or becomes so, is refused."""
    if not np.isfinite(x).all():
        raise FeatureError(
            f"{int(np.count_nonzero(~np.isfinite(x)))} voxels that are not finite",
            expected="finite intensities",
            todo="look at the image for voxels without a value, or leave it out",
        )
    most, limit = float(np.abs(x).max(initial=0.0)), float(np.finfo(precision).max)
    if most > limit:
        raise FeatureError(
            f"an intensity of {most:g}",
            expected=f"at most {limit:g}, which {precision} holds",
            todo="normalise the intensities (scan.intensity), or store them as float32",
        )
    return np.ascontiguousarray(x, dtype=precision)


def _unpacked(bits: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(np.bool_)


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, ValueError) as fault:
        raise FeatureError(
            f"a volume file that cannot be read ({fault})",
            expected="the HDF5 that `phenolens run` wrote",
            todo="delete the file and run again",
            where=str(path),
        ) from fault


def _fixed(value: Any) -> Any:
    """Text as bytes of a fixed length; variable-length text would lie in a heap whose bytes differ."""
    return np.bytes_(value.encode()) if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value
