"""What a format gives: the header of a scan and its voxels by box; and the frame that a stated geometry makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import acos, degrees
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import ImageError
from phenolens.core.types import FloatArray, Frame
from phenolens.scans.geometry import Index

SHEAR_DEGREES = 0.05
"""Axes may be this far from perpendicular (rounded numbers; 0.4 mm over 500 mm) and are then made so; more is shear."""


@dataclass(frozen=True, kw_only=True)
class ScanHeader:
    """What is known of a scan without its voxels.

    frame is in mm (LPS). format is the name of the format that opened it. modality is "CT", "MR", "PT" or "" where the
    file does not say. facts are JSON-able and of the acquisition, never of the person: series_uid, b_value, echo_time,
    unit ("HU", "SUVbw" or ""). notes are sentences for the report.
    """

    frame: Frame
    format: str
    modality: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class ScanSource(Protocol):
    """An open scan, as a format gives it."""

    @property
    def header(self) -> ScanHeader: ...

    def read(self, lo: Index, shape: Index) -> FloatArray:
        """The box (z, y, x) that starts at lo, rescaled to the scan's unit. Asked only inside the frame."""
        ...

    def close(self) -> None: ...


def frame_of(
    shape: Sequence[int], steps: npt.ArrayLike, origin: Sequence[float], *, where: str
) -> tuple[Frame, tuple[str, ...]]:
    """The frame whose voxel (x, y, z) lies at origin + steps @ (x, y, z), in mm LPS; and notes.

    steps is (3, 3): its columns are the steps in mm from voxel to voxel along x, y and z. Axes within SHEAR_DEGREES of
    perpendicular are made perpendicular, with a note; others, and steps of no or no finite length, raise ImageError.
    """
    matrix = np.asarray(steps, dtype=np.float64).reshape(3, 3)
    lengths = np.linalg.norm(matrix, axis=0)
    if not (np.isfinite(matrix).all() and np.isfinite(origin).all() and (lengths > 0).all()):
        raise ImageError(
            f"a spacing of {', '.join(f'{v:.4g}' for v in lengths)} mm and an origin of "
            f"{', '.join(f'{v:.4g}' for v in origin)} mm",
            expected="finite numbers and spacings above 0",
            todo="write the file again from its original; its header is damaged",
            where=where,
        )
    unit = matrix / lengths
    off = max(abs(90 - degrees(acos(np.clip(unit[:, i] @ unit[:, j], -1, 1)))) for i, j in ((0, 1), (0, 2), (1, 2)))
    if off > SHEAR_DEGREES:
        raise ImageError(
            f"a sheared grid: its axes are {off:.2f} degrees away from perpendicular (gantry tilt, or an affine "
            "registration written into the header)",
            expected=f"perpendicular axes (within {SHEAR_DEGREES} degrees)",
            todo="resample the scan to a grid with perpendicular axes, then name that file",
            where=where,
        )
    left, _, right = np.linalg.svd(unit)
    clean = unit if np.abs(unit - left @ right).max() < 1e-7 else left @ right
    frame = Frame(
        shape=tuple(int(v) for v in shape),
        spacing=tuple(float(v) for v in lengths),
        origin=tuple(float(v) + 0.0 for v in origin),
        unit="mm",
        direction=tuple(float(v) + 0.0 for v in clean.ravel()),
    )
    repaired = f"axes {off:.3f} degrees away from perpendicular were made perpendicular"
    return frame, ((repaired,) if off > 0.005 else ())
