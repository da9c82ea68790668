"""What the worker processes of `extract` do with a chunk of tiles: open the slide, read, encode."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import PhenolensError
from phenolens.core.registry import Choice
from phenolens.core.store import canonical
from phenolens.core.types import FloatArray, Rgb
from phenolens.features.contract import Encode
from phenolens.slides.disturb import Disturbance
from phenolens.slides.image import Slide, open_slide
from phenolens.slides.normalise import Normaliser
from phenolens.slides.prepare import SlideJob


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Up to 64 tiles of one slide; `turn` says which job of the run it belongs to. xy and side are in level-0 px.

    `disturb` is a fault to put on the tiles before they are encoded, `normalise` what brings their colours to a
    reference after that.
    """

    turn: int
    slide: SlideJob
    xy: npt.NDArray[np.int64]
    side: float
    size_px: int
    mpp: float
    disturb: Disturbance | None = None
    normalise: Normaliser | None = None


_TILES = 64
_BYTES = 64 * 2**20


def pieces(whole: Chunk) -> Iterator[Chunk]:
    """A slide's tiles in chunks of at most 64 tiles and 64 MiB."""
    count = max(1, min(_TILES, _BYTES // (3 * whole.size_px**2)))
    for first in range(0, len(whole.xy), count):
        yield replace(whole, xy=whole.xy[first : first + count])


_KEPT: dict[str, Any] = {}
"""The slide last opened and the encoder, kept between the chunks a worker process gets; `close` empties it."""


def close() -> None:
    if "slide" in _KEPT:
        _KEPT.pop("slide")[1].close()
    _KEPT.clear()


def _slide(job: SlideJob) -> Slide:
    kept = _KEPT.get("slide")
    if kept is None or kept[0] != job:
        if kept is not None:
            del _KEPT["slide"]
            kept[1].close()
        _KEPT["slide"] = kept = (job, open_slide(job.path, patient=job.patient, image=job.image, mpp=job.mpp))
    slide: Slide = kept[1]
    return slide


def payload_of(chunk: Chunk) -> tuple[Rgb, float]:
    if not len(chunk.xy):
        return np.zeros((0, 1, 1, 3), np.uint8), chunk.mpp
    tiles = _slide(chunk.slide).read_tiles(chunk.xy, chunk.side, chunk.size_px)
    if chunk.disturb is not None:
        tiles = chunk.disturb.apply(tiles, chunk.xy, chunk.mpp)
    return tiles if chunk.normalise is None else chunk.normalise.apply(tiles), chunk.mpp


Encoded = FloatArray | list[bytes] | PhenolensError
"""Features of a chunk, or its pictures where the encoder makes tiles; or the fault for which the encoder itself cannot
be loaded, which ends the run and not a slide."""


@dataclass(frozen=True)
class ReadAndEncode:
    """Read and encode one chunk in the same process."""

    encoder: Choice

    def __call__(self, chunk: Chunk) -> Encoded:
        identity = canonical([self.encoder.name, dict(self.encoder.params)])
        if _KEPT.get("identity") != identity:
            _KEPT["encode"] = Maker(self.encoder)("cpu")
            _KEPT["identity"] = identity
        encoding: _Encoding = _KEPT["encode"]
        return encoding(payload_of(chunk))


@dataclass(frozen=True)
class Maker:
    """Makes the encoding function in an encoder process."""

    encoder: Choice

    def __call__(self, device: str) -> _Encoding:
        try:
            return _Encoding(self.encoder.create().load(device))
        except PhenolensError as error:
            return _Encoding(error)


@dataclass(frozen=True)
class _Encoding:
    encode: Encode | PhenolensError

    def __call__(self, payload: tuple[Rgb, float]) -> Encoded:
        tiles, mpp = payload
        if isinstance(self.encode, PhenolensError):
            return self.encode
        return self.encode(tiles, mpp) if len(tiles) else np.zeros((0, 0), np.float32)
