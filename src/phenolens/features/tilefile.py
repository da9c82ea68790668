"""Tile files: one HDF5 a slide with its tiles as JPEG or PNG bytes, one after the other, and where each begins.

`tiles` (bytes), `tiles_at` (n + 1), `coords` (n, 2) in level-0 px, and, where the annotated region was asked for,
`outlines` and `outlines_at`. The bytes lie in one piece in the file, so that any tile is one read, without HDF5 and
from any number of workers at once. Equal content gives equal bytes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from phenolens.core.errors import FeatureError
from phenolens.core.types import Frame, TileSet

FORMAT = 1
_HDF5 = ("earliest", "v110")
_COPIED = 2**24


@dataclass(frozen=True, kw_only=True)
class Span:
    """Pictures in one piece of a file: `at` (n + 1) says where each begins, counted from `start`."""

    path: Path
    start: int
    at: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.at) - 1

    def read(self, rows: Sequence[int]) -> list[bytes]:
        """The bytes of the given rows. Raises FeatureError where the file ends before them."""
        file = os.open(self.path, os.O_RDONLY)
        try:
            made = [os.pread(file, int(self.at[r + 1] - self.at[r]), self.start + int(self.at[r])) for r in rows]
        finally:
            os.close(file)
        for row, data in zip(rows, made, strict=True):
            if len(data) != self.at[row + 1] - self.at[row]:
                raise _unreadable(self.path, f"it ends within tile {row}")
        return made


@dataclass(frozen=True)
class TileFile:
    """The tiles of one slide on disk, as a source."""

    path: Path

    def load(self) -> TileSet:
        """The set of tiles; none is decoded yet. Raises FeatureError where the file is damaged."""
        try:
            with h5py.File(self.path, "r") as file:
                told = {name: _plain(value) for name, value in file.attrs.items()}
                xy = file["coords"][...]
                spans = {name: self._span(file, name) for name in ("tiles", "outlines") if name in file}
        except (OSError, KeyError) as fault:
            raise _unreadable(self.path, str(fault)) from fault
        spacing = (told["mpp_x"], told["mpp_y"])
        frame = Frame(shape=(told["width"], told["height"]), spacing=spacing, origin=(0.0, 0.0), unit="um")
        return TileSet(
            data=spans["tiles"],
            outlines=spans.get("outlines"),
            coords=xy.astype(np.float64) * np.asarray(frame.spacing),
            extent=told["tile_side_level0"] * frame.mpp,
            size_px=told["size_px"],
            frame=frame,
            recipe=told["recipe"],
        )

    def _span(self, file: Any, name: str) -> Span:
        at, start = file[f"{name}_at"][...], file[name].id.get_offset()
        return Span(path=self.path, start=0 if start is None else int(start), at=at)


class Spool:
    """Pictures on their way to a tile file: on disk, so that a slide's tiles are never whole in memory."""

    def __init__(self) -> None:
        self.file: Any = None
        self.sizes: list[int] = []

    def __len__(self) -> int:
        return len(self.sizes)

    def add(self, pictures: Sequence[bytes]) -> None:
        if self.file is None:
            self.file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        for data in pictures:
            self.file.write(data)
            self.sizes.append(len(data))

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


def write(
    path: Path,
    tiles: Spool,
    outlines: Spool | None,
    place: tuple[Frame, npt.NDArray[np.int64], float],
    attributes: Mapping[str, Any],
) -> None:
    """Write the tiles of one slide. `place` is its frame, the corners (n, 2) and the side in level-0 px; `attributes`
    holds size_px, recipe and what else is worth knowing."""
    frame, xy, side = place
    size = {"width": frame.shape[0], "height": frame.shape[1], "mpp_x": frame.spacing[0], "mpp_y": frame.spacing[1]}
    told = {**attributes, **size, "format": FORMAT, "tile_side_level0": side}
    with h5py.File(path, "w", libver=_HDF5, track_order=False) as file:
        for name in sorted(told):
            value = told[name]
            file.attrs[name] = np.bytes_(value.encode()) if isinstance(value, str) else value
        file.create_dataset("coords", data=xy.astype(np.int64), track_times=False)
        for name, spool in (("tiles", tiles), ("outlines", outlines)):
            if spool is not None:
                _copy(file, name, spool)


def _copy(file: Any, name: str, spool: Spool) -> None:
    at = np.concatenate([[0], np.cumsum(spool.sizes)]).astype(np.int64)
    file.create_dataset(f"{name}_at", data=at, track_times=False)
    held = file.create_dataset(name, shape=(int(at[-1]),), dtype=np.uint8, track_times=False)
    if spool.file is not None:
        spool.file.seek(0)
    for first in range(0, int(at[-1]), _COPIED):
        piece = np.frombuffer(spool.file.read(_COPIED), np.uint8)
        held[first : first + len(piece)] = piece


def _unreadable(path: Path, why: str) -> FeatureError:
    return FeatureError(
        f"a tile file that cannot be read ({why})",
        expected="the HDF5 that `phenolens run` wrote",
        todo="delete the file and run again",
        where=str(path),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value
