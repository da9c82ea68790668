"""Morphological features of the IBSI-1 standard (reference manual 3.1): size, shape and spread of intensity in space.

The surface is the one of marching cubes (Lorensen and Cline 1987) on the mask, at half height. Volume, area, diameter
and the densities are those of the surface and its convex hull; axes are those of the voxel centres.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import FeatureError
from phenolens.features.radiomics import _autocorrelation, _enclosing
from phenolens.scans.geometry import Mask

Points = npt.NDArray[np.float64]

TAGS = MappingProxyType(
    {
        "morph_volume_RNU0": "morph_volume",
        "morph_approximate_volume_YEKZ": "morph_vol_approx",
        "morph_surface_area_C0JK": "morph_area_mesh",
        "morph_surface_to_volume_ratio_2PR5": "morph_av",
        "morph_compactness_1_SKGS": "morph_comp_1",
        "morph_compactness_2_BQWJ": "morph_comp_2",
        "morph_spherical_disproportion_KRCK": "morph_sph_dispr",
        "morph_sphericity_QCFX": "morph_sphericity",
        "morph_asphericity_25C7": "morph_asphericity",
        "morph_centre_of_mass_shift_KLMA": "morph_com",
        "morph_maximum_diameter_L0JK": "morph_diam",
        "morph_major_axis_length_TDIC": "morph_pca_maj_axis",
        "morph_minor_axis_length_P9VJ": "morph_pca_min_axis",
        "morph_least_axis_length_7J51": "morph_pca_least_axis",
        "morph_elongation_Q3CK": "morph_pca_elongation",
        "morph_flatness_N17B": "morph_pca_flatness",
        "morph_volume_density_aabb_PBX1": "morph_vol_dens_aabb",
        "morph_area_density_aabb_R59B": "morph_area_dens_aabb",
        "morph_volume_density_ombb_ZH1A": "morph_vol_dens_ombb",
        "morph_area_density_ombb_IQYR": "morph_area_dens_ombb",
        "morph_volume_density_aee_6BDE": "morph_vol_dens_aee",
        "morph_area_density_aee_RDD2": "morph_area_dens_aee",
        "morph_volume_density_mvee_SWZ1": "morph_vol_dens_mvee",
        "morph_area_density_mvee_BRI8": "morph_area_dens_mvee",
        "morph_volume_density_convex_hull_R3ER": "morph_vol_dens_conv_hull",
        "morph_area_density_convex_hull_7T7F": "morph_area_dens_conv_hull",
        "morph_integrated_intensity_99N0": "morph_integ_int",
        "morph_moran_i_N365": "morph_moran_i",
        "morph_geary_c_NPT7": "morph_geary_c",
    }
)
"""Name → its tag in the tables of reference values, in the order of the standard."""
NAMES: tuple[str, ...] = tuple(TAGS)


@dataclass(frozen=True, kw_only=True)
class Surface:
    """A closed surface of triangles: corners (n, 3) x, y, z in mm, their volume in mm3 and area in mm2."""

    corners: Points
    volume: float
    area: float


def morphology(x: npt.NDArray[np.float64], shape: Mask, inside: Mask, spacing: Sequence[float]) -> dict[str, float]:
    """All morphological features by name.

    x (z, y, x) are intensities, `shape` the morphological mask (the region as drawn), `inside` the intensity mask (what
    re-segmentation left), spacing x, y, z in mm. The values of x matter only where `inside`. Lengths are in mm.
    Raises FeatureError where a mask is empty or the region is flat, so that its axes or hull do not exist.
    """
    if not shape.any() or not inside.any():
        raise FeatureError(
            f"{np.count_nonzero(shape)} voxels in the region and {np.count_nonzero(inside)} after re-segmentation",
            expected="at least one voxel in both",
            todo="check the mask of this image, or widen resegment",
        )
    surface = mesh(shape, spacing)
    moran, geary = _autocorrelation.moran_and_geary(x, inside, spacing)
    at = _centres(shape, spacing)
    within = _centres(inside, spacing)
    values = x[inside]
    found = {
        **_of_surface(surface, int(np.count_nonzero(shape)) * float(np.prod(spacing))),
        "morph_centre_of_mass_shift_KLMA": _shift(at, within, values),
        **_of_axes(at, surface),
        **_of_hull(surface, shape),
        "morph_integrated_intensity_99N0": surface.volume * float(values.mean()),
        "morph_moran_i_N365": moran,
        "morph_geary_c_NPT7": geary,
    }
    return {name: found[name] for name in NAMES}


def mesh(shape: Mask, spacing: Sequence[float]) -> Surface:
    """The surface of a mask (z, y, x) by marching cubes at half height; spacing is x, y, z in mm."""
    from skimage.measure import marching_cubes

    padded = np.pad(shape, 1).astype(np.float32)
    found, faces, _, _ = marching_cubes(padded, 0.5, method="lorensen", allow_degenerate=True)
    corners: Points = (found[:, ::-1].astype(np.float64) - 1) * np.asarray(spacing, np.float64)
    a, b, c = (corners[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    volume = abs(float((a * normal).sum())) / 6
    return Surface(corners=corners, volume=volume, area=float(np.linalg.norm(normal, axis=1).sum()) / 2)


def _of_surface(surface: Surface, voxels_mm3: float) -> dict[str, float]:
    volume, area = surface.volume, surface.area
    dispersion = area / (36 * np.pi * volume**2) ** (1 / 3)
    return {
        "morph_volume_RNU0": volume,
        "morph_approximate_volume_YEKZ": voxels_mm3,
        "morph_surface_area_C0JK": area,
        "morph_surface_to_volume_ratio_2PR5": area / volume,
        "morph_compactness_1_SKGS": volume / (np.sqrt(np.pi) * area**1.5),
        "morph_compactness_2_BQWJ": 36 * np.pi * volume**2 / area**3,
        "morph_spherical_disproportion_KRCK": dispersion,
        "morph_sphericity_QCFX": 1 / dispersion,
        "morph_asphericity_25C7": dispersion - 1,
    }


def _centres(mask: Mask, spacing: Sequence[float]) -> Points:
    """Centres of the voxels of a mask, (n, 3) x, y, z in mm."""
    at = np.stack(np.nonzero(mask)[::-1], 1).astype(np.float64)
    made: Points = at * np.asarray(spacing, np.float64)
    return made


def _shift(at: Points, within: Points, values: npt.NDArray[np.float64]) -> float:
    """Distance in mm between the centre of the region and that of its intensities."""
    total = float(values.sum())
    if total == 0:
        raise _undefined("morph_centre_of_mass_shift_KLMA", len(at), "intensities that do not sum to zero")
    return float(np.linalg.norm(at.mean(0) - values @ within / total))


def _of_axes(at: Points, surface: Surface) -> dict[str, float]:
    """Principal axes of the voxel centres and the density in the ellipsoid they span."""
    least, minor, major = np.maximum(np.linalg.eigvalsh(np.cov(at.T)), 0.0) if len(at) > 1 else np.zeros(3)
    if least <= 1e-9 * max(major, 1e-9):
        raise _undefined(
            "morph_volume_density_aee_6BDE", len(at), "a region that spans two voxels or more along every axis"
        )
    a, b, c = 2 * np.sqrt([major, minor, least])
    return {
        "morph_major_axis_length_TDIC": float(2 * a),
        "morph_minor_axis_length_P9VJ": float(2 * b),
        "morph_least_axis_length_7J51": float(2 * c),
        "morph_elongation_Q3CK": float(b / a),
        "morph_flatness_N17B": float(c / a),
        **_densities(surface, "aee", ("6BDE", "RDD2"), *_ellipsoid(a, b, c)),
    }


def _of_hull(surface: Surface, shape: Mask) -> dict[str, float]:
    """Diameter and densities in the convex hull and in the smallest boxes and ellipsoid around it."""
    from scipy.spatial import ConvexHull, QhullError

    try:
        hull = ConvexHull(surface.corners)
    except QhullError as fault:
        raise _undefined(
            "morph_volume_density_convex_hull_R3ER", int(shape.sum()), "a region with a convex hull"
        ) from fault
    corners = surface.corners[hull.vertices]
    a, b, c = (surface.corners[hull.simplices[:, k]] for k in range(3))
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    along = _box(*np.ptp(corners, axis=0))
    turned = _box(*_enclosing.smallest_box(corners, hull.equations[:, :3], areas))
    round_ = _ellipsoid(*_enclosing.smallest_ellipsoid(corners))
    return {
        "morph_maximum_diameter_L0JK": _diameter(corners),
        **_densities(surface, "aabb", ("PBX1", "R59B"), *along),
        **_densities(surface, "ombb", ("ZH1A", "IQYR"), *turned),
        **_densities(surface, "mvee", ("SWZ1", "BRI8"), *round_),
        **_densities(surface, "convex_hull", ("R3ER", "7T7F"), float(hull.volume), float(hull.area)),
    }


def _diameter(corners: Points) -> float:
    """Largest distance in mm between two corners."""
    from scipy.spatial.distance import cdist

    return max(float(cdist(corners[i : i + 512], corners[i:]).max()) for i in range(0, len(corners), 512))


def _box(a: float, b: float, c: float) -> tuple[float, float]:
    """Volume and area of a box."""
    return float(a * b * c), float(2 * (a * b + b * c + c * a))


def _ellipsoid(a: float, b: float, c: float) -> tuple[float, float]:
    """Volume and area of an ellipsoid with semi-axes a >= b >= c."""
    return float(4 / 3 * np.pi * a * b * c), _enclosing.ellipsoid_area(a, b, c)


def _densities(surface: Surface, name: str, codes: tuple[str, str], volume: float, area: float) -> Mapping[str, float]:
    return {
        f"morph_volume_density_{name}_{codes[0]}": surface.volume / volume,
        f"morph_area_density_{name}_{codes[1]}": surface.area / area,
    }


def _undefined(feature: str, voxels: int, expected: str) -> FeatureError:
    return FeatureError(
        f"no value for {feature} in a region of {voxels} voxels",
        expected=expected,
        todo="use smaller voxels (spacing_mm), exclude regions this small (quality.min_mm3), or leave this family out",
    )
