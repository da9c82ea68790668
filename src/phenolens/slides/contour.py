"""The picture of one slide in the report: its thumbnail with tissue, annotation and kept tiles drawn on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from PIL import Image, ImageDraw, ImageFont

from phenolens.core.types import Frame, Rgb

MOST_PX = 900
_BLUE, _ORANGE, _GREY = (0, 90, 181), (213, 94, 0), (40, 40, 40)
_DRAWN, _FOUND = (255, 140, 0), (0, 200, 255)
_LEGEND_PX = 56


def small(thumbnail: Rgb) -> Image.Image:
    """A thumbnail as a picture of at most 900 px a side, area averaged."""
    picture = Image.fromarray(thumbnail)
    scale = min(1.0, MOST_PX / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture if size == picture.size else picture.resize(size, Image.Resampling.BOX)


def save_jpeg(picture: Image.Image, path: Path) -> None:
    """Write a JPEG with fixed settings and no metadata: the same picture gives the same bytes."""
    with path.open("wb") as file:
        picture.save(file, format="JPEG", quality=88, subsampling=0, optimize=False)


def contour(
    thumbnail: Rgb,
    frame: Frame,
    tissue: Any,
    annotation: Any | None,
    xy: npt.NDArray[np.int64],
    side: float,
    words: str,
) -> Image.Image:
    """The picture: tissue outlined in blue, annotation in orange, kept tiles in thin grey, a scale bar and `words`.

    thumbnail (h, w, 3) shows the whole slide; tissue and annotation are in level-0 px of frame; xy (n, 2) and side are
    in level-0 px. At most 900 px a side; fonts come with Pillow, so the picture is the same on every machine.
    """
    room = MOST_PX - _LEGEND_PX
    picture = small(thumbnail)
    scale = min(1.0, room / picture.height)
    if scale < 1:
        picture = picture.resize((max(1, round(picture.width * scale)), room), Image.Resampling.BOX)
    factor = np.array([picture.width / frame.shape[0], picture.height / frame.shape[1]])
    _draw_tiles(picture, np.asarray(xy, float) * factor, side * factor)
    pen = ImageDraw.Draw(picture)
    for area, colour in ((tissue, _BLUE), (annotation, _ORANGE)):
        for ring in _rings(area):
            pen.line([tuple(p) for p in ring * factor], fill=colour, width=2, joint="curve")
    return _with_legend(picture, frame, float(factor[0]), annotation is not None, words)


def compared(thumbnail: Rgb, frame: Frame, drawn: Any, found: Any) -> Image.Image:
    """The thumbnail (h, w, 3) of the whole slide with what was drawn in orange and what was found in light blue."""
    picture = small(thumbnail)
    factor = np.array([picture.width / frame.shape[0], picture.height / frame.shape[1]])
    pen = ImageDraw.Draw(picture)
    for area, colour in ((drawn, _DRAWN), (found, _FOUND)):
        for ring in _rings(area):
            pen.line([tuple(p) for p in ring * factor], fill=colour, width=3, joint="curve")
    return picture


def _draw_tiles(picture: Image.Image, corners: npt.NDArray[np.float64], size: npt.NDArray[np.float64]) -> None:
    layer = Image.new("L", picture.size, 0)
    pen = ImageDraw.Draw(layer)
    fine = float(size.min()) < 4
    for left, top in corners:
        box = (left, top, left + size[0] - 1, top + size[1] - 1)
        box = (*box[:2], max(box[0], box[2]), max(box[1], box[3]))
        pen.rectangle(box, fill=50 if fine else 18, outline=None if fine else 110)
    picture.paste(_GREY, (0, 0), layer)


def _rings(area: Any | None) -> Iterator[npt.NDArray[np.float64]]:
    for part in [] if area is None else shapely.get_parts(area):
        yield np.asarray(part.exterior.coords)
        for hole in part.interiors:
            yield np.asarray(hole.coords)


def _with_legend(picture: Image.Image, frame: Frame, factor: float, annotated: bool, words: str) -> Image.Image:
    """The picture over a white strip with the keys, the scale bar and one line of words."""
    width = max(picture.width, 420)
    out = Image.new("RGB", (width, picture.height + _LEGEND_PX), "white")
    out.paste(picture, ((width - picture.width) // 2, 0))
    pen, font = ImageDraw.Draw(out), ImageFont.load_default(size=14)
    x, y = 8, picture.height + 8
    for name, colour in (("tissue", _BLUE), *((("annotation", _ORANGE),) if annotated else ()), ("tiles", _GREY)):
        pen.line([(x, y + 9), (x + 20, y + 9)], fill=colour, width=3)
        pen.text((x + 26, y), name, fill="black", font=font)
        x += 40 + round(pen.textlength(name, font=font))
    length, label = _scale_bar(picture.width * frame.spacing[0] / factor)
    bar = round(length * factor / frame.spacing[0])
    pen.line([(width - 8 - bar, y + 9), (width - 8, y + 9)], fill="black", width=3)
    pen.text((width - 16 - bar - pen.textlength(label, font=font), y), label, fill="black", font=font)
    pen.text((8, y + 22), words, fill="black", font=font)
    return out


def _scale_bar(across_um: float) -> tuple[float, str]:
    """A round length of about a sixth of the picture, in um, and its label."""
    decade = 10 ** np.floor(np.log10(across_um / 6))
    length = float(decade * max(step for step in (1, 2, 5) if step * decade <= across_um / 6))
    return length, f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} um"
