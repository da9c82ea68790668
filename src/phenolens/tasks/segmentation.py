"""Which voxels belong to the lesion, and how well a mask that was found agrees with the one that was drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from phenolens.core.errors import ModelError
from phenolens.core.types import Example, Volume
from phenolens.tasks._outlines import outline_agreement

Mask = npt.NDArray[np.bool_]
"""Shape (z, y, x)."""
_AT_ONCE = 2**22
"""Voxels whose distances are computed at once."""


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """Predicts a mask of the lesion on one sequence; `sequence` may be left out where units have one image.

    Surfaces count as equal within `tolerance_mm`.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Which voxels belong to the lesion; a mask a unit."
    kind: ClassVar[str] = "segmentation"

    sequence: str | None = None
    tolerance_mm: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance_mm < np.inf:
            raise ValueError(f"tolerance_mm must be 0 or more, not {self.tolerance_mm}")

    def volume(self, example: Example) -> Volume:
        """The volume to segment; raises ModelError where it is absent or not the only one."""
        there = [p for p in example.parts if p.present and self.sequence in (None, p.name)]
        if len(there) != 1:
            raise ModelError(
                f"{', '.join(p.name for p in there) or 'no image'} in unit {example.unit_id!r}",
                expected="one image" if self.sequence is None else f"one image of sequence {self.sequence!r}",
                todo="name the sequence to segment, or leave the unit out",
            )
        volume = there[0].volume()
        assert volume is not None
        return volume

    def truth(self, example: Example) -> Mask:
        """The mask that was drawn; raises ModelError where there is none or it is empty."""
        volume = self.volume(example)
        if volume.mask is None or not volume.mask.any():
            raise ModelError(
                f"no lesion in the volume of unit {example.unit_id!r}",
                expected="a mask with at least one voxel",
                todo="add the mask in images.csv, or leave the unit out",
            )
        return volume.mask

    def measure(self, found: Mask, example: Example) -> dict[str, float]:
        """Keys dice and surface_dice of a mask on the grid of the example's volume."""
        return self.agreement(found, self.truth(example), self.volume(example).frame.spacing)

    def agreement(self, found: Mask, drawn: Mask, spacing: tuple[float, ...]) -> dict[str, float]:
        """Keys dice and surface_dice of two masks on one grid; `spacing` is x, y, z in mm."""
        return {
            "dice": dice(found, drawn),
            "surface_dice": surface_dice(found, drawn, spacing, tolerance_mm=self.tolerance_mm),
        }

    def outline_agreement(
        self, found: npt.NDArray[np.bool_], drawn: npt.NDArray[np.bool_], tissue: npt.NDArray[np.bool_], um: float
    ) -> dict[str, float | None]:
        """Of two outlines on a slide, masks (h, w) with pixels of `um` micrometres; see `tasks._outlines`."""
        return outline_agreement(found, drawn, tissue, um, tolerance_um=1000 * self.tolerance_mm)


def dice(a: Mask, b: Mask) -> float:
    """Twice the common voxels over the sum of both (Dice, Ecology 1945); 1 where both are empty."""
    _same(a, b)
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 2 * int(np.count_nonzero(a & b)) / total if total else 1.0


def surface_dice(a: Mask, b: Mask, spacing: tuple[float, ...], *, tolerance_mm: float) -> float:
    """The share of both surfaces that lies within the tolerance of the other; `spacing` is x, y, z in mm.

    Nikolov et al., J Med Internet Res 2021;23(7):e26151, with surfaces taken as the voxels that have a face on the
    outside, each weighing the same, and distances between their centres. 1 where both are empty, 0 where one is.
    """
    _same(a, b)
    if not a.any() or not b.any():
        return float(a.any() == b.any())
    ends = [np.flatnonzero((a | b).any(axis=tuple(k for k in range(3) if k != axis)))[[0, -1]] for axis in range(3)]
    box = tuple(slice(int(lo), int(hi) + 1) for lo, hi in ends)
    edges = [_surface(mask[box]) for mask in (a, b)]
    near = _near(edges[0], edges[1], spacing, tolerance_mm) + _near(edges[1], edges[0], spacing, tolerance_mm)
    return near / sum(int(np.count_nonzero(edge)) for edge in edges)


def _near(edge: Mask, other: Mask, spacing: tuple[float, ...], tolerance_mm: float) -> int:
    """Voxels of one surface within the tolerance of the other, slab by slab, so that little memory is needed."""
    reach = int(tolerance_mm / spacing[2]) + 1
    step = max(2 * reach, _AT_ONCE // max(1, edge[0].size))
    near = 0
    for at in range(0, len(edge), step):
        lo = max(0, at - reach)
        around, here = other[lo : at + step + reach], edge[at : at + step]
        if around.any() and here.any():
            away = ndimage.distance_transform_edt(~around, sampling=spacing[::-1])[at - lo : at - lo + len(here)]
            near += int(np.count_nonzero(away[here] <= tolerance_mm + 1e-9))
    return near


def _surface(mask: Mask) -> Mask:
    """Voxels of the mask with a face on the outside; beyond the array is outside."""
    kept: Mask = mask & ~ndimage.binary_erosion(mask)
    return kept


def _same(a: Mask, b: Mask) -> None:
    if a.shape != b.shape:
        raise ModelError(
            f"masks of shape {a.shape} and {b.shape}", expected="two masks on one grid", todo="bring them to one grid"
        )


plugin = Segmentation
