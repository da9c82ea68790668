"""What an encoder is: the protocol every file of `features/encoders` satisfies.

Beside what `Encoder` lists an encoder may offer, and `extract` uses when it is there:

- `fingerprint() -> str`: the SHA-256 of what it loads. It enters the keys of the features, so that other weights are
  other features, and it raises `WeightsMissingError` before any slide is read.
- `notes(size_px, mpp) -> tuple[str, ...]`: sentences for the report about tiles that differ from the published ones.
- `numerics(device) -> dict[str, str]`: how it computes on a device (precision), recorded with the features.
- a field declared with `field(metadata={"key": False})` changes no feature (a batch size, a path) and enters no key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

from phenolens.core.types import FloatArray, Rgb

Encode = Callable[[Rgb, float], FloatArray | list[bytes]]
"""Tiles (n, s, s, 3) uint8 and their micrometres per pixel to features (n, d) float32; of an encoder whose `makes` is
"tiles" to one picture a tile, as JPEG or PNG."""


class Encoder(Protocol):
    """Turns tiles into features, one tile at a time: a feature depends on its tile alone."""

    @property
    def version(self) -> int: ...
    @property
    def summary(self) -> str: ...
    @property
    def reads(self) -> str: ...
    @property
    def makes(self) -> str: ...
    @property
    def licence(self) -> str: ...
    @property
    def place(self) -> Literal["cpu", "device"]: ...
    @property
    def mpp(self) -> float | None: ...
    @property
    def size_px(self) -> int | None: ...
    @property
    def names(self) -> tuple[str, ...] | None: ...
    def load(self, device: str) -> Encode: ...
