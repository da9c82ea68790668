"""Encoder `volume`: the intensities around the region on one grid for every image, for networks in 3-D or 2.5-D."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize

from phenolens.core.errors import FeatureError
from phenolens.core.types import FloatArray, Frame
from phenolens.scans.geometry import Crop, Mask, axes, cropped, to_index, to_mm
from phenolens.scans.resample import onto

Cut = tuple[FloatArray, Mask, Frame]
"""x (c, z, y, x), the region (z, y, x) on the same grid, and the frame of the grid in mm."""
_SLICES = 32
"""Slices of a window that are made at once."""
_WHOLE_MM = 10_000.0
"""A margin that reaches every edge of every scan."""


@dataclass(frozen=True, kw_only=True)
class VolumeEncoder:
    """A window of `size` voxels (x, y, z, or one number) of `spacing_mm`, centred on the middle of the region's box.

    Axes are turned by quarters and flipped so that x runs to the patient's left, y to the back and z to the head as
    nearly as they can without oblique interpolation; so images of one patient, and patients, lie alike. Intensities are
    smoothed where the new voxels are larger than the old ones (Gaussian, σ of half the excess), then interpolated
    linearly; outside the image stands `fill`. What of a region lies beyond the window is cut off; results/images.csv
    says how much stays (share_kept). `size: null` takes the whole image, for segmentation.

    `mode: 2.5d` takes `size[2]` slices around the one with most of the region and makes channels of them; slices stay
    slices, whatever way they were acquired. `mask_channel` adds the share of each voxel that lies in the region as last
    channel. A region smaller than a voxel keeps the voxel it fills most.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "intensities around the region on one grid, for networks in 3-D or 2.5-D"
    reads: ClassVar[str] = "scan"
    makes: ClassVar[str] = "volume"
    licence: ClassVar[str] = "Apache-2.0 (this package)"
    place: ClassVar[str] = "cpu"
    mpp: ClassVar[float | None] = None
    size_px: ClassVar[int | None] = None
    names: ClassVar[tuple[str, ...] | None] = None

    spacing_mm: float | tuple[float, float, float] = 2.0
    size: int | tuple[int, int, int] | None = 32
    mode: Literal["3d", "2.5d"] = "3d"
    mask_channel: bool = False
    fill: float = 0.0

    def __post_init__(self) -> None:
        for name in ("spacing_mm", "size"):
            given = getattr(self, name)
            if isinstance(given, list | tuple):
                object.__setattr__(self, name, tuple(given))
                if len(given) != 3:
                    raise ValueError(f"{name} must be one number or three (x, y, z), not {list(given)}")
        if not all(np.isfinite(s) and s > 0 for s in self._spacing):
            raise ValueError(f"spacing_mm must be above 0, not {self.spacing_mm}")
        if self.size is not None and not all(n == int(n) and n >= 1 for n in _three(self.size)):
            raise ValueError(f"size must be whole numbers of at least 1, not {self.size}")
        if self.mode not in ("3d", "2.5d"):
            raise ValueError(f"mode must be 3d or 2.5d, not {self.mode!r}")
        if self.mode == "2.5d" and (self.size is None or _three(self.size)[2] % 2 == 0):
            raise ValueError("mode 2.5d needs a size whose third number, the slices, is odd")
        if not np.isfinite(self.fill):
            raise ValueError(f"fill must be a finite number, not {self.fill}")

    @property
    def _spacing(self) -> tuple[float, float, float]:
        x, y, z = (float(s) for s in _three(self.spacing_mm))
        return x, y, z

    @property
    def margin_mm(self) -> float:
        """mm around the region that values depend on: half the window, and what smoothing and interpolation reach."""
        if self.size is None:
            return _WHOLE_MM
        sides = [(n - 1) / 2 * s for n, s in zip(_three(self.size), self._spacing, strict=True)]
        return float(max(sides) + 1.5 * max(self._spacing))

    def load(self, device: str) -> Callable[[Crop], Cut]:
        """A function from a crop to its window; `device` makes no difference."""
        del device
        return self.cut

    def cut(self, crop: Crop) -> Cut:
        """The window of one crop. Raises FeatureError where the crop has no region to be centred on."""
        if self.size is not None and not crop.inside.any():
            raise FeatureError(
                "a crop without a region", expected="a region to centre the window on", todo="give the scan a mask"
            )
        order, turned = _upright(crop.frame, keep_slices=self.mode == "2.5d")
        target = self._target(crop, order, turned)
        sigma = [max(0.0, (new / crop.frame.spacing[a] - 1) / 2) for a, new in zip(order, self._spacing, strict=True)]
        by_axis = [sigma[order.index(a)] for a in (2, 1, 0)]
        x = _onto(crop.x, by_axis, crop.frame, target, self.fill)
        share = _onto(crop.inside, by_axis, crop.frame, target, 0.0)
        inside = share >= 0.5
        if not inside.any() and share.any():
            inside[np.unravel_index(int(share.argmax()), share.shape)] = True
        return self._channels(x, share, inside, target)

    def _target(self, crop: Crop, order: tuple[int, ...], turned: Frame) -> Frame:
        """The frame of the window, or for 2.5-D of all its slices."""
        if self.size is None:
            whole = [crop.frame.shape[a] * crop.frame.spacing[a] for a in order]
            shape = tuple(max(1, int(np.ceil(w / s - 1e-6))) for w, s in zip(whole, self._spacing, strict=True))
            middle = (np.array(crop.frame.shape) - 1) / 2
        else:
            shape = tuple(int(n) for n in _three(self.size))
            middle = _middle(crop.inside)
            if self.mode == "2.5d":
                middle[2] = int(crop.inside.sum((1, 2)).argmax())
        window = replace(turned, shape=shape, spacing=self._spacing, origin=(0.0, 0.0, 0.0))
        corner = to_mm(crop.frame, middle) - to_mm(window, (np.array(shape) - 1) / 2)
        return replace(window, origin=tuple(float(v) for v in corner))

    def _channels(self, x: npt.NDArray[Any], share: npt.NDArray[Any], inside: Mask, frame: Frame) -> Cut:
        made = x.astype(np.float32, copy=False)[None]
        if self.mode == "2.5d":
            middle = len(x) // 2
            origin = tuple(float(v) for v in to_mm(frame, (0, 0, middle)))
            frame = replace(frame, shape=(*frame.shape[:2], 1), origin=origin)
            made, share, inside = made.swapaxes(0, 1), share[middle][None], inside[middle][None]
        if self.mask_channel:
            made = np.concatenate([made, share.astype(np.float32, copy=False)[None]])
        return np.ascontiguousarray(made), np.ascontiguousarray(inside), frame


