"""The registration behind `align`: shared information of two scans, a coarse search, and SimpleITK's optimiser."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from phenolens.core.types import FloatArray, Frame
from phenolens.scans.geometry import to_index, to_mm
from phenolens.scans.sampling import InMemory, Sample, sample

Transform = npt.NDArray[np.float64]
"""4 x 4, from mm of the fixed scan to mm of the moving one."""
_BINS = 32
_COARSE_VOXELS = 2**14
_STEP_MM, _REACH = 10.0, 2
_SHRINK, _SMOOTH_MM = (4, 2, 1), (4.0, 2.0, 0.0)
_ITERATIONS = 100
_SHARE = 0.3
_ASIDE_MM = 4.0
_AS_GOOD = 0.97
_LOST = "map outside"


@dataclass(frozen=True, kw_only=True)
class Rigid:
    """A rigid transform; how far it moves the middle of the fixed scan and turns; and how far from it another start
    ended with as much in common (0 where none did): the distance of the two within the fixed scan.
    """

    matrix: Transform
    shift_mm: float
    turn_deg: float
    doubt_mm: float


def joint(moving: Sample, fixed: Sample, matrix: Transform) -> tuple[float, float]:
    """The mutual information of two scans where they overlap, as a share of the mean of their entropies there and less
    what chance gives (Miller, 1955: cells over twice the points); and the share of the smaller scan that overlaps.
    """
    at = _indices(fixed.frame, moving.frame, matrix)
    inside = ((at > -0.5) & (at < np.array(moving.frame.shape)[:, None] - 0.5)).all(0)
    a = ndimage.map_coordinates(moving.x, at[::-1][:, inside], order=1, mode="nearest")
    b = fixed.x.ravel()[inside]
    smaller = min(_mm3(moving.frame), _mm3(fixed.frame))
    overlap = float(inside.sum() * np.prod(fixed.frame.spacing) / smaller)
    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < _BINS**2:
        return 0.0, overlap
    table = np.histogram2d(_binned(a[known], moving.x), _binned(b[known], fixed.x), bins=np.arange(_BINS + 1) - 0.5)[0]
    entropies = [_entropy(table.sum(1)), _entropy(table.sum(0)), _entropy(table)]
    filled = [int((t > 0).sum()) for t in (table.sum(1), table.sum(0), table)]
    chance = (filled[2] - filled[0] - filled[1] + 1) / (2 * known.sum())
    mean = (entropies[0] + entropies[1]) / 2
    shared = (entropies[0] + entropies[1] - entropies[2] - chance) / mean if mean > 0 else 0.0
    return round(float(max(shared, 0)), 6), overlap


def register(moving: Sample, fixed: Sample, seed: int) -> Rigid | None:
    """The rigid transform of highest mutual information, by gradient on three resolutions (Mattes and colleagues, IEEE
    TMI 22, 2003), from two starts: no shift, and the best of a coarse grid of shifts. One thread.
    None where the optimiser loses the overlap from both.
    """
    coarse = _coarse_shift(moving, fixed)
    other = coarse if coarse.any() else np.full(3, _ASIDE_MM)
    ends = [end for start in (np.zeros(3), other) if (end := _optimise(moving, fixed, start, seed)) is not None]
    if not ends:
        return None
    scored = sorted(((joint(moving, fixed, end)[0], end) for end in ends), key=lambda s: -s[0])
    score, best = scored[0]
    doubts = [_apart(best, end, fixed.frame) for other_score, end in scored if other_score >= _AS_GOOD * score]
    turn = np.degrees(np.arccos(np.clip((np.trace(best[:3, :3]) - 1) / 2, -1, 1)))
    middle = _middle(fixed.frame)
    return Rigid(
        matrix=best,
        shift_mm=round(float(np.linalg.norm(_moved(best, middle) - middle)), 6),
        turn_deg=round(float(turn), 6),
        doubt_mm=round(max(doubts), 6),
    )


def _apart(a: Transform, b: Transform, frame: Frame) -> float:
    """The largest distance of two transforms over the middle half of a frame."""
    ends = np.array([[x, y, z] for x in (0.25, 0.75) for y in (0.25, 0.75) for z in (0.25, 0.75)])
    points = to_mm(frame, ends * (np.array(frame.shape) - 1))
    return float(np.linalg.norm(_moved(a, points) - _moved(b, points), axis=1).max())


def _moved(matrix: Transform, mm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return mm @ matrix[:3, :3].T + matrix[:3, 3]


def _coarse_shift(moving: Sample, fixed: Sample) -> npt.NDArray[np.float64]:
    """The shift (mm) of a grid of 10 mm that has most in common, on a small sample of both."""
    a, b = (_small(s) for s in (moving, fixed))
    steps = [np.array(s) * _STEP_MM for s in product(range(-_REACH, _REACH + 1), repeat=3)]
    scores = []
    for step in sorted(steps, key=lambda s: float(np.abs(s).sum())):
        matrix = np.eye(4)
        matrix[:3, 3] = step
        scores.append((joint(a, b, matrix)[0], step))
    return max(scores, key=lambda s: s[0])[1]


def _small(seen: Sample) -> Sample:
    wide = np.maximum(1, np.round(_STEP_MM / 2 / np.array(seen.frame.spacing)))
    smooth = ndimage.gaussian_filter(np.nan_to_num(seen.x), sigma=(wide / 2)[::-1], truncate=2)
    return sample(InMemory(x=smooth, frame=seen.frame), _COARSE_VOXELS)


def _optimise(moving: Sample, fixed: Sample, start: npt.NDArray[np.float64], seed: int) -> Transform | None:
    """From a start, a shift in mm; None where SimpleITK says that no point of one scan lies on the other any more."""
    import SimpleITK

    transform = SimpleITK.Euler3DTransform()
    transform.SetCenter([float(v) for v in _middle(fixed.frame)])
    transform.SetTranslation([float(v) for v in start])
    method = SimpleITK.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(_SHARE, seed + 1)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=0.01, numberOfIterations=_ITERATIONS, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(_SHRINK)
    method.SetSmoothingSigmasPerLevel(_SMOOTH_MM)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(_image(fixed), _image(moving))
    except RuntimeError as fault:
        if _LOST in str(fault):
            return None
        raise
    made = np.eye(4)
    turned = np.array(transform.GetMatrix()).reshape(3, 3)
    middle = np.array(transform.GetCenter())
    made[:3, :3] = turned
    made[:3, 3] = np.array(transform.GetTranslation()) + middle - turned @ middle
    return made


def _image(seen: Sample) -> Any:
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.nan_to_num(seen.x))
    image.SetSpacing(seen.frame.spacing)
    image.SetOrigin(seen.frame.origin)
    if seen.frame.direction is not None:
        image.SetDirection(seen.frame.direction)
    return image


def _indices(fixed: Frame, moving: Frame, matrix: Transform) -> npt.NDArray[np.float64]:
    """(3, n): index x, y, z in the moving scan of every voxel of the fixed one, in the order of its array."""
    ends = to_index(moving, _moved(matrix, to_mm(fixed, np.vstack([np.zeros(3), np.eye(3)]))))
    nx, ny, nz = fixed.shape
    z, y, x = (i.ravel() for i in np.indices((nz, ny, nx)))
    steps = (ends[1:] - ends[0]).T
    placed: npt.NDArray[np.float64] = steps @ np.stack([x, y, z]).astype(np.float64) + ends[0][:, None]
    return placed


def _binned(values: FloatArray, whole: FloatArray) -> npt.NDArray[np.float64]:
    low, high = np.percentile(whole[np.isfinite(whole)], (0.5, 99.5))
    if not high > low:
        low, high = float(np.nanmin(whole)), float(np.nanmax(whole))
    scaled: npt.NDArray[np.float64] = np.floor(np.clip((values - low) / (high - low), 0, 1 - 1e-6) * _BINS)
    return scaled


def _entropy(counts: npt.NDArray[np.float64]) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def _mm3(frame: Frame) -> float:
    return float(np.prod(frame.shape) * np.prod(frame.spacing))


def _middle(frame: Frame) -> npt.NDArray[np.float64]:
    return to_mm(frame, (np.array(frame.shape) - 1) / 2)
