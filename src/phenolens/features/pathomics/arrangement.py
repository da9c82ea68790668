"""How nuclei lie to each other: distances, clustering, and how far their axes agree."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from phenolens.features.pathomics.shape import Nuclei, Values

_BANDS_UM = ((0, 15), (15, 30), (30, 60))
_NEIGHBOURS = 5
_DENSITY_UM = 25.0

NAMES = (
    "neighbour_distance_um_mean",
    "neighbour_distance_um_sd",
    "neighbour_distance_um_p10",
    "clark_evans_index",
    "local_density_cv",
    "axis_agreement_neighbours_mean",
    "axis_agreement_neighbours_sd",
    "axis_agreement_tile",
    "axis_two_directions_tile",
    *(f"axis_correlation_{near}_{far}um" for near, far in _BANDS_UM),
)


def measure(nuclei: Nuclei, tissue_mm2: float) -> dict[str, float]:
    """Arrangement of the nuclei of a tile, keyed by `NAMES`; what cannot be measured on so few nuclei is 0.

    Axes are doubled angles weighted by elongation (round nuclei have none), so all are free of the tile's orientation:
    `axis_agreement_*` is the mean resultant length (Mardia and Jupp, Directional Statistics, 2000) among five nearest
    neighbours or in the tile, 1 when parallel; `axis_two_directions_tile` the same of the angles times four, high also
    for two perpendicular directions; `axis_correlation_*` the mean cosine of the doubled angle between two nuclei at
    that distance, which falls off with distance in whorls and stays high in fascicles. `clark_evans_index` is the mean
    nearest-neighbour distance over that of a random pattern (Clark and Evans, Ecology 1954): below 1 clustered.
    `local_density_cv` is the coefficient of variation of neighbour counts within 25 um.
    """
    out = dict.fromkeys(NAMES, 0.0)
    centres, axis = nuclei.centres, np.where(nuclei.whole[:, None], nuclei.axis, 0.0)
    out |= _directions(axis)
    if len(centres) < 2:
        return out
    tree = cKDTree(centres)
    order = min(_NEIGHBOURS, len(centres) - 1) + 1
    distance, index = tree.query(centres, k=order)
    nearest = distance[:, 1]
    out["neighbour_distance_um_mean"] = float(nearest.mean())
    out["neighbour_distance_um_sd"] = float(nearest.std())
    out["neighbour_distance_um_p10"] = float(np.percentile(nearest, 10))
    if tissue_mm2 > 0:
        out["clark_evans_index"] = float(nearest.mean() * 2 * np.sqrt(len(centres) / (tissue_mm2 * 1e6)))
    out |= _local_agreement(axis, index)
    out |= _by_distance(tree, centres, axis)
    return out


def _directions(axis: Values) -> dict[str, float]:
    """Resultant lengths of all axes and of their doubles, weighted by elongation."""
    weight = np.hypot(axis[:, 0], axis[:, 1])
    if weight.sum() <= 0:
        return {}
    doubled = axis[:, 0] + 1j * axis[:, 1]
    again = doubled**2 / np.maximum(weight, 1e-12)
    return {
        "axis_agreement_tile": float(abs(doubled.sum()) / weight.sum()),
        "axis_two_directions_tile": float(abs(again.sum()) / weight.sum()),
    }


def _local_agreement(axis: Values, index: npt.NDArray[np.intp]) -> dict[str, float]:
    """Mean and spread over nuclei of the resultant length among a nucleus and its nearest neighbours."""
    weight = np.hypot(axis[:, 0], axis[:, 1])
    total = weight[index].sum(axis=1)
    resultant = np.hypot(axis[index, 0].sum(axis=1), axis[index, 1].sum(axis=1))
    seen = total > 0
    if not seen.any():
        return {}
    agreement = resultant[seen] / total[seen]
    return {
        "axis_agreement_neighbours_mean": float(agreement.mean()),
        "axis_agreement_neighbours_sd": float(agreement.std()),
    }


def _by_distance(tree: cKDTree, centres: Values, axis: Values) -> dict[str, float]:
    """Axis correlation by distance band, and the variation of the count of neighbours."""
    pairs = tree.query_pairs(_BANDS_UM[-1][1], output_type="ndarray")
    first, second = pairs[:, 0], pairs[:, 1]
    apart = np.linalg.norm(centres[first] - centres[second], axis=1)
    near = apart <= _DENSITY_UM
    neighbours = np.bincount(pairs[near].ravel(), minlength=len(centres))
    out = {"local_density_cv": float(neighbours.std() / neighbours.mean()) if neighbours.any() else 0.0}
    weight = np.hypot(axis[:, 0], axis[:, 1])
    shared = weight[first] * weight[second]
    cosine = (axis[first] * axis[second]).sum(axis=1)
    for low, high in _BANDS_UM:
        band = (apart > low) & (apart <= high)
        total = shared[band].sum()
        if total > 0:
            out[f"axis_correlation_{low}_{high}um"] = float(cosine[band].sum() / total)
    return out