def _three(value: Any) -> Sequence[Any]:
    return value if isinstance(value, tuple) else (value,) * 3


def _middle(inside: Mask) -> npt.NDArray[np.float64]:
    """The middle of the box of a mask, as an index x, y, z."""
    ends = [np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))[[0, -1]] for axis in (2, 1, 0)]
    middle: npt.NDArray[np.float64] = np.array(ends, dtype=np.float64).mean(1)
    return middle


def _onto(
    x: npt.NDArray[Any], sigma: Sequence[float], frame: Frame, target: Frame, fill: float
) -> npt.NDArray[np.float32]:
    """x (z, y, x), smoothed, on the grid of `target`; in slabs of the target, so that little more than x is held."""
    made = np.empty(target.shape[::-1], dtype=np.float32)
    width, height, depth = target.shape
    reach = np.array([int(3.0 * s + 0.5) + 2 for s in sigma[::-1]])
    for k in range(0, depth, _SLICES):
        slab = cropped(target, (0, 0, k), (width, height, min(_SLICES, depth - k)))
        corners = np.array(np.meshgrid(*([0, n - 1] for n in slab.shape))).reshape(3, -1).T
        at = to_index(frame, to_mm(slab, corners))
        lo = np.clip(np.floor(at.min(0)).astype(int) - reach, 0, np.array(frame.shape) - 1)
        hi = np.clip(np.ceil(at.max(0)).astype(int) + reach + 1, lo + 1, frame.shape)
        part = x[tuple(slice(a, b) for a, b in zip(lo[::-1], hi[::-1], strict=True))]
        a, b, c = (int(v) for v in lo)
        w, h, d = (int(v) for v in hi - lo)
        smooth = _smoothed(part.astype(np.float32, copy=False), sigma)
        made[k : k + _SLICES] = onto(smooth, cropped(frame, (a, b, c), (w, h, d)), slab, method="linear", fill=fill)
    return made


def _smoothed(x: FloatArray, sigma: Sequence[float]) -> FloatArray:
    """Gaussian of σ voxels along z, y, x, cut at 3 σ; the edge continues outside."""
    if max(sigma) == 0:
        return x
    made: FloatArray = ndimage.gaussian_filter(x, sigma, mode="nearest", truncate=3.0)
    return made


def _upright(frame: Frame, *, keep_slices: bool) -> tuple[tuple[int, ...], Frame]:
    """Which axis of the frame becomes x, y and z, and the frame's axes in that order, pointing left, back and up.

    With `keep_slices` z stays z, and the two others keep the order of the patient's axes they are nearest to.
    """
    matrix = axes(frame)
    nearest, source = optimize.linear_sum_assignment(-np.abs(matrix))
    of_source = {int(a): int(p) for p, a in zip(nearest, source, strict=True)}
    order = sorted(of_source, key=lambda a: (keep_slices and a == 2, of_source[a]))
    columns = [matrix[:, a] * (1.0 if matrix[of_source[a], a] >= 0 else -1.0) for a in order]
    direction = tuple(float(v) for v in np.stack(columns, 1).ravel())
    return tuple(order), replace(frame, direction=direction)


plugin = VolumeEncoder
