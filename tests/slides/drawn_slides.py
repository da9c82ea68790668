"""Slides drawn for the tests: glass, H&E-like tissue, pen strokes, a black border, as arrays and as real files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageDraw, ImageFilter

from phenolens.core.types import Box, Frame, Rgb

GLASS = (238, 236, 240)
PINK = (214, 150, 190)
PURPLE = (130, 80, 150)
FAINT = (233, 218, 228)
INKS = {
    "green": (30, 140, 70),
    "blue": (30, 50, 160),
    "black": (20, 20, 22),
    "red": (205, 30, 45),
    "sky": (120, 190, 230),
}


def frame_of(picture: Rgb, mpp: float) -> Frame:
    height, width = picture.shape[:2]
    return Frame(shape=(width, height), spacing=(mpp, mpp), origin=(0.0, 0.0), unit="um")


def glass(width: int = 600, height: int = 400, colour: tuple[int, int, int] = GLASS) -> Image.Image:
    return Image.new("RGB", (width, height), colour)


def disc(picture: Image.Image, x: int, y: int, radius: int, colour: tuple[int, int, int] = PINK) -> Image.Image:
    ImageDraw.Draw(picture).ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return picture


def stroke(
    picture: Image.Image, points: list[tuple[int, int]], colour: tuple[int, int, int], width: int = 22
) -> Image.Image:
    ImageDraw.Draw(picture).line(points, fill=colour, width=width, joint="curve")
    return picture


def scan(picture: Image.Image, noise: int = 3, seed: int = 0) -> Rgb:
    """The drawing with soft edges and the noise of a camera."""
    soft = np.asarray(picture.filter(ImageFilter.GaussianBlur(0.7))).astype(int)
    rng = np.random.default_rng(seed)
    return (soft + rng.integers(-noise, noise + 1, (*soft.shape[:2], 1))).clip(0, 255).astype(np.uint8)


def cells(picture: Image.Image, x: int, y: int, radius: int, seed: int = 0) -> Image.Image:
    """A disc of pink tissue with sharp purple nuclei in it."""
    disc(picture, x, y, radius)
    rng = np.random.default_rng(seed)
    for angle, away in zip(
        rng.uniform(0, 2 * np.pi, radius * radius // 60), np.sqrt(rng.random(radius * radius // 60)), strict=True
    ):
        disc(
            picture,
            int(x + (radius - 8) * away * np.cos(angle)),
            int(y + (radius - 8) * away * np.sin(angle)),
            3,
            PURPLE,
        )
    return picture


class Drawn:
    """A slide in memory that reads by nearest pixel; white outside."""

    def __init__(self, picture: Rgb, mpp: float, bounds: tuple[int, int] = (0, 0)) -> None:
        self.picture, self.frame, self.bounds = picture, frame_of(picture, mpp), bounds
        self.patient, self.image, self.format, self.notes = "P1", "I1", "drawn", ()

    def __enter__(self) -> Drawn:
        return self

    def __exit__(self, *fault: object) -> None:
        return None

    def read(self, box: Box, spacing: float) -> Rgb:
        width, height = (max(1, round(s * self.frame.spacing[0] / spacing)) for s in (box.width, box.height))
        xs = np.floor(box.x + (np.arange(width) + 0.5) * box.width / width).astype(int)
        ys = np.floor(box.y + (np.arange(height) + 0.5) * box.height / height).astype(int)
        inside = ((ys >= 0) & (ys < self.frame.shape[1]))[:, None] & ((xs >= 0) & (xs < self.frame.shape[0]))
        found = self.picture[ys.clip(0, self.frame.shape[1] - 1)[:, None], xs.clip(0, self.frame.shape[0] - 1)]
        return np.where(inside[..., None], found, 255).astype(np.uint8)

    def thumbnail(self, max_px: int) -> Rgb:
        scale = min(1.0, max_px / max(self.frame.shape))
        size = (round(self.frame.shape[0] * scale), round(self.frame.shape[1] * scale))
        return np.asarray(Image.fromarray(self.picture).resize(size, Image.Resampling.BOX))


def write_slide(path: Path, picture: Rgb) -> Path:
    """A tiled TIFF without resolution, for which mpp is declared."""
    tifffile.imwrite(path, picture, tile=(256, 256), photometric="rgb", compression="deflate")
    return path
