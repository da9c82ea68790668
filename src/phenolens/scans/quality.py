"""Is a scan fit to be measured: how large the region, how coarse the grid, how much of it cut off, flat or noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from phenolens.core.errors import ImageError
from phenolens.core.types import FloatArray
from phenolens.scans._planes import picture
from phenolens.scans.geometry import Roi
from phenolens.scans.sampling import Readable, Sample, sample

__all__ = ["ScanQualitySettings", "judge", "measure", "picture"]

_MARGIN_MM = 5.0
_LAPLACIAN = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
_MOST_LEVELS = 1000


@dataclass(frozen=True, kw_only=True)
class ScanQualitySettings:
    """Thresholds a region on a scan must meet; None switches one off.

    min_voxels, min_mm3, min_slices: size of the region, and on how many planes it lies. max_spacing_mm: the largest
    spacing. max_anisotropy: largest by smallest spacing. max_clipped: share of the region at the scan's lowest or
    highest intensity. max_edge: share of the region in the outermost voxels of the scan, where it is cut off.
    min_snr: see `measure`. min_levels: different intensities in the region. max_nan: share of it without a value.
    """

    min_voxels: int | None = 27
    min_mm3: float | None = None
    min_slices: int | None = 1
    max_spacing_mm: float | None = None
    max_anisotropy: float | None = None
    max_clipped: float | None = 0.5
    max_edge: float | None = 0.5
    min_snr: float | None = None
    min_levels: int | None = 2
    max_nan: float | None = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise ValueError(f"{name} is {value!r}; it is a number that is not negative")
            if name in ("max_clipped", "max_edge", "max_nan") and value > 1:
                raise ValueError(f"{name} is {value}; it is a share, between 0 and 1")


def measure(scan: Readable, roi: Roi, *, seen: Sample | None = None) -> dict[str, float]:
    """The figures of one region on one scan.

    voxels, mm3; slices (planes it lies on, along the coarsest axis); spacing_mm (largest) and anisotropy; clipped
    (share at the lowest or highest intensity of the scan); edge (share in the outermost voxels of the scan, along axes
    of more than one voxel); levels (different intensities, counted to 1000); nan; and snr, where there is noise: the SD
    of the intensities in the region and 5 mm around it by that of the noise (Immerkær, CVIU 64, 1996), 1 for nothing
    but noise, whatever the offset and gain of the intensities. The scan's limits come from a `sample` of it (`seen`, or
    made here) and from the region.
    """
    lo, shape = roi.box(_MARGIN_MM)
    x, inside = scan.read(lo, shape), roi.within(lo, shape)
    values = x[inside]
    known = values[np.isfinite(values)]
    spacing = np.array(roi.frame.spacing)
    coarsest = 2 if np.ptp(spacing) < 1e-6 * spacing.max() else int(spacing.argmax())
    around = tuple(a for a in range(3) if a != 2 - coarsest)
    snr = _signal_to_noise(x)
    figures = {
        "voxels": float(roi.voxels),
        "mm3": roi.mm3,
        "slices": float(roi.inside.any(axis=around).sum()),
        "spacing_mm": float(spacing.max()),
        "anisotropy": float(spacing.max() / spacing.min()),
        "clipped": _clipped(known, (seen or sample(scan)).x),
        "edge": _on_edge(roi),
        "levels": float(min(len(np.unique(known)), _MOST_LEVELS)),
        "nan": 1 - len(known) / len(values),
        **({} if snr is None else {"snr": snr}),
    }
    return {name: round(value, 6) for name, value in figures.items()}


def judge(figures: dict[str, float], settings: ScanQualitySettings, where: str = "") -> None:
    """Raise ImageError for the first figure beyond its threshold, with both numbers and the setting to change."""
    rules = (
        ("nan", settings.max_nan, "max_nan", "of the region without a finite value"),
        ("voxels", settings.min_voxels, "min_voxels", "voxels in the region"),
        ("mm3", settings.min_mm3, "min_mm3", "mm3 in the region"),
        ("slices", settings.min_slices, "min_slices", "planes with the region"),
        ("levels", settings.min_levels, "min_levels", "different intensities in the region"),
        ("spacing_mm", settings.max_spacing_mm, "max_spacing_mm", "mm between voxels"),
        ("anisotropy", settings.max_anisotropy, "max_anisotropy", "times as coarse along one axis as along another"),
        ("clipped", settings.max_clipped, "max_clipped", "of the region at the limits of the scan's intensities"),
        ("edge", settings.max_edge, "max_edge", "of the region at the edge of the scan"),
        ("snr", settings.min_snr, "min_snr", "signal to noise (1 is nothing but noise)"),
    )
    for name, limit, setting, words in rules:
        if limit is None or name not in figures:
            continue
        least = setting.startswith("min")
        if figures[name] < limit if least else figures[name] > limit:
            raise ImageError(
                f"{figures[name]:.4g} {words}",
                expected=f"at {'least' if least else 'most'} {limit:g} (quality.{setting})",
                todo=f"look at the scan and its mask, or change quality.{setting} (null switches it off)",
                where=where,
            )


def _clipped(known: FloatArray, seen: FloatArray) -> float:
    if not len(known):
        return 0.0
    rest = seen[np.isfinite(seen)]
    low = min(known.min(), rest.min(initial=np.inf))
    high = max(known.max(), rest.max(initial=-np.inf))
    return float(((known <= low) | (known >= high)).mean()) if low < high else 0.0


def _on_edge(roi: Roi) -> float:
    rim = np.zeros(roi.inside.shape, dtype=np.bool_)
    for axis, (lo, size, all_of_it) in enumerate(zip(roi.lo, roi.size, roi.frame.shape, strict=True)):
        if all_of_it == 1:
            continue
        planes = np.moveaxis(rim, 2 - axis, 0)
        if lo == 0:
            planes[0] = True
        if lo + size == all_of_it:
            planes[-1] = True
    return float((rim & roi.inside).sum() / roi.voxels)


def _signal_to_noise(x: FloatArray) -> float | None:
    """None where a plane is too small to tell, values are missing, or there is no noise."""
    if min(x.shape[1:]) < 3 or not np.isfinite(x).all():
        return None
    centred = x - x.mean(dtype=np.float64).astype(np.float32)
    change = ndimage.correlate(centred, _LAPLACIAN[None])[:, 1:-1, 1:-1]
    noise = float(np.sqrt(np.pi / 2) / 6 * np.abs(change).mean(dtype=np.float64))
    spread = float(centred.std(dtype=np.float64))
    return spread / noise if noise > 1e-6 * spread and spread > 0 else None
