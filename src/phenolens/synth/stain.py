"""Stain and scanner: from concentrations of haematoxylin and eosin to what a camera sees.

Beer-Lambert: a channel's intensity is white * 10 ** -(h * H + e * E), with H and E the stains' optical-density vectors
(Ruifrok and Johnston, Anal Quant Cytol Histol 2001;23:291-299).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phenolens.core.types import FloatArray, Rgb

STEPS_PER_UNIT = 110.0
"""Steps of the colour table a unit of concentration: 0 to 2.3 in 256 steps."""


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """One site's staining and scanning.

    haematoxylin and eosin are optical-density vectors (red, green, blue), `strength` what the site's protocol makes of
    a concentration, white the colour of empty glass, blur (um) and noise (concentration) the optics, mpp the
    resolution.
    """

    mpp: float
    haematoxylin: tuple[float, float, float] = (0.65, 0.70, 0.29)
    eosin: tuple[float, float, float] = (0.08, 0.95, 0.27)
    strength: tuple[float, float] = (1.0, 1.0)
    white: tuple[int, int, int] = (243, 242, 244)
    blur: float = 0.45
    noise: float = 0.02

    def colours(self) -> npt.NDArray[np.uint8]:
        """Colour of every pair of concentrations, (256 * 256, 3): row 256 * h + e, in steps of the table."""
        h = np.arange(256)[:, None, None] / STEPS_PER_UNIT * self.strength[0]
        e = np.arange(256)[None, :, None] / STEPS_PER_UNIT * self.strength[1]
        density = h * np.asarray(self.haematoxylin) + e * np.asarray(self.eosin)
        light = np.asarray(self.white) * 10.0**-density
        colours: npt.NDArray[np.uint8] = np.round(light).astype(np.uint8).reshape(-1, 3)
        return colours


def develop(h: FloatArray, e: FloatArray, noise: FloatArray, colours: npt.NDArray[np.uint8]) -> Rgb:
    """The picture (height, width, 3) of concentrations h and e (height, width), with sensor noise added to both."""
    half = 0.5 / STEPS_PER_UNIT
    steps_h = np.clip((h + (noise + half)) * STEPS_PER_UNIT, 0, 255).astype(np.uint16)
    steps_e = np.clip((e + (half - noise)) * STEPS_PER_UNIT, 0, 255).astype(np.uint16)
    picture: Rgb = np.take(colours, steps_h * np.uint16(256) + steps_e, axis=0)
    return picture
