"""The picture of one region for the report: three planes as radiologists look at them, with the region's outline."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from phenolens.core.types import FloatArray, Frame, Rgb
from phenolens.scans._body import in_hu
from phenolens.scans.geometry import Index, Mask, Roi, axes
from phenolens.scans.sampling import Readable

_ACROSS_PX, _DOWN_PX = 900, 360
_GAP_PX, _STRIP_PX, _OUTLINE_PX = 6, 26, 2
_MARGIN_MM = 60.0
_ORANGE, _BLUE = (255, 140, 0), (0, 200, 255)
_SOFT, _LUNG = (-160.0, 240.0), (-1350.0, 150.0)
_LUNG_BELOW_HU = -300.0
_STRAIGHT = 0.98
_NAMES = {2: ("axial", "R", "L", "A", "P"), 1: ("coronal", "R", "L", "H", "F"), 0: ("sagittal", "A", "P", "H", "F")}
"""By the patient's axis (left, back, head) a plane is normal to: name; letters on the left, right, above and below."""


@dataclass(frozen=True)
class _Plane:
    """One plane as shown: values, region and what was found (rows, columns), mm of one voxel down and across, name and
    letters.
    """

    values: FloatArray
    inside: Mask
    found: Mask | None
    mm: tuple[float, float]
    words: tuple[str, str, str, str, str]


