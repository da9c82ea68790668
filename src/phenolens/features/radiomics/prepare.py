"""From a crop to what features are computed on: resampled intensities, the morphological and the intensity mask.

The order is that of the IBSI (reference manual, chapter 2): resample image and region, round, re-segment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import FeatureError
from phenolens.features.radiomics._convolution import Margin
from phenolens.features.radiomics.filters import parse
from phenolens.features.radiomics.local_intensity import RADIUS_MM
from phenolens.features.radiomics.settings import LARGEST_VOXEL_MM, RadiomicsSettings
from phenolens.scans.geometry import Crop, Mask
from phenolens.scans.resample import Method, at_positions, new_grid, reach

Values = npt.NDArray[np.float64]
Positions = list[npt.NDArray[np.float64]]
"""Indices of the crop along x, y and z."""
Anchor = Literal["region", "image"]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What is measured: x (z, y, x) with the region and as much around it as the settings need (`margin` lies between
    the edge of x and the box of the region, mirrored where the image ends; `real` is False there).

    `shape` is the morphological mask (the region as drawn), `inside` the intensity mask (what re-segmentation left),
    both on the box of the region alone; spacing is x, y, z in mm.
    """

    x: Values
    real: tuple[slice, ...]
    margin: Margin
    shape: Mask
    inside: Mask
    spacing: tuple[float, ...]

    @property
    def box(self) -> tuple[slice, ...]:
        """Where the region's box lies in x."""
        return tuple(slice(m, n - m) for m, n in zip(self.margin, self.x.shape, strict=True))


def margin_mm(settings: RadiomicsSettings) -> float:
    """How much of the scan around the region is needed, in mm, for values that do not depend on the crop.

    What the filters reach (four sigma, or the width of the kernel), 6.2 mm for local intensity, and what interpolation
    needs; scans are taken to have voxels of at most 10 mm where only voxels are known.
    """
    side, either = settings.spacing_mm, (0.1, LARGEST_VOXEL_MM)
    within = either if side is None else (side,)
    across = either if side is None or settings.in_plane else (side,)
    around = 0.0
    for spacing in ((xy, xy, z) for xy in within for z in across):
        around = max(around, *(m * s for m, s in zip(_margin(settings, spacing), reversed(spacing), strict=True)))
    return around if side is None else around + 2 * side + (reach(_method(settings)) + 2) * LARGEST_VOXEL_MM


def _margin(settings: RadiomicsSettings, spacing: tuple[float, ...]) -> Margin:
    """Voxels (z, y, x) around the box of the region that the families and filters reach."""
    found = [parse(name).reach(spacing) for name in settings.filters]
    if "local_intensity" in settings.families:
        found.append(cast(Margin, tuple(int(RADIUS_MM / s) for s in reversed(spacing))))
    z, y, x = (max((m[a] for m in found), default=0) for a in range(3))
    return z, y, x


def prepare(crop: Crop, settings: RadiomicsSettings, *, anchor: Anchor = "region") -> Prepared:
    """Resample, round and re-segment one crop.

    anchor: the new grid shares its centre with the box of the region, so that it does not depend on the crop, or with
    the crop itself ("image": what the IBSI prescribes when the crop is the whole image). Raises FeatureError where the
    region vanishes or intensities are not finite.
    """
    if not crop.inside.any():
        raise _empty(0, "an empty mask", "check the mask of this image")
    local, positions, spacing = _grid(crop, settings, anchor)
    method = _method(settings)
    shape = at_positions(local.inside.astype(np.float64), positions, method="linear") >= 0.5 - 1e-6
    if not shape.any():
        raise _empty(
            int(crop.inside.sum()),
            f"none of which fills half a voxel of {' x '.join(f'{s:g}' for s in spacing)} mm",
            "choose smaller voxels (spacing_mm), or exclude regions this small",
        )
    ends = [np.flatnonzero(shape.any(axis=tuple(b for b in range(3) if b != a))) for a in range(3)]
    margin = _margin(settings, spacing)
    at, before, after = _around(positions, ends, margin)
    x: Values = at_positions(local.x.astype(np.float64), at, method=method).astype(np.float64, copy=False)
    if not np.isfinite(x).all():
        raise FeatureError(
            f"{np.count_nonzero(~np.isfinite(x))} intensities around the region that are not finite",
            expected="finite numbers",
            todo="repair the image, or exclude it",
        )
    if settings.rounding:
        x = np.floor(x + 0.5)
    real = tuple(slice(b, b + n) for b, n in zip(before, x.shape, strict=True))
    x = np.pad(x, list(zip(before, after, strict=True)), mode="symmetric")
    shape = np.ascontiguousarray(shape[tuple(slice(e[0], e[-1] + 1) for e in ends)])
    made = Prepared(x=x, real=real, margin=margin, shape=shape, inside=shape, spacing=spacing)
    return replace(made, inside=resegmented(x[made.box], shape, settings))


