"""Stain and colour of the tissue of a tile."""

from __future__ import annotations

import numpy as np

from phenolens.features.pathomics.population import statistics
from phenolens.features.pathomics.scene import Scene

_CHANNELS: dict[str, tuple[str, ...]] = {
    "haematoxylin": ("mean", "sd", "p10", "p50", "p90"),
    "eosin": ("mean", "sd", "p10", "p50", "p90"),
    "residual": ("sd",),
    "density": ("mean", "sd"),
    "saturation": ("mean", "sd"),
}

NAMES = (
    "tissue_share",
    "haematoxylin_share",
    *(f"tissue_{channel}_{statistic}" for channel, kinds in _CHANNELS.items() for statistic in kinds),
)


def measure(scene: Scene) -> dict[str, float]:
    """Statistics over tissue pixels, keyed by `NAMES`: stains and density in OD, saturation and shares in 0 to 1.

    `haematoxylin_share` is mean haematoxylin over mean haematoxylin plus mean eosin. `tissue_residual_sd` is large
    where part of the tissue has a colour that neither stain has (pigment, a third stain, ink). Its mean is left
    out: the white of a scanner and the shade of a site's stains move it most. Everything is 0 without tissue.
    """
    out = {"tissue_share": float(scene.tissue.mean(dtype=np.float64))}
    for channel, kinds in _CHANNELS.items():
        image = getattr(scene, channel)
        seen = image[scene.tissue]
        for kind, number in statistics(seen, kinds).items():
            out[f"tissue_{channel}_{kind}"] = number
    both = out["tissue_haematoxylin_mean"] + out["tissue_eosin_mean"]
    out["haematoxylin_share"] = out["tissue_haematoxylin_mean"] / both if both > 0 else 0.0
    return out
