"""Image filters before intensity and texture are measured: mean, Laplacian of Gaussian, Laws, Gabor and wavelets.

Definitions follow the IBSI's second chapter (Whybra et al., Radiology 2024); compliance with it is not claimed. A
filter is named by a text: `mean_5` (voxels), `log_sigma_2_mm`, `laws_l5e5s5`, `laws_l5e5s5_rot_max_energy_7`,
`gabor_sigma_4_mm_lambda_3_mm_gamma_1_steps_8`, `wavelet_coif1`, `wavelet_db2_level_2`. Kernels of Laws and subbands of
wavelets are named for x, y and z in this order. The image is mirrored at its own edges (d c b a | a b c d), and a
response is computed on the region's box from as much of the image as the kernel reaches: cropping changes no value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Protocol

import numpy as np

from phenolens.core.errors import nearest
from phenolens.features.radiomics import wavelets
from phenolens.features.radiomics._convolution import Margin, Taps, Values, separable
from phenolens.features.radiomics._gabor import Gabor

Spacing = Sequence[float]
"""x, y, z in mm."""
TRUNCATE = 4.0
"""Gaussians end at this many standard deviations."""
_NUMBER = r"(\d+(?:\.\d+)?)"
_LAWS = {
    "l3": (1, 2, 1),
    "e3": (-1, 0, 1),
    "s3": (-1, 2, -1),
    "l5": (1, 4, 6, 4, 1),
    "e5": (-1, -2, 0, 2, 1),
    "s5": (-1, 0, 2, 0, -1),
    "w5": (-1, 2, 0, -2, 1),
    "r5": (1, -4, 6, -4, 1),
}


class Filter(Protocol):
    """A filter with its parameters. `responses` names the images it gives."""

    @property
    def responses(self) -> tuple[str, ...]: ...
    def reach(self, spacing: Spacing) -> Margin:
        """Voxels along z, y, x around a voxel that its response depends on."""
        ...

    def respond(self, x: Values, margin: Margin, spacing: Spacing) -> list[Values]:
        """The responses on the box that lies `margin` (at least `reach`) inside x."""
        ...


@dataclass(frozen=True, kw_only=True)
class Mean:
    """The mean of a cube of `voxels` to a side."""

    name: str
    voxels: int

    @property
    def responses(self) -> tuple[str, ...]:
        return (self.name,)

    def reach(self, spacing: Spacing) -> Margin:
        del spacing
        r = self.voxels // 2
        return r, r, r

    def respond(self, x: Values, margin: Margin, spacing: Spacing) -> list[Values]:
        del spacing
        return [separable(x, margin, [np.full(self.voxels, 1 / self.voxels)] * 3)]


@dataclass(frozen=True, kw_only=True)
class LaplacianOfGaussian:
    """The sum of second derivatives of the image smoothed with a Gaussian of `sigma_mm`, cut at four of it.

    Derivatives are per squared voxel, as in the IBSI; where the spacings differ, per square of their geometric mean.
    """

    name: str
    sigma_mm: float

    @property
    def responses(self) -> tuple[str, ...]:
        return (self.name,)

    def reach(self, spacing: Spacing) -> Margin:
        z, y, x = (int(np.floor(TRUNCATE * self.sigma_mm / s + 0.5)) for s in reversed(spacing))
        return z, y, x

    def respond(self, x: Values, margin: Margin, spacing: Spacing) -> list[Values]:
        reach = self.reach(spacing)
        mm = list(reversed(spacing))
        unit = float(np.prod(mm)) ** (1 / 3) / self.sigma_mm
        smooth = [_gaussian(self.sigma_mm / s, r) for s, r in zip(mm, reach, strict=True)]
        curved = [unit**2 * _second(g, self.sigma_mm / s) for s, g in zip(mm, smooth, strict=True)]
        parts = (separable(x, margin, [curved[b] if a == b else smooth[b] for b in range(3)]) for a in range(3))
        return [np.sum(list(parts), axis=0)]


def _gaussian(sigma: float, reach: int) -> Taps:
    k = np.arange(-reach, reach + 1)
    made: Taps = np.exp(-(k**2) / (2 * sigma**2)) / (np.sqrt(2 * np.pi) * sigma)
    return made


def _second(gaussian: Taps, sigma: float) -> Taps:
    """The second derivative of a Gaussian in units of its sigma."""
    k = np.arange(len(gaussian)) - len(gaussian) // 2
    made: Taps = (k**2 / sigma**2 - 1) * gaussian
    return made


@dataclass(frozen=True, kw_only=True)
class Laws:
    """Three of Laws' kernels, one an axis; over the 24 right-angled turns the mean or the largest response is taken,
    and the energy is the mean absolute value of that within `energy` voxels (Chebyshev).
    """

    name: str
    kernels: tuple[str, str, str]
    rotations: str | None = None
    energy: int = 0

    @property
    def responses(self) -> tuple[str, ...]:
        return (self.name,)

    def reach(self, spacing: Spacing) -> Margin:
        del spacing
        sizes = [int(k[1]) // 2 for k in self.kernels]
        x, y, z = sizes if self.rotations is None else [max(sizes)] * 3
        return z + self.energy, y + self.energy, x + self.energy

    def respond(self, x: Values, margin: Margin, spacing: Spacing) -> list[Values]:
        del spacing
        z, y, w = (m - self.energy for m in margin)
        pooled: Values | None = None
        turns = self._turns()
        for kernels in turns:
            one = separable(x, (z, y, w), kernels)
            if pooled is None:
                pooled = one
            else:
                pooled = np.maximum(pooled, one) if self.rotations == "max" else pooled + one
        assert pooled is not None
        if self.rotations == "mean":
            pooled /= len(turns)
        if self.energy:
            side = 2 * self.energy + 1
            pooled = separable(np.abs(pooled), (self.energy,) * 3, [np.full(side, 1 / side)] * 3)
        return [pooled]

    def _turns(self) -> list[list[Taps]]:
        """Kernels along z, y, x of every turn."""
        own = [np.array(_LAWS[k]) / np.linalg.norm(_LAWS[k]) for k in self.kernels]
        if self.rotations is None:
            return [own[::-1]]
        made = []
        for order in permutations(range(3)):
            for signs in product((1, -1), repeat=3):
                turn = np.zeros((3, 3))
                turn[range(3), order] = signs
                if np.linalg.det(turn) > 0:
                    made.append([own[order[a]][:: signs[a]] for a in (2, 1, 0)])
        return made


@dataclass(frozen=True, kw_only=True)
class Wavelet:
    """The eight subbands of an undecimated wavelet transform at one level; the finer levels are low-pass filtered."""

    name: str
    family: str
    level: int = 1

    @property
    def responses(self) -> tuple[str, ...]:
        return tuple(f"{self.name}_{band}" for band in wavelets.SUBBANDS)

    def reach(self, spacing: Spacing) -> Margin:
        del spacing
        r = sum(len(k) // 2 for k in self._stages())
        return r, r, r

    def _stages(self) -> list[Taps]:
        low, _, before = wavelets.kernels(self.family, self.level)
        return [*before, low]

    def respond(self, x: Values, margin: Margin, spacing: Spacing) -> list[Values]:
        del spacing
        low, high, before = wavelets.kernels(self.family, self.level)
        for kernel in before:
            r = len(kernel) // 2
            x, margin = separable(x, (r, r, r), [kernel] * 3), _less(margin, r)
        pick = {"L": low, "H": high}
        return [separable(x, margin, [pick[axis] for axis in reversed(band)]) for band in wavelets.SUBBANDS]


def _less(margin: Margin, by: int) -> Margin:
    z, y, x = (m - by for m in margin)
    return z, y, x


def parse(name: str) -> Filter:
    """The filter a text names. Raises ValueError on a text that names none."""
    for pattern, build in _KINDS:
        found = re.fullmatch(pattern, name)
        if found:
            made: Filter = build(name, found.groups())
            return made
    raise ValueError(f"there is no filter {name!r}{nearest(name, _EXAMPLES)}; examples: {', '.join(_EXAMPLES)}")


def _mean(name: str, found: Sequence[str]) -> Mean:
    if int(found[0]) % 2 == 0:
        raise ValueError(f"the side of {name!r} must be an odd number of voxels")
    return Mean(name=name, voxels=int(found[0]))


def _log(name: str, found: Sequence[str]) -> LaplacianOfGaussian:
    if float(found[0]) <= 0:
        raise ValueError(f"sigma of {name!r} must be above 0")
    return LaplacianOfGaussian(name=name, sigma_mm=float(found[0]))


def _laws(name: str, found: Sequence[str]) -> Laws:
    text = found[0]
    kernels = (text[:2], text[2:4], text[4:])
    unknown = [k for k in kernels if k not in _LAWS]
    if unknown:
        raise ValueError(f"there is no Laws kernel {unknown[0]!r} (in {name!r}); known: {', '.join(_LAWS)}")
    return Laws(name=name, kernels=kernels, rotations=found[1], energy=int(found[2] or 0))


def _wavelet(name: str, found: Sequence[str]) -> Wavelet:
    wavelets.low_pass(found[0])
    if found[1] is not None and not 1 <= int(found[1]) <= 4:
        raise ValueError(f"the level of {name!r} must be 1 to 4")
    return Wavelet(name=name, family=found[0], level=int(found[1] or 1))


def _gabor(name: str, found: Sequence[str]) -> Gabor:
    sigma, wavelength, ratio = (float(v) for v in found[:3])
    if min(sigma, wavelength, ratio) <= 0:
        raise ValueError(f"sigma, lambda and gamma of {name!r} must be above 0")
    steps = int(found[4] or 1)
    if steps < 1:
        raise ValueError(f"steps of {name!r} must be at least 1")
    return Gabor(
        name=name,
        sigma_mm=sigma,
        wavelength_mm=wavelength,
        ratio=ratio,
        angle=float(found[3] or 0),
        steps=steps,
        planes=3 if found[5] else 1,
    )


_KINDS = (
    (r"mean_(\d+)", _mean),
    (rf"log_sigma_{_NUMBER}_mm", _log),
    (r"laws_((?:[a-z]\d){3})(?:_rot_(max|mean))?(?:_energy_(\d+))?", _laws),
    (r"wavelet_([a-z]+\d*)(?:_level_(\d+))?", _wavelet),
    (
        rf"gabor_sigma_{_NUMBER}_mm_lambda_{_NUMBER}_mm_gamma_{_NUMBER}(?:_theta_{_NUMBER}|_steps_(\d+))?(_3d)?",
        _gabor,
    ),
)
_EXAMPLES = (
    "mean_5",
    "log_sigma_2_mm",
    "laws_l5e5s5",
    "laws_l5e5s5_rot_max_energy_7",
    "gabor_sigma_4_mm_lambda_3_mm_gamma_1_steps_8",
    "wavelet_coif1",
    "wavelet_db2_level_2",
)
