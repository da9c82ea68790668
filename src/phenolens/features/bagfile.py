"""Feature files: one HDF5 a slide, with `features` (n, d) and `coords` (n, 2) in level-0 px, as in TRIDENT and CLAM.

The root carries the provenance; `coords` carries the attributes TRIDENT reads (patch_size, patch_size_level0,
level0_magnification, target_magnification, overlap where known). The file of a scan has `coords` (n, 3) in mm and the
geometry of its frame in the attributes instead. Equal content gives equal bytes: the HDF5 version is
fixed, strings have a fixed length and nothing holds a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from phenolens.core.errors import FeatureError
from phenolens.core.types import Bag, Frame

FORMAT = 1
_HDF5 = ("earliest", "v110")


@dataclass(frozen=True)
class BagFile:
    """The features of one slide on disk, as a bag source."""

    path: Path

    def size(self) -> tuple[int, int]:
        """(instances, features) without reading any."""
        with _open(self.path) as file:
            n, d = file["features"].shape
        return int(n), int(d)

    def attributes(self) -> dict[str, Any]:
        """The provenance: mpp, size_px, encoder, recipe and what else was given to `write`."""
        with _open(self.path) as file:
            return {name: _plain(value) for name, value in file.attrs.items()}

    def load(self) -> Bag:
        """The bag; coords and extent in um. Raises FeatureError where the file is damaged."""
        with _open(self.path) as file:
            told = {name: _plain(value) for name, value in file.attrs.items()}
            x, xy = file["features"][...], file["coords"][...]
            names = tuple(_plain(n) for n in file["names"][...]) if "names" in file else None
        frame = _frame(told)
        on_slide = frame.unit == "um"
        return Bag(
            x=x.astype(np.float32, copy=False),
            coords=xy.astype(np.float64) * np.asarray(frame.spacing) if on_slide else xy,
            extent=told["tile_side_level0"] * frame.mpp if on_slide else told["extent"],
            names=names,
            frame=frame,
            recipe=told["recipe"],
        )


def write(path: Path, bag: Bag, attributes: Mapping[str, Any]) -> None:
    """Write a bag. `attributes` holds what is worth knowing: of a slide size_px and mpp (of the tiles) among it.

    Raises FeatureError when a feature is not finite.
    """
    _check_finite(bag)
    told = {**attributes, "format": FORMAT, "recipe": bag.recipe, **_geometry(bag)}
    on_slide = bag.frame.unit == "um"
    places = np.rint(bag.coords / np.asarray(bag.frame.spacing)).astype(np.int64) if on_slide else bag.coords
    with h5py.File(path, "w", libver=_HDF5, track_order=False) as file:
        for name in sorted(told):
            file.attrs[name] = _fixed(told[name])
        features = file.create_dataset(
            "features", data=np.ascontiguousarray(bag.x, dtype=np.float32), track_times=False
        )
        features.attrs["name"] = _fixed(str(told.get("encoder", "")))
        coords = file.create_dataset("coords", data=places, track_times=False)
        if on_slide:
            for name, value in _trident(bag, told["tile_side_level0"], told).items():
                coords.attrs[name] = _fixed(value)
        if bag.names is not None:
            file.create_dataset("names", data=np.array([n.encode() for n in bag.names]), track_times=False)


def _geometry(bag: Bag) -> dict[str, Any]:
    """The frame and the extent as attributes."""
    frame = bag.frame
    if frame.unit == "um":
        size = {"width": frame.shape[0], "height": frame.shape[1], "mpp_x": frame.spacing[0], "mpp_y": frame.spacing[1]}
        return {**size, "tile_side_level0": bag.extent / frame.mpp}
    return frame_attributes(frame) | {"extent": bag.extent}


def frame_attributes(frame: Frame) -> dict[str, Any]:
    """A frame in mm as attributes of an HDF5 file."""
    told: dict[str, Any] = {"unit": frame.unit, "shape": np.array(frame.shape), "spacing": np.array(frame.spacing)}
    told["origin"] = np.array(frame.origin)
    return told if frame.direction is None else {**told, "direction": np.array(frame.direction)}


def _frame(told: Mapping[str, Any]) -> Frame:
    if "unit" not in told:
        size, spacing = (told["width"], told["height"]), (told["mpp_x"], told["mpp_y"])
        return Frame(shape=size, spacing=spacing, origin=(0.0, 0.0), unit="um")
    return frame_of(told)


def frame_of(told: Mapping[str, Any]) -> Frame:
    """The frame that `frame_attributes` wrote."""
    lists = {k: tuple(told[k].tolist()) for k in ("shape", "spacing", "origin", "direction") if k in told}
    return Frame(unit=told["unit"], **lists)


def _trident(bag: Bag, side: float, told: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes by which TRIDENT and tools after it place a patch; magnification is 10 / mpp."""
    mpp = bag.frame.mpp
    size = int(told.get("size_px", round(side)))
    return {
        "description": "(x, y) of the top left corner, in px of level 0",
        "patch_size": size,
        "patch_size_level0": round(side),
        "level0_magnification": max(1, round(10 / mpp)),
        "target_magnification": max(1, round(10 / (side * mpp / size))),
        "level0_mpp": mpp,
        "target_mpp": side * mpp / size,
        "level0_width": bag.frame.shape[0],
        "level0_height": bag.frame.shape[1],
    }


def _check_finite(bag: Bag) -> None:
    bad = ~np.isfinite(bag.x).all(0)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        what = bag.names[first] if bag.names is not None else f"number {first}"
        raise FeatureError(
            f"{int(bad.sum())} features that are not finite, the first is {what}",
            expected="finite numbers",
            todo="set precision: fp32 for a hub encoder; report it for any other",
        )


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError) as fault:
        raise FeatureError(
            f"a feature file that cannot be read ({fault})",
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
    return value.item() if isinstance(value, np.generic) else value
