"""Texture of a tile: Haralick statistics of the stains and the structure tensor of their density."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage as ndi

from phenolens.core.types import FloatArray
from phenolens.features.pathomics.scene import Mask, Scene, block_mean, smooth

LEVELS = 16
"""Grey levels of the co-occurrence matrices."""

_GLCM = (("haematoxylin", 1.2, 1.0), ("haematoxylin", 1.2, 4.0), ("eosin", 0.8, 2.0))
_HARALICK = ("contrast", "homogeneity", "energy", "correlation", "entropy")
_GRADIENT_UM = 1.0
_SCALES_UM = (5, 15, 40)
_ANGLES = 12

NAMES = (
    *(f"texture_{stain}_{distance:g}um_{value}" for stain, _, distance in _GLCM for value in _HARALICK),
    "gradient_mean",
    "orientation_entropy",
    *(f"coherence_{scale}um" for scale in _SCALES_UM),
    "coherence_tile",
    "two_directions_tile",
)


def measure(scene: Scene) -> dict[str, float]:
    """Texture over the tissue of a tile, keyed by `NAMES`; all 0 without tissue."""
    out: dict[str, float] = {}
    for stain, top, distance in _GLCM:
        levels = quantise(getattr(scene, stain), top, scene.tissue)
        for name, number in haralick(cooccurrence(levels, max(1, round(distance / scene.mpp)))).items():
            out[f"texture_{stain}_{distance:g}um_{name}"] = number
    return out | _orientation(scene)


def quantise(image: FloatArray, top: float, tissue: Mask) -> npt.NDArray[np.intp]:
    """Levels 0 to 15 of values in 0 to `top` (clipped), and 16 outside tissue."""
    levels: npt.NDArray[np.intp] = np.minimum(image * np.float32(LEVELS / top), LEVELS - 1).astype(np.intp)
    levels[~tissue] = LEVELS
    return levels


def cooccurrence(levels: npt.NDArray[np.intp], distance_px: int) -> npt.NDArray[np.float64]:
    """Grey-level co-occurrence of the tissue, (16, 16), symmetric, summing to 1 (or all 0), over four directions.

    Pairs lie `distance_px` apart at 0, 45, 90 and 135 degrees, diagonals at the rounded components.
    """
    side = LEVELS + 1
    counts = np.zeros(side * side)
    slant = round(distance_px * np.sqrt(0.5))
    height, width = levels.shape
    for down, right in ((0, distance_px), (distance_px, 0), (slant, slant), (slant, -slant)):
        if down >= height or abs(right) >= width:
            continue
        one = levels[: height - down, max(-right, 0) : width - max(right, 0)]
        two = levels[down:, max(right, 0) : width - max(-right, 0)]
        counts += np.bincount((one * side + two).ravel(), minlength=side * side)
    matrix = counts.reshape(side, side)[:LEVELS, :LEVELS]
    matrix = matrix + matrix.T
    total = matrix.sum()
    return matrix / total if total > 0 else matrix


def haralick(matrix: npt.NDArray[np.float64]) -> dict[str, float]:
    """Contrast, homogeneity (inverse difference moment), energy, correlation and entropy (bits) of a co-occurrence.

    Haralick et al., IEEE Trans Syst Man Cybern 3 (1973); energy is the root of the angular second moment. An empty
    matrix gives 0 throughout, a constant image correlation 1.
    """
    if matrix.sum() <= 0:
        return dict.fromkeys(_HARALICK, 0.0)
    level = np.arange(len(matrix))
    gap = (level[:, None] - level[None, :]) ** 2
    mean = float((matrix.sum(axis=1) * level).sum())
    variance = float((matrix.sum(axis=1) * (level - mean) ** 2).sum())
    covariance = float((matrix * np.outer(level - mean, level - mean)).sum())
    seen = matrix[matrix > 0]
    return {
        "contrast": float((matrix * gap).sum()),
        "homogeneity": float((matrix / (1 + gap)).sum()),
        "energy": float(np.sqrt((matrix**2).sum())),
        "correlation": covariance / variance if variance > 1e-12 else 1.0,
        "entropy": float(-(seen * np.log2(seen)).sum()),
    }


def _orientation(scene: Scene) -> dict[str, float]:
    """Structure tensor of the optical density (Bigun and Granlund, 1987), gradients at 1 um, averaged over 5 to 40 um.

    Coherence is the length of the doubled-angle vector over the energy, 1 where all gradients are parallel; averages
    are weighted by energy. `orientation_entropy` (0 to 1) is that of 12 directions at 5 um; `coherence_tile` and
    `two_directions_tile` take all directions of the tile together, doubled and times four.
    """
    names = ("gradient_mean", "orientation_entropy", *(f"coherence_{s}um" for s in _SCALES_UM))
    flat = dict.fromkeys((*names, "coherence_tile", "two_directions_tile"), 0.0)
    if not scene.tissue.any():
        return flat
    energy, cosine, sine, mpp = _tensor(scene)
    out = {"gradient_mean": float(np.sqrt(energy).mean(dtype=np.float64))}
    for scale in _SCALES_UM:
        at = [ndi.uniform_filter(part, max(1, round(scale / mpp)), mode="reflect") for part in (energy, cosine, sine)]
        length = np.hypot(at[1], at[2])
        if scale == _SCALES_UM[0]:
            out |= _whole(at[1], at[2], length)
        total = at[0].sum(dtype=np.float64)
        out[f"coherence_{scale}um"] = float(length.sum(dtype=np.float64) / total) if total > 1e-9 else 0.0
    return flat | out


def _tensor(scene: Scene) -> tuple[FloatArray, FloatArray, FloatArray, float]:
    """Energy and doubled-angle components of the gradient of density on pixels of about 2 um, in OD² per um²."""
    fine = max(1, round(_GRADIENT_UM / scene.mpp))
    density = smooth(block_mean(scene.density, fine), _GRADIENT_UM / (scene.mpp * fine))
    step = scene.mpp * fine
    across = (density[1:-1, 2:] - density[1:-1, :-2]) / np.float32(2 * step)
    down = (density[2:, 1:-1] - density[:-2, 1:-1]) / np.float32(2 * step)
    coarse = max(1, round(2.0 / step))
    parts = (across**2 + down**2, across**2 - down**2, 2 * across * down)
    energy, cosine, sine = (block_mean(part, coarse) for part in parts)
    return energy, cosine, sine, step * coarse


def _whole(cosine: FloatArray, sine: FloatArray, length: FloatArray) -> dict[str, float]:
    """Spread of the local directions over the tile, each weighted by its coherent energy."""
    weight = length.ravel().astype(np.float64)
    total = weight.sum()
    if total <= 1e-9:
        return {}
    doubled = cosine.ravel().astype(np.float64) + 1j * sine.ravel()
    turn = np.angle(doubled) / (2 * np.pi) % 1.0
    share = np.bincount((turn * _ANGLES).astype(np.intp) % _ANGLES, weights=weight, minlength=_ANGLES) / total
    share = share[share > 0]
    return {
        "orientation_entropy": float(-(share * np.log(share)).sum() / np.log(_ANGLES)),
        "coherence_tile": float(abs(doubled.sum()) / total),
        "two_directions_tile": float(abs((doubled**2 / np.maximum(weight, 1e-12)).sum()) / total),
    }
