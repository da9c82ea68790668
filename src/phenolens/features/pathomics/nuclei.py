"""Segmentation of nuclei on the haematoxylin channel: local threshold, filled, touching nuclei parted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage as ndi
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from phenolens.core.types import FloatArray
from phenolens.features.pathomics.scene import Mask, Scene, local_mean, odd, smooth

Labels = npt.NDArray[np.int32]

_SMOOTH_UM = 0.75
_SURROUNDING_UM = 30.0
_SURROUNDING_WEIGHT = 0.75
_BINS = 160
_RANGE = (-0.6, 1.4)
_LEAST_DENSITY = 0.08
_LEAST_CONTRAST = 0.08
_HOLE_UM2 = 25.0
_MIN_UM2, _MAX_UM2 = 8.0, 400.0
_MIN_RADIUS_UM = 1.1
_FIBRE_UM = 0.5
_SEED_UM = 2.0
_PARTNER_UM = 25.0
_NECK = 0.75
_NECK_IN_CLUMP = 0.9
_BENDS = (-0.3, -0.15, 0.0, 0.15, 0.3)


def segment(scene: Scene) -> Labels:
    """Nuclei of a scene as an (h, w) int32 image: 0 is background, 1 to n are nuclei without gaps.

    Haematoxylin is smoothed (0.75 um), lowered by three quarters of its mean in a 30 um surrounding, and thresholded
    by Otsu over the tissue of the tile, at least 0.08 OD above the rest. Fibres are opened away, holes filled, and
    touching nuclei parted at necks narrower than 3/4 of the thinner partner (9/10 in clumps). Objects under 8 or over
    400 um², thinner than about 2 um or with less than 0.08 OD of contrast to their surrounding are dropped, so that a
    tile without nuclei gives none.
    """
    if not scene.tissue.any():
        return np.zeros(scene.tissue.shape, np.int32)
    stain = smooth(scene.haematoxylin, _SMOOTH_UM / scene.mpp)
    around = local_mean(stain, scene.tissue, odd(_SURROUNDING_UM / scene.mpp))
    raised = stain - np.float32(_SURROUNDING_WEIGHT) * around
    cut = _threshold(raised[scene.tissue])
    mask = (raised > cut) & scene.tissue & (stain > _LEAST_DENSITY)
    for grow in (False, True):
        for _ in range(round(_FIBRE_UM / scene.mpp)):
            mask = _cross(mask, grow=grow)
    mask = fill_holes(mask, _HOLE_UM2 / scene.mpp**2)
    inside = np.flatnonzero(mask)
    depth = _depth(mask, inside)
    labels = _part(mask, inside, depth, scene.mpp)
    return _keep(labels, inside, depth.ravel()[inside] * scene.mpp, (stain - around).ravel()[inside], scene.mpp)


def _depth(mask: Mask, inside: npt.NDArray[np.intp]) -> FloatArray:
    """Distance in pixels of each pixel of `mask` (flat indices `inside`) to the nearest pixel outside; 0 there."""
    depth = np.zeros(mask.shape, np.float32)
    if 0 < len(inside) < mask.size:
        nearest = ndi.distance_transform_edt(mask, return_distances=False, return_indices=True).reshape(2, -1)[
            :, inside
        ]
        row, column = np.divmod(inside, mask.shape[1])
        depth.ravel()[inside] = np.hypot(nearest[0] - row, nearest[1] - column)
    return depth


def _threshold(raised: FloatArray) -> float:
    """Otsu's threshold, but at least `_LEAST_CONTRAST` above the mean of the lower class (noise is no nucleus)."""
    cut = otsu(raised)
    low = raised[raised <= cut]
    return max(cut, float(low.mean(dtype=np.float64)) + _LEAST_CONTRAST) if len(low) else cut


def otsu(values: FloatArray) -> float:
    """Otsu's threshold (IEEE Trans Syst Man Cybern 9, 1979) in 160 bins over -0.6 to 1.4; values beyond are clipped."""
    width = (_RANGE[1] - _RANGE[0]) / _BINS
    bins = np.clip((values - _RANGE[0]) / width, 0, _BINS - 1).astype(np.intp)
    counts = np.bincount(bins, minlength=_BINS).astype(np.float64)
    centres = np.arange(_BINS) + 0.5
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    low = np.cumsum(counts * centres)[:-1]
    gap = low / np.maximum(below, 1) - ((counts * centres).sum() - low) / np.maximum(above, 1)
    between = np.where((below > 0) & (above > 0), below * above * gap**2, 0.0)
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return float((best.mean() + 1.0) * width + _RANGE[0])


def _cross(mask: Mask, *, grow: bool) -> Mask:
    """Dilation (grow) or erosion of `mask` by the four neighbours of a pixel; the border does neither."""
    padded = np.pad(~mask if grow else mask, 1, constant_values=True)
    kept = padded[1:-1, 1:-1] & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return ~kept if grow else kept


def fill_holes(mask: Mask, max_px: float) -> Mask:
    """`mask` with enclosed background components of at most `max_px` pixels filled; larger ones stay open."""
    holes, count = ndi.label(~mask)
    if count == 0:
        return mask
    small = np.bincount(holes.ravel(), minlength=count + 1) <= max_px
    for edge in (holes[0], holes[-1], holes[:, 0], holes[:, -1]):
        small[edge] = False
    small[0] = False
    filled: Mask = mask | small[holes]
    return filled