def resegmented(x: Values, shape: Mask, settings: RadiomicsSettings) -> Mask:
    """The part of the region whose intensities are kept: within the range first, then within the outlier limit."""
    inside = shape
    if settings.resegment is not None:
        low, high = settings.resegment
        inside = inside & (x >= (-np.inf if low is None else low)) & (x <= (np.inf if high is None else high))
    if settings.outliers is not None and inside.any():
        values = x[inside]
        inside = inside & (np.abs(x - values.mean()) <= settings.outliers * values.std())
    if not inside.any():
        values = x[shape]
        raise _empty(
            len(values),
            f"with intensities from {values.min():g} to {values.max():g}, none of which re-segmentation to "
            f"{settings.resegment} leaves",
            "widen resegment, or exclude this image",
        )
    return inside


def _grid(crop: Crop, settings: RadiomicsSettings, anchor: Anchor) -> tuple[Crop, Positions, tuple[float, ...]]:
    """The crop cut to what is needed, where the new voxels lie in it along x, y, z, and their spacing."""
    own = tuple(float(s) for s in crop.frame.spacing)
    side = settings.spacing_mm
    spacing = own if side is None else (side, side, own[2] if settings.in_plane else side)
    ends = [np.flatnonzero(crop.inside.any(axis=tuple(b for b in range(3) if b != a))) for a in (2, 1, 0)]
    margin = _margin(settings, spacing)[::-1]
    whole = new_grid(crop.frame, spacing)[0] if anchor == "image" else None
    more = reach(_method(settings)) + 1
    slices, positions = [], []
    for axis in range(3):
        first, last, n = int(ends[axis][0]), int(ends[axis][-1]), crop.frame.shape[axis]
        ratio = spacing[axis] / own[axis]
        if whole is not None:
            at = whole[axis] - first
        else:
            at = _even(last - first + 1, ratio, margin[axis] + 2)
        wide = (margin[axis] + 1) * ratio + 1e-6
        at = at[(at >= -0.5 - wide) & (at <= last - first + 0.5 + wide)]
        at = at[(at >= -0.5 - first - 1e-6) & (at <= n - 0.5 - first + 1e-6)]
        lo = max(int(np.floor(at[0])) - more, -first)
        hi = min(int(np.ceil(at[-1])) + more, n - 1 - first)
        slices.append(slice(first + lo, first + hi + 1))
        positions.append(at - lo)
    cut = tuple(reversed(slices))
    return replace(crop, x=crop.x[cut], inside=crop.inside[cut]), positions, spacing


def _even(size: int, ratio: float, margin: int) -> npt.NDArray[np.float64]:
    """Positions `ratio` apart whose middle is that of `size` voxels from 0, `margin` beyond them on either side."""
    count = max(1, int(np.ceil(size / ratio - 1e-6))) + 2 * margin
    made: npt.NDArray[np.float64] = np.round((np.arange(count) - (count - 1) / 2) * ratio + (size - 1) / 2, 9)
    return made


def _around(
    positions: Positions, ends: list[npt.NDArray[np.intp]], margin: Margin
) -> tuple[Positions, list[int], list[int]]:
    """Positions of the box of the resampled region with its margin, and how much of it lies beyond the image."""
    at, before, after = [], [], []
    for axis in range(3):
        known = positions[2 - axis]
        first, last = int(ends[axis][0]), int(ends[axis][-1])
        lo, hi = max(first - margin[axis], 0), min(last + margin[axis], len(known) - 1)
        before.append(margin[axis] - (first - lo))
        after.append(margin[axis] - (hi - last))
        at.append(known[lo : hi + 1])
    return at[::-1], before, after


def _method(settings: RadiomicsSettings) -> Method:
    return cast(Method, settings.interpolation)


def _empty(voxels: int, what: str, todo: str) -> FeatureError:
    return FeatureError(f"a region of {voxels} voxels, {what}", expected="a region that can be measured", todo=todo)
