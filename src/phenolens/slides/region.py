"""Where the tissue is: Otsu on a stain-aware channel of a bounded thumbnail, as polygons with holes at level 0."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import shapely
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import find_contours

from phenolens.core.errors import ImageError
from phenolens.core.types import FloatArray, Frame, Rgb
from phenolens.slides.ink import Ink, Mask, drop_small, find_ink
from phenolens.slides.stain import chroma, glass_colour, mean, optical_density

_UM = 8.0
_LEAST_PX, _MOST_PX = 900, 3072
_SMOOTH_UM = 10.0
_LOW, _HIGH = 0.015, 0.025
_SPECK_MM2, _SPECK_SHARE = 0.01, 0.02
_HOLE_MM2, _HOLE_SHARE = 0.025, 0.1
_MESH_UM, _MESH = 4.0, 0.01
_MESH_SPECK_MM2 = 0.0005


@dataclass(frozen=True, kw_only=True)
class RegionSettings:
    """Which part of a slide is used.

    tissue: "otsu" finds it, "none" takes the whole picture. annotation: class name in the QuPath GeoJSON ("*": every
    polygon), None for no annotation. annotation_origin: "qupath" adds the offset of the scanned area (QuPath counts
    from there), "slide" takes coordinates as level 0. min_overlap: share of a tile inside the region. outline: a class
    that is read as annotation is, but only to know where it lies; the region stays all tissue.
    min_annotation_share: a slide with less of its tissue annotated is excluded from the study.
    """

    tissue: Literal["otsu", "none"] = "otsu"
    annotation: str | None = None
    annotation_origin: Literal["qupath", "slide"] = "qupath"
    min_overlap: float = 0.6
    min_annotation_share: float | None = None
    outline: str | None = None

    @property
    def drawn(self) -> str | None:
        """The class that is read from the annotation file."""
        return self.annotation if self.annotation is not None else self.outline

    def identity(self) -> dict[str, Any]:
        """What changes an artefact; a setting that was not always there only where it is used."""
        known = asdict(self)
        return known if self.outline is not None else {k: v for k, v in known.items() if k != "outline"}

    def __post_init__(self) -> None:
        if self.tissue not in ("otsu", "none"):
            raise ValueError(f"tissue is '{self.tissue}'; it is otsu or none")
        if self.annotation_origin not in ("qupath", "slide"):
            raise ValueError(f"annotation_origin is '{self.annotation_origin}'; it is qupath or slide")
        if self.annotation is not None and self.outline is not None:
            raise ValueError(f"outline is '{self.outline}' beside annotation '{self.annotation}'; give one of them")
        if not 0 <= self.min_overlap <= 1:
            raise ValueError(f"min_overlap is {self.min_overlap}; it lies between 0 and 1")
        if self.min_annotation_share is not None:
            if not 0 <= self.min_annotation_share <= 1:
                raise ValueError(f"min_annotation_share is {self.min_annotation_share}; it lies between 0 and 1")
            if self.annotation is None:
                raise ValueError("min_annotation_share needs annotation, the class it is measured for")


@dataclass(frozen=True, kw_only=True)
class Tissue:
    """What a thumbnail shows: tissue as polygons in level-0 px, its mask, pen and scanner black, and the threshold.

    mask and ink are on the thumbnail, (h, w); scale is level-0 px per thumbnail px in x and y.
    """

    area: Any
    mask: Mask
    ink: Ink
    threshold: float
    scale: tuple[float, float]


def thumbnail_px(frame: Frame) -> int:
    """Longest side of the thumbnail tissue is found on: about 8 um a pixel, 900 to 3072 px, never above the slide's."""
    longest = max(size * spacing for size, spacing in zip(frame.shape, frame.spacing, strict=True))
    return min(max(frame.shape), max(_LEAST_PX, min(_MOST_PX, round(longest / _UM))))


def find_tissue(thumbnail: Rgb, frame: Frame) -> Tissue:
    """Tissue on a thumbnail (h, w, 3) of the whole slide, as a MultiPolygon in level-0 px of `frame`.

    The channel is `stain.chroma`, smoothed by 10 um; the threshold is Otsu's (1979) on its logarithm, held between
    0.015 and 0.025 so that a picture without glass is not cut in two and glass without tissue yields none; the net of
    fat and loose fibres is added. Pen and scanner black are taken out; parts under 0.01 mm2 (and under 2% of the
    picture) are dropped, holes under 0.025 mm2 (a large fat cell) filled. Outlines come from marching squares,
    simplified by 0.3 of a thumbnail pixel. Raises ImageError where there is no tissue.
    """
    height, width = thumbnail.shape[:2]
    scale = (frame.shape[0] / width, frame.shape[1] / height)
    um = float(np.sqrt(scale[0] * frame.spacing[0] * scale[1] * frame.spacing[1]))
    density = optical_density(thumbnail, glass_colour(thumbnail))
    ink = find_ink(density, um)
    stain = _smooth(chroma(density), ~(ink.pen | ink.dark), _SMOOTH_UM / um)
    usable = stain[~(ink.pen | ink.dark)]
    threshold = _threshold(usable)
    mask = ((stain > threshold) | _mesh(density, um)) & ~(ink.pen | ink.dark)
    speck = min(_SPECK_MM2 * 1e6 / um**2, _SPECK_SHARE * mask.size)
    stained, mask = mask, drop_small(mask, speck)
    mask = ~drop_small(~mask, min(_HOLE_MM2 * 1e6 / um**2, _HOLE_SHARE * mask.size)) & ~(ink.pen | ink.dark)
    mask = drop_small(mask, speck)
    if not mask.any():
        strongest = float(usable.max()) if usable.size else 0.0
        largest = np.bincount(ndimage.label(stained)[0].ravel())[1:].max(initial=0) * um**2 * 1e-6
        raise ImageError(
            f"no tissue: the strongest stain is {strongest:.3f} of optical density, the largest stained area "
            f"{largest:.2g} mm2",
            expected=f"stained tissue above {threshold:.3f} on at least {speck * um**2 * 1e-6:.2g} mm2",
            todo="check the slide and its mpp; if it is right and merely faint or small, set region: {tissue: none}",
        )
    return Tissue(area=outline(mask, frame), mask=mask, ink=ink, threshold=threshold, scale=scale)


