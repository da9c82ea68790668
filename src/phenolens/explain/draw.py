"""Maps as pictures, drawn over a stored thumbnail."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phenolens.core.types import Frame, Heatmap, Rgb

_BLUE = np.array([33, 102, 172], dtype=np.float64)
_WHITE = np.array([247, 247, 247], dtype=np.float64)
_RED = np.array([178, 24, 43], dtype=np.float64)
_ALPHA = 0.55


def colours(scores: npt.NDArray[np.floating], *, signed: bool) -> npt.NDArray[np.float64]:
    """Colour (n, 3) of every score: white to red by rank, or blue over white to red by size when scores are signed."""
    if signed:
        top = float(np.quantile(np.abs(scores), 0.98)) or 1.0
        strength = np.clip(np.abs(scores) / top, 0, 1)[:, None]
        end = np.where(scores[:, None] >= 0, _RED, _BLUE)
    else:
        order = np.argsort(np.argsort(scores, kind="stable"), kind="stable")
        strength = (order / max(len(scores) - 1, 1))[:, None]
        end = np.broadcast_to(_RED, (len(scores), 3))
    mixed: npt.NDArray[np.float64] = _WHITE + (end - _WHITE) * strength
    return mixed


def overlay(thumbnail: Rgb, heatmap: Heatmap, *, signed: bool) -> Rgb:
    """The thumbnail with every instance coloured by its score; the rest is faded."""
    picture = thumbnail.astype(np.float64) * 0.5 + 127
    shown = thumbnail.astype(np.float64)
    boxes = _pixel_boxes(heatmap.coords, heatmap.extent, heatmap.frame, thumbnail)
    for (x0, y0, x1, y1), colour in zip(boxes, colours(heatmap.scores, signed=signed), strict=True):
        picture[y0:y1, x0:x1] = shown[y0:y1, x0:x1] * (1 - _ALPHA) + colour * _ALPHA
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _pixel_boxes(coords: npt.NDArray[np.float64], extent: float, frame: Frame, thumbnail: Rgb) -> npt.NDArray[np.intp]:
    """Corners (n, 4) of the instances in thumbnail px; coords and extent in the frame's unit."""
    size = np.array(frame.shape[:2]) * np.array(frame.spacing[:2])
    scale = np.array([thumbnail.shape[1], thumbnail.shape[0]]) / size
    low = np.floor(coords[:, :2] * scale)
    high = np.maximum(np.ceil((coords[:, :2] + extent) * scale), low + 1)
    limit = np.array([thumbnail.shape[1], thumbnail.shape[0]])
    return np.concatenate([np.clip(low, 0, limit), np.clip(high, 0, limit)], axis=1).astype(np.intp)
