"""The colours of one slide brought to those of a fixed reference: Macenko's and Reinhard's normalisation.

What is measured of a slide is measured on that slide alone; the reference is a constant of this file. So nothing is
learnt across patients, and a slide looks the same whatever cohort it stands in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import ImageError
from phenolens.core.types import Rgb

VERSION = 1
"""Raised when this file comes to give other colours from the same tiles."""
Method = Literal["macenko", "reinhard"]
Matrix = npt.NDArray[np.float64]

LIGHT = 240.0
"""Transmitted light of Macenko's method, as in the reference's source."""
LEAST_DENSITY = 0.15
"""Natural optical density below which a pixel is glass: β of Macenko et al."""
REFERENCE_STAINS = ((0.5626, 0.7201, 0.4062), (0.2159, 0.8012, 0.5581))
REFERENCE_AMOUNTS = (1.9705, 1.0308)
"""Haematoxylin and eosin in natural optical density of red, green, blue, and the 99th percentile of their amounts:
Veta's stain normalisation toolbox (github.com/mitkovetta/staining-normalization), which torchstain uses too."""
REFERENCE_MEAN = (8.74108109, -0.12440419, 0.0444982)
REFERENCE_SPREAD = (0.6135447, 0.10989545, 0.0286032)
"""Mean and standard deviation in lαβ (natural logarithm) of the tissue of TCGA-A2-A3XS-DX1: Amgad et al., Structured
crowdsourcing enables convolutional segmentation of histology images, Bioinformatics 2019, as given in HistomicsTK."""

_LMS = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
_LAB = np.diag([3**-0.5, 6**-0.5, 2**-0.5]) @ np.array([[1.0, 1, 1], [1, 1, -2], [1, -1, 0]])
"""RGB → LMS and log LMS → lαβ: Reinhard, Ashikhmin, Gooch and Shirley, Color transfer between images, 2001."""
_SAMPLE = 16
"""Tiles of a slide by which its colours are measured, whichever of them are used."""
_LEAST_PIXELS = 1000
_MOST_PIXELS = 200_000
_LEAST_ANGLE = 5.0
"""Degrees between the two stains below which they are not told apart."""


@dataclass(frozen=True, kw_only=True)
class Normaliser:
    """How the colours of one slide are changed: y ← y `matrix` + `shift` in the method's own logarithm of light.

    Macenko's is natural optical density under `LIGHT`, Reinhard's the natural logarithm of LMS.
    """

    method: Method
    matrix: tuple[tuple[float, ...], ...]
    shift: tuple[float, ...]

    def apply(self, tiles: Rgb) -> Rgb:
        """Tiles (n, s, s, 3) in the colours of the reference; glass is left as it is by Reinhard's method."""
        made = np.empty_like(tiles)
        for i, tile in enumerate(tiles):
            made[i] = self._one(tile)
        return made

    def _one(self, tile: Rgb) -> Rgb:
        matrix, shift = np.array(self.matrix), np.array(self.shift)
        if self.method == "macenko":
            light = LIGHT * np.exp(-(_density(tile) @ matrix + shift))
        else:
            light = np.exp(_log_lms(tile) @ matrix + shift) @ np.linalg.inv(_LMS).T
            light = np.where(_tissue(tile)[..., None], light, tile)
        made: Rgb = np.clip(np.rint(light), 0, 255).astype(np.uint8)
        return made