def whole(thumbnail: Rgb, frame: Frame) -> Tissue:
    """The whole picture taken as tissue (`tissue: none`); pen and scanner black are measured but kept."""
    height, width = thumbnail.shape[:2]
    scale = (frame.shape[0] / width, frame.shape[1] / height)
    um = float(np.sqrt(scale[0] * frame.spacing[0] * scale[1] * frame.spacing[1]))
    ink = find_ink(optical_density(thumbnail, glass_colour(thumbnail)), um)
    area = shapely.MultiPolygon([slide_box(frame)])
    return Tissue(area=area, mask=np.ones((height, width), bool), ink=ink, threshold=0.0, scale=scale)


def outline(mask: Mask, frame: Frame) -> Any:
    """A mask (h, w) of the whole slide as a MultiPolygon with holes in level-0 px, clipped to the slide."""
    height, width = mask.shape
    padded = np.pad(np.pad(mask, 1, mode="edge"), 1).astype(np.float32)
    scale = np.array([frame.shape[0] / width, frame.shape[1] / height])
    rings = []
    for contour in find_contours(padded, 0.5):
        if len(contour) >= 4:
            ring = shapely.simplify(shapely.LinearRing(contour[:, ::-1] - 1.5), 0.3)
            rings.append(shapely.transform(ring, lambda points: points * scale))
    area = shapely.make_valid(shapely.build_area(shapely.GeometryCollection(rings)))
    return polygons(shapely.intersection(area, slide_box(frame)))


def polygons(geometry: Any) -> Any:
    """The polygons of any geometry as one MultiPolygon in a stable order; lines and points fall away."""
    parts = [p for p in shapely.get_parts(shapely.get_parts([geometry])) if p.geom_type == "Polygon" and p.area > 0]
    return shapely.MultiPolygon(sorted(parts, key=lambda p: (*p.bounds, p.area)))


def slide_box(frame: Frame) -> Any:
    """The slide as a rectangle in level-0 px."""
    return shapely.box(0, 0, frame.shape[0], frame.shape[1])


def mm2(area: Any, frame: Frame) -> float:
    """Area of a level-0 geometry in square millimetres."""
    return float(area.area * frame.spacing[0] * frame.spacing[1] * 1e-6)


def _smooth(values: FloatArray, usable: Mask, sigma: float) -> FloatArray:
    """Gaussian mean over usable pixels only, so that ink does not bleed into the tissue beside it."""
    weight = ndimage.gaussian_filter(usable.astype(np.float32), sigma)
    total = ndimage.gaussian_filter(np.where(usable, values, 0).astype(np.float32), sigma)
    out: FloatArray = total / np.maximum(weight, 1e-3)
    return out


def _mesh(density: FloatArray, um: float) -> Mask:
    """Fine structure that a mean over 10 um loses: the membranes of fat and loose fibres, closed over gaps of 16 um.

    It must be coloured and darker than glass: JPEG spreads the colour of tissue over glass, but not its darkness.
    """
    coloured, dark = (ndimage.gaussian_filter(v, _MESH_UM / um) for v in (chroma(density), mean(density)))
    fine = drop_small((coloured > _MESH) & (dark > 1.5 * _MESH), _MESH_SPECK_MM2 * 1e6 / um**2)
    reach = max(1, round(2 * _MESH_UM / um))
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    closed: Mask = ndimage.binary_closing(np.pad(fine, reach, mode="edge"), x * x + y * y <= reach * reach)
    return closed[reach:-reach, reach:-reach]


def _threshold(values: FloatArray) -> float:
    if not values.size or values.max() <= _LOW:
        return _LOW
    logarithm = np.log(np.maximum(values, 0.004))
    if logarithm.max() - logarithm.min() < 1e-6:
        return _LOW
    return float(np.clip(np.exp(threshold_otsu(logarithm)), _LOW, _HIGH))
