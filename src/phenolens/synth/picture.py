"""One picture of one patient as a scanner stores it, and the masks drawn on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from phenolens.core.types import FloatArray, Frame
from phenolens.synth.space import Lump, Points, points

MaskArray = npt.NDArray[np.uint8]
"""Shape (z, y, x): 0 outside, 1 in the first lesion, 2 in the second …"""


class Lesion(Protocol):
    """A lesion of any kind: its outline as it is, and as an observer draws it."""

    @property
    def body(self) -> Lump: ...
    @property
    def drawn(self) -> Lump: ...
    def facts(self) -> dict[str, object]: ...


@dataclass(frozen=True, kw_only=True)
class Export:
    """How a site hands its pictures over: as a DICOM series or NIfTI, with these attributes, and the form of masks."""

    dicom: bool
    modality: Literal["MR", "CT"]
    description: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    mask: Literal["nifti", "rtstruct", "seg"] = "nifti"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image: values (z, y, x), the mask on the same grid, their frame, how far the body had moved in mm when it was
    taken, and how it is handed over."""

    x: FloatArray
    mask: MaskArray
    frame: Frame
    moved: npt.NDArray[np.float32]
    export: Export


def outlined(lesions: Sequence[Lesion], where: Points) -> MaskArray:
    """The mask that an observer draws of all lesions, at points (z, y, x, 3)."""
    mask = np.zeros(where.shape[:-1], dtype=np.uint8)
    for value, one in enumerate(lesions, start=1):
        mask[one.drawn.depth(where) < 1] = value
    return mask


def redrawn(lesions: Sequence[Lesion], moved: npt.NDArray[np.float32]) -> tuple[MaskArray, Frame]:
    """The same mask on another grid: voxels of 2 x 2 x 3 mm, around the lesions only."""
    centres = np.array([one.body.centre for one in lesions]) - moved
    reach = max(one.body.reach for one in lesions) + 5
    low, size = centres.min(0) - reach, np.ptp(centres, axis=0) + 2 * reach
    spacing = (2.0, 2.0, 3.0)
    x, y, z = (int(v) for v in np.ceil(size / spacing))
    frame = Frame(
        shape=(x, y, z),
        spacing=spacing,
        origin=tuple(round(float(v), 4) for v in low),
        unit="mm",
        direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    )
    return outlined(lesions, points(frame) + moved), frame


def around(one: Lesion, where: Points) -> tuple[slice, slice, slice]:
    """The box of indices that holds a lesion; empty slices where it lies outside."""
    away = where - np.asarray(one.body.centre, dtype=np.float32)
    near = np.einsum("...i,...i->...", away, away) < one.body.reach**2
    found = []
    for axis in range(3):
        rows = np.flatnonzero(near.any(axis=tuple(a for a in range(3) if a != axis)))
        found.append(slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0, 0))
    return found[0], found[1], found[2]
