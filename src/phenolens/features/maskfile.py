"""Masks that were found, written as NIfTI on the grid of the scan they belong to."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phenolens.core.types import Frame
from phenolens.scans.geometry import Mask, axes, cropped
from phenolens.scans.resample import onto

_SLICES = 32
"""Slices that are resampled at once, so that a mask on a large CT is made in little memory."""


def onto_scan(
    share: npt.NDArray[np.floating], frame: Frame, scan: Frame, *, threshold: float = 0.5
) -> npt.NDArray[np.uint8]:
    """The mask (z, y, x) on the grid of a scan, 1 inside, from a share or probability (z, y, x) on another grid.

    By position in mm, linear in between, inside where at least `threshold`; nothing is inside beyond the other grid.
    """
    made = np.zeros(scan.shape[::-1], dtype=np.uint8)
    values = share.astype(np.float32, copy=False)
    width, height, depth = scan.shape
    for k in range(0, depth, _SLICES):
        slab = cropped(scan, (0, 0, k), (width, height, min(_SLICES, depth - k)))
        made[k : k + _SLICES] = onto(values, frame, slab, method="linear") >= threshold
    return made


def write_mask(path: Path, mask: Mask | npt.NDArray[np.uint8], frame: Frame) -> None:
    """Write a mask (z, y, x) as compressed NIfTI with the frame's spacing, origin and direction; any suffix."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(mask, dtype=np.uint8))
    image.SetSpacing(frame.spacing)
    image.SetOrigin(frame.origin)
    image.SetDirection(axes(frame).ravel().tolist())
    with tempfile.TemporaryDirectory(prefix=".mask.", suffix=".part", dir=path.parent) as folder:
        part = Path(folder) / "mask.nii.gz"
        SimpleITK.WriteImage(image, str(part), useCompression=True)
        part.replace(path)