def _part(mask: Mask, inside: npt.NDArray[np.intp], depth: FloatArray, mpp: float) -> Labels:
    """Connected components of `mask`, those with several lobes cut between the lobes; numbers may have gaps."""
    labels: Labels = np.empty(mask.shape, np.int32)
    count = ndi.label(mask, output=labels)
    soft = ndi.uniform_filter(depth, odd(1.5 / mpp), mode="reflect")
    crest = ndi.maximum_filter(soft, odd(2 * _SEED_UM / mpp), mode="nearest").ravel()[inside]
    is_seed = (soft.ravel()[inside] == crest) & (depth.ravel()[inside] * mpp >= _MIN_RADIUS_UM)
    owner = labels.ravel()[inside]
    parent = owner[is_seed]
    seeds = np.column_stack(np.divmod(inside[is_seed], mask.shape[1]))
    clump = (np.bincount(owner, minlength=count + 1) * mpp**2 > _MAX_UM2)[parent]
    lobe = _lobes(seeds, parent, clump, soft, mpp)
    _, first = np.unique(lobe, return_index=True)
    torn = np.bincount(parent[first], minlength=count + 1) > 1
    cut = torn[owner]
    if cut.any():
        some = torn[parent]
        pixels = np.column_stack(np.divmod(inside[cut], mask.shape[1]))
        nearest = _power_cells(pixels, owner[cut], seeds[some], parent[some], soft)
        labels.ravel()[inside[cut]] = count + 1 + lobe[some][nearest]
    return labels


def _lobes(seeds: npt.NDArray[np.intp], parent: Labels, clump: Mask, soft: FloatArray, mpp: float) -> Labels:
    """Lobe number of each seed: seeds of one component share a lobe unless every path has a neck.

    The paths are the straight line and four arcs of a parabola, so that a bent nucleus stays whole. In a component too
    large for one nucleus (`clump`, per seed) only the straight line counts, and a lesser neck will do.
    """
    if len(seeds) == 0:
        return np.zeros(0, np.int32)
    apart = np.column_stack([seeds, parent * 1e5])
    pairs = cKDTree(apart).query_pairs(_PARTNER_UM / mpp, output_type="ndarray")
    first, second = seeds[pairs[:, 0]], seeds[pairs[:, 1]]
    along = np.linspace(0, 1, 11)[1:-1, None, None]
    sideways = np.stack([second[:, 1] - first[:, 1], first[:, 0] - second[:, 0]], axis=1)
    bend = np.array(_BENDS)[:, None, None, None] * 4 * along * (1 - along)
    points = np.rint(first + along * (second - first) + bend * sideways).astype(np.intp)
    points = np.clip(points, 0, np.array(soft.shape) - 1)
    by_path = soft[points[..., 0], points[..., 1]].min(axis=1)
    crowded = clump[pairs[:, 0]]
    neck = np.where(crowded, by_path[_BENDS.index(0.0)], by_path.max(axis=0))
    thinner = np.minimum(soft[first[:, 0], first[:, 1]], soft[second[:, 0], second[:, 1]])
    one = pairs[neck >= np.where(crowded, _NECK_IN_CLUMP, _NECK) * thinner]
    graph = coo_matrix((np.ones(len(one)), (one[:, 0], one[:, 1])), shape=(len(seeds), len(seeds)))
    lobe: Labels = connected_components(graph, directed=False)[1].astype(np.int32)
    return lobe


def _power_cells(
    pixels: npt.NDArray[np.intp], owner: Labels, seeds: npt.NDArray[np.intp], parent: Labels, soft: FloatArray
) -> npt.NDArray[np.intp]:
    """Seed of the own component with the least power distance |p - s|² - r², r the seed's depth (Aurenhammer 1987).

    Two overlapping discs are cut along the line through their crossings. The power distance becomes a Euclidean one by
    lifting seed s by sqrt(R² - r²), R the largest r; a coordinate for the component keeps components apart.
    """
    radius = soft[seeds[:, 0], seeds[:, 1]].astype(np.float64)
    lift = np.sqrt(radius.max() ** 2 - radius**2)
    tree = cKDTree(np.column_stack([seeds, lift, parent * 1e5]))
    nearest: npt.NDArray[np.intp] = tree.query(np.column_stack([pixels, np.zeros(len(pixels)), owner * 1e5]))[1]
    return nearest


def _keep(
    labels: Labels, inside: npt.NDArray[np.intp], depth_um: FloatArray, contrast: FloatArray, mpp: float
) -> Labels:
    """Labels renumbered without those too small, large, thin or faint; depth and contrast are given at `inside`."""
    owner = labels.ravel()[inside]
    size = np.bincount(owner, minlength=1)
    area = size * mpp**2
    mean = np.bincount(owner, weights=contrast, minlength=1) / np.maximum(size, 1)
    thick = np.bincount(owner[depth_um >= _MIN_RADIUS_UM], minlength=len(size)) > 0
    good = thick & (area >= _MIN_UM2) & (area <= _MAX_UM2) & (mean >= _LEAST_CONTRAST)
    kept = np.zeros_like(labels)
    kept.ravel()[inside] = np.where(good, np.cumsum(good), 0)[owner]
    return kept
