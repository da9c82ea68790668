"""Per-nucleus values summed up for a tile, under the names that a study sees."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phenolens.features.pathomics.scene import Scene
from phenolens.features.pathomics.shape import Nuclei

_STATISTICS: dict[str, tuple[str, ...]] = {
    "nucleus_area_um2": ("mean", "sd", "p10", "p50", "p90"),
    "nucleus_cell_area_ratio": ("mean", "sd"),
    "nucleus_max_caliper_um": ("mean", "sd", "p90"),
    "nucleus_min_caliper_um": ("mean", "sd"),
    "nucleus_major_axis_um": ("mean", "sd"),
    "nucleus_minor_axis_um": ("mean", "sd"),
    "nucleus_elongation": ("mean", "sd", "p90"),
    "nucleus_eccentricity": ("mean",),
    "nucleus_circularity": ("mean", "sd", "p10"),
    "nucleus_solidity": ("mean", "sd", "p10"),
    "nucleus_haematoxylin": ("mean", "sd", "p90"),
    "nucleus_haematoxylin_sd": ("mean", "sd"),
    "nucleus_haematoxylin_skewness": ("mean",),
    "nucleus_rim_minus_core": ("mean", "sd"),
    "nucleus_eosin": ("mean",),
    "cytoplasm_haematoxylin": ("mean",),
    "cytoplasm_eosin": ("mean",),
}
_QUANTILES = {"p10": 10, "p50": 50, "p90": 90}

NAMES = (
    "nuclei_present",
    "cell_count",
    "cells_per_mm2",
    "nuclear_area_share",
    *(f"{value}_{statistic}" for value, kinds in _STATISTICS.items() for statistic in kinds),
)


def summarise(nuclei: Nuclei, nuclear_px: int, scene: Scene) -> dict[str, float]:
    """Counts and statistics of the nuclei of a tile, keyed by `NAMES`.

    A nucleus at the border counts half and is left out of the statistics, for its shape is cut off. Where no whole
    nucleus is seen, `nuclei_present` is 0 and every statistic is 0.
    """
    count = float(np.where(nuclei.whole, 1.0, 0.5).sum())
    out = {
        "nuclei_present": float(nuclei.whole.any()),
        "cell_count": count,
        "cells_per_mm2": count / scene.tissue_mm2 if scene.tissue_mm2 > 0 else 0.0,
        "nuclear_area_share": nuclear_px / max(int(np.count_nonzero(scene.tissue)), 1),
    }
    for value, kinds in _STATISTICS.items():
        seen = nuclei.table[value.removeprefix("nucleus_")][nuclei.whole]
        for kind, number in statistics(seen, kinds).items():
            out[f"{value}_{kind}"] = number
    return out


def statistics(values: npt.NDArray[np.floating], kinds: tuple[str, ...]) -> dict[str, float]:
    """The statistics named in `kinds` (mean, sd, p10, p50, p90) of `values`; all 0 when there are none."""
    if values.size == 0:
        return dict.fromkeys(kinds, 0.0)
    out = {}
    ordered = np.sort(values, axis=None) if any(kind in _QUANTILES for kind in kinds) else values
    for kind in kinds:
        if kind == "mean":
            out[kind] = float(values.mean(dtype=np.float64))
        elif kind == "sd":
            out[kind] = float(values.std(dtype=np.float64))
        else:
            out[kind] = _of_sorted(ordered, _QUANTILES[kind])
    return out


def _of_sorted(ordered: npt.NDArray[np.floating], percent: int) -> float:
    """The percentile of sorted values, linear between neighbours as `numpy.percentile`."""
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return float(ordered[low] + (place - low) * (ordered[high] - ordered[low]))