def sample_of(xy: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The tiles (n, 2) of a slide that its colours are measured on, spread evenly over it."""
    places = np.unique(np.linspace(0, len(xy) - 1, _SAMPLE).round().astype(int))
    chosen: npt.NDArray[np.int64] = xy[places]
    return chosen


def normaliser(method: Method, tiles: Rgb) -> Normaliser:
    """What brings a slide, of which tiles (n, s, s, 3) are a sample, to the reference.

    Raises ImageError where the tiles hold too little stain, or one stain alone.
    """
    pixels = tiles.reshape(-1, 3)
    pixels = pixels[:: max(1, len(pixels) // _MOST_PIXELS)]
    return _macenko(pixels) if method == "macenko" else _reinhard(pixels)


def _macenko(pixels: Rgb) -> Normaliser:
    """Macenko et al., A method for normalizing histology slides for quantitative analysis, ISBI 2009.

    The stains are the directions at the 1st and 99th percentile of the angle in the plane of the two largest singular
    vectors of optical density; their amounts are scaled so that the 99th percentile is that of the reference.
    """
    density = _density(pixels)
    stained = density[(density >= LEAST_DENSITY).all(1)]
    _refuse_few(len(stained))
    plane = np.linalg.eigh(np.cov(stained, rowvar=False))[1][:, [2, 1]]
    plane = plane * np.where(plane.sum(0) < 0, -1, 1)
    along, across = (stained @ plane).T
    ends = np.percentile(np.arctan2(across, along), [1, 99])
    if np.degrees(ends[1] - ends[0]) < _LEAST_ANGLE:
        raise ImageError(
            f"two stains only {np.degrees(ends[1] - ends[0]):.1f} degrees apart",
            expected=f"haematoxylin and eosin, at least {_LEAST_ANGLE:g} degrees apart in optical density",
            todo="leave this slide out, or set tiles.stain to reinhard or none for the study",
        )
    first, second = (plane @ [np.cos(a), np.sin(a)] for a in ends)
    own = np.array([first, second] if first[0] > second[0] else [second, first])
    amounts = np.percentile(density @ np.linalg.pinv(own), 99, axis=0)
    scale = np.array(REFERENCE_AMOUNTS) / _above_zero(amounts)
    return _made("macenko", np.linalg.pinv(own) @ np.diag(scale) @ np.array(REFERENCE_STAINS), np.zeros(3))


def _reinhard(pixels: Rgb) -> Normaliser:
    """Reinhard et al. 2001, on the tissue alone: mean and standard deviation of each of l, α and β."""
    tissue = pixels[_tissue(pixels)]
    _refuse_few(len(tissue))
    lab = _log_lms(tissue) @ _LAB.T
    scale = np.array(REFERENCE_SPREAD) / _above_zero(lab.std(0))
    back = np.linalg.inv(_LAB).T
    shift = (np.array(REFERENCE_MEAN) - lab.mean(0) * scale) @ back
    return _made("reinhard", _LAB.T @ np.diag(scale) @ back, shift)


def _made(method: Method, matrix: Matrix, shift: Matrix) -> Normaliser:
    return Normaliser(method=method, matrix=tuple(map(tuple, matrix.tolist())), shift=tuple(shift.tolist()))


def _density(pixels: Rgb) -> Matrix:
    """Natural optical density under `LIGHT`, (…, 3); a little below zero where a pixel is brighter."""
    table = -np.log((np.arange(256) + 1) / LIGHT)
    density: Matrix = table[pixels]
    return density


def _log_lms(pixels: Rgb) -> Matrix:
    """The natural logarithm of LMS, (…, 3); intensities below 1 are taken as 1, so that black stays finite."""
    logs: Matrix = np.log(np.maximum(pixels, 1) @ _LMS.T)
    return logs


def _tissue(pixels: Rgb) -> npt.NDArray[np.bool_]:
    """Where the mean optical density is above that of glass, (…)."""
    where: npt.NDArray[np.bool_] = _density(pixels).mean(-1) >= LEAST_DENSITY
    return where


def _refuse_few(stained: int) -> None:
    if stained < _LEAST_PIXELS:
        raise ImageError(
            f"{stained} stained px in the sample of its tiles",
            expected=f"at least {_LEAST_PIXELS} to measure the stain by",
            todo="leave this slide out, or set tiles.stain to none for the study",
        )


def _above_zero(measured: Matrix) -> Matrix:
    if (measured > 1e-6).all():
        return measured
    raise ImageError(
        f"stain amounts or spreads of {', '.join(f'{v:.3g}' for v in measured)}",
        expected="all above 0, as in stained tissue",
        todo="leave this slide out, or set tiles.stain to none for the study",
    )