def picture(
    scan: Readable,
    roi: Roi,
    *,
    window: tuple[float, float] | None = None,
    margin_mm: float = _MARGIN_MM,
    unit: str = "",
    found: npt.NDArray[Any] | None = None,
) -> Rgb:
    """Axial, coronal and sagittal plane through a region, in true proportions and one scale, with its outline.

    Each plane is the one with the most of the region, with `margin_mm` around it. The patient's right is on the left of
    the picture, the front and the head are above, and sagittal planes look to the left, whatever the direction matrix;
    oblique scans are shown in the planes nearest to those. window: (lowest, highest) intensity; by default soft tissue
    or lung for CT, else the 1st to 99th percentile of what is shown. At most 900 px across. `found` is a second region,
    a mask (z, y, x) of the whole scan, whose outline is drawn in blue.
    """
    order, signs, straight = facing(roi.frame)
    lo, shape = roi.box(margin_mm)
    planes = [_plane(scan, roi, (lo, shape), (order, signs), normal, found) for normal in (2, 1, 0)]
    low, high = window or _window(planes, unit)
    down = max(p.values.shape[0] * p.mm[0] for p in planes)
    across = sum(p.values.shape[1] * p.mm[1] for p in planes)
    scale = min((_ACROSS_PX - 2 * _GAP_PX) / across, _DOWN_PX / down)
    panels = [_panel(p, low, high, scale) for p in planes]
    height = max(p.height for p in panels)
    out = Image.new("RGB", (sum(p.width for p in panels) + 2 * _GAP_PX, height + _STRIP_PX), "black")
    left = 0
    for panel in panels:
        out.paste(panel, (left, (height - panel.height) // 2))
        left += panel.width + _GAP_PX
    _bar(out, scale, f"{low:.3g} to {high:.3g}" + ("" if straight else ", oblique"))
    made: Rgb = np.asarray(out, dtype=np.uint8)
    return made


def facing(frame: Frame) -> tuple[Index, Index, bool]:
    """Which axis of the index runs along the patient's left, back and head, with its sign; and whether all three are
    within 11 degrees of them.
    """
    cosines = axes(frame)
    best = max(permutations(range(3)), key=lambda p: sum(abs(cosines[r, p[r]]) for r in range(3)))
    along = [float(cosines[r, best[r]]) for r in range(3)]
    signs = tuple(1 if c >= 0 else -1 for c in along)
    return _three(best), _three(signs), min(abs(c) for c in along) >= _STRAIGHT


def _plane(
    scan: Readable,
    roi: Roi,
    box: tuple[Index, Index],
    turned: tuple[Index, Index],
    normal: int,
    found: npt.NDArray[Any] | None,
) -> _Plane:
    order, signs = turned
    axis = order[normal]
    others = tuple(a for a in range(3) if a != 2 - axis)
    area = roi.inside.sum(axis=others)
    fullest = np.flatnonzero(area == area.max())
    at = int(fullest[np.abs(fullest - (len(area) - 1) / 2).argmin()])
    (lo, shape), whole = (list(b) for b in box), roi.within(*box)
    place = at + roi.lo[axis] - lo[axis]
    lo[axis], shape[axis] = at + roi.lo[axis], 1
    values = _turned(scan.read(_three(lo), _three(shape)), order, signs)
    inside = _turned(whole.take([place], axis=2 - axis), order, signs)
    rows, columns = {2: (1, 0), 1: (2, 0), 0: (2, 1)}[normal]
    mm = (roi.frame.spacing[order[rows]], roi.frame.spacing[order[columns]])
    also = None
    if found is not None:
        there = found[tuple(slice(a, a + n) for a, n in zip(lo[::-1], shape[::-1], strict=True))]
        also = _upright(_turned(there != 0, order, signs), normal)
    return _Plane(_upright(values, normal), _upright(inside, normal), also, mm, _NAMES[normal])


def _turned(x: npt.NDArray[Any], order: Index, signs: Index) -> npt.NDArray[Any]:
    """An array (z, y, x) with its axes along the patient's head, back and left, all growing that way."""
    turned = x.transpose(*(2 - order[r] for r in (2, 1, 0)))
    return turned[tuple(slice(None, None, signs[r]) for r in (2, 1, 0))]


def _upright(x: npt.NDArray[Any], normal: int) -> npt.NDArray[Any]:
    """The one plane of an array (head, back, left), front or head above."""
    flat = x.squeeze(axis=2 - normal)
    return flat if normal == 2 else flat[::-1]


def _window(planes: list[_Plane], unit: str) -> tuple[float, float]:
    shown = np.concatenate([p.values[np.isfinite(p.values)] for p in planes])
    region = np.concatenate([p.values[p.inside & np.isfinite(p.values)] for p in planes])
    if not (shown.size and region.size):
        return 0.0, 1.0
    if in_hu(shown, unit):
        return _SOFT if np.median(region) > _LUNG_BELOW_HU else _LUNG
    low, high = (float(v) for v in np.percentile(shown, (1, 99)))
    high = max(high, float(np.percentile(region, 90)))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _panel(plane: _Plane, low: float, high: float, scale: float) -> Image.Image:
    rows, columns = plane.values.shape
    size = (max(1, round(columns * plane.mm[1] * scale)), max(1, round(rows * plane.mm[0] * scale)))
    height = np.clip((np.nan_to_num(plane.values, nan=low) - low) / (high - low), 0, 1)
    grey = Image.fromarray((height * 255).round().astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    rgb = np.repeat(np.asarray(grey)[..., None], 3, axis=2)
    rgb[_outline(plane.inside, size)] = _ORANGE
    if plane.found is not None and plane.found.any():
        rgb[_outline(plane.found, size)] = _BLUE
    made = Image.fromarray(rgb)
    _letters(made, plane.words)
    return made


def _outline(inside: Mask, size: tuple[int, int]) -> Mask:
    """The line around a region of a plane, at the size (across, down) in which it is shown."""
    share = np.asarray(Image.fromarray(inside.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX))
    mask = share >= min(128, int(share.max()))
    around: Mask = ndimage.binary_dilation(mask, structure=np.ones((3, 3)), iterations=_OUTLINE_PX) & ~mask
    return around


def _letters(panel: Image.Image, words: tuple[str, ...]) -> None:
    pen, font = ImageDraw.Draw(panel), ImageFont.load_default(size=13)
    w, h = panel.size
    places = (
        ((4, 4), "la"),
        ((4, h // 2), "lm"),
        ((w - 4, h // 2), "rm"),
        ((w // 2, 3), "ma"),
        ((w // 2, h - 3), "md"),
    )
    for word, (at, anchor) in zip(words, places, strict=True):
        pen.text(at, word, fill="white", font=font, anchor=anchor, stroke_width=1, stroke_fill="black")


def _bar(out: Image.Image, scale: float, words: str) -> None:
    """A scale bar of a round length, about a tenth of the width, and the window, at the right of the strip."""
    pen, font = ImageDraw.Draw(out), ImageFont.load_default(size=13)
    most = out.width / scale / 10
    decade = 10 ** np.floor(np.log10(most))
    length = float(decade * max(s for s in (1, 2, 5) if s * decade <= most))
    x, y = out.width - 6, out.height - _STRIP_PX // 2
    pen.line([(x - round(length * scale), y), (x, y)], fill="white", width=3)
    text = f"{words}   {length:g} mm"
    pen.text((x - round(length * scale) - 8, y), text, fill="white", font=font, anchor="rm")


def _three(values: tuple[int, ...] | list[int]) -> Index:
    x, y, z = values
    return x, y, z
