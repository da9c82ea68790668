"""The slow shading of MR (the bias field): estimated on a coarse grid by N4, divided out voxel by voxel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from phenolens.core.errors import ImageError
from phenolens.core.types import FloatArray, Frame
from phenolens.scans.geometry import Mask, to_index, to_mm
from phenolens.scans.sampling import InMemory, Sample, sample

_MOST_VOXELS = 2**15
_MOST_NODES = 32
_LEVELS, _ITERATIONS = 3, 50
_LEAST_SIDE = 4
_MOST_NEGATIVE = 0.05


def log_field(seen: Sample, body: Mask, unit: str = "") -> tuple[FloatArray, Frame]:
    """The logarithm of the bias field on a grid of at most 32 nodes an axis, and the frame of that grid.

    N4 (Tustison and colleagues, IEEE TMI 29, 2010) as SimpleITK has it, in one thread, on at most 32,768 voxels of the
    body; the mean logarithm over the body is zero, so that intensities keep their scale.
    Raises ImageError for CT, for images with values of the body at or below zero, and where an axis has under 4 voxels.
    """
    _check(seen, body, unit)
    coarse = sample(InMemory(x=seen.x, frame=seen.frame), _MOST_VOXELS)
    sx, sy, sz = coarse.step
    inside = body[::sz, ::sy, ::sx] & np.isfinite(coarse.x) & (coarse.x > 0)
    field = _n4(np.where(inside, coarse.x, 0).astype(np.float32), inside, coarse.frame)
    field -= field[inside].mean(dtype=np.float64).astype(np.float32)
    nodes = (min(n, _MOST_NODES) for n in coarse.frame.shape)
    shape = _three(tuple(nodes))
    steps = [(n - 1) / (m - 1) for n, m in zip(coarse.frame.shape, shape, strict=True)]
    spacing = tuple(s * k for s, k in zip(coarse.frame.spacing, steps, strict=True))
    grid = replace(coarse.frame, shape=shape, spacing=spacing)
    return onto_grid(field, coarse.frame, grid), grid


def onto_grid(field: FloatArray, frame: Frame, grid: Frame) -> FloatArray:
    """A smooth field on another grid by position, linearly; beyond its edge it goes on as at the edge."""
    ends = to_index(frame, to_mm(grid, np.vstack([np.zeros(3), np.eye(3)])))[:, ::-1]
    matrix = (ends[1:] - ends[0]).T[:, ::-1]
    made: FloatArray = ndimage.affine_transform(
        field,
        matrix,
        offset=ends[0],
        output_shape=grid.shape[::-1],
        output=np.float32,
        order=1,
        mode="nearest",
    )
    return made


def _n4(x: FloatArray, inside: Mask, frame: Frame) -> FloatArray:
    import SimpleITK

    image, mask = SimpleITK.GetImageFromArray(x), SimpleITK.GetImageFromArray(inside.astype(np.uint8))
    for made in (image, mask):
        made.SetSpacing(frame.spacing)
    n4 = SimpleITK.N4BiasFieldCorrectionImageFilter()
    n4.SetNumberOfThreads(1)
    n4.SetNumberOfWorkUnits(1)
    n4.SetMaximumNumberOfIterations([_ITERATIONS] * _LEVELS)
    n4.Execute(image, mask)
    field: FloatArray = SimpleITK.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)).astype(np.float32)
    return field


def _check(seen: Sample, body: Mask, unit: str) -> None:
    if unit == "HU":
        raise ImageError(
            "N4 asked for a CT (intensities in HU)",
            expected="an MR: CT has no bias field, its intensities are calibrated",
            todo="set n4: false for this sequence",
        )
    low = float((seen.x[body] <= 0).mean()) if body.any() else 1.0
    if low > _MOST_NEGATIVE:
        raise ImageError(
            f"{low:.0%} of the body at or below zero, where N4 takes logarithms",
            expected="an MR with positive intensities (a CT and an image that is normalised already have no use of N4)",
            todo="set n4: false for this sequence, or give the image as the scanner made it",
        )
    if min(seen.frame.shape) < _LEAST_SIDE:
        raise ImageError(
            f"an image of {' x '.join(str(n) for n in seen.frame.shape)} voxels",
            expected=f"at least {_LEAST_SIDE} voxels along each axis, for N4",
            todo="set n4: false for this sequence",
        )


def _three(values: tuple[int, ...]) -> tuple[int, int, int]:
    x, y, z = values
    return x, y, z
