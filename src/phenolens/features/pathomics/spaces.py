"""White spaces in tissue: vacuoles, gland lumens and their relation to nuclei."""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi
from scipy.spatial import cKDTree

from phenolens.features.pathomics.scene import Scene
from phenolens.features.pathomics.shape import Nuclei

_VACUOLE_UM2 = (4.0, 100.0)
_LUMEN_UM2 = (100.0, 20_000.0)
_LINING_UM = 12.0

NAMES = (
    "space_share",
    "vacuole_share",
    "vacuoles_per_mm2",
    "lumen_share",
    "lumens_per_mm2",
    "lumen_area_um2_mean",
    "lumen_lining_share",
)


def measure(scene: Scene, nuclei: Nuclei) -> dict[str, float]:
    """Spaces enclosed by tissue, keyed by `NAMES`; spaces that touch the tile's border are background and left out.

    Vacuoles are spaces of 4 to 100 um², lumens of 100 to 20,000 um². Shares are of tissue plus enclosed spaces,
    counts per mm² of the same; `lumen_lining_share` is the share of nuclei with their centre within 12 um of a lumen.
    Without tissue or spaces all are 0.
    """
    out = dict.fromkeys(NAMES, 0.0)
    spaces, count = ndi.label(~scene.tissue)
    if count == 0 or not scene.tissue.any():
        return out
    area = np.bincount(spaces.ravel(), minlength=count + 1) * scene.mpp**2
    for edge in (spaces[0], spaces[-1], spaces[:, 0], spaces[:, -1]):
        area[edge] = 0.0
    area[0] = 0.0
    vacuole = (area >= _VACUOLE_UM2[0]) & (area < _VACUOLE_UM2[1])
    lumen = (area >= _LUMEN_UM2[0]) & (area < _LUMEN_UM2[1])
    whole = scene.tissue_mm2 * 1e6 + area.sum()
    out["space_share"] = float(area.sum() / whole)
    out["vacuole_share"] = float(area[vacuole].sum() / whole)
    out["vacuoles_per_mm2"] = float(vacuole.sum() / whole * 1e6)
    out["lumen_share"] = float(area[lumen].sum() / whole)
    out["lumens_per_mm2"] = float(lumen.sum() / whole * 1e6)
    if lumen.any():
        out["lumen_area_um2_mean"] = float(area[lumen].mean())
        if len(nuclei.centres):
            points = (np.argwhere(lumen[spaces]) + 0.5) * scene.mpp
            distance = cKDTree(points).query(nuclei.centres, distance_upper_bound=_LINING_UM)[0]
            out["lumen_lining_share"] = float(np.isfinite(distance).mean())
    return out
