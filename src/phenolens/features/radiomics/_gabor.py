"""Gabor filters: waves under a Gaussian, in planes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

from phenolens.features.radiomics._convolution import Margin, Values

_TRUNCATE = 4.0
_SLICES = 8


@dataclass(frozen=True, kw_only=True)
class Gabor:
    """The modulus of a complex Gabor filter in axial planes, or the mean over planes across x, y and z (`planes` 3).

    The kernel at (u, v) mm along the rows and columns of a plane, turned by `angle` degrees, is
    exp(-(u'^2 + ratio^2 v'^2) / (2 sigma^2)) exp(2 pi i u' / wavelength), cut at four sigma. With `steps` the mean of
    the moduli over that many angles, evenly over half a turn, is taken.
    """

    name: str
    sigma_mm: float
    wavelength_mm: float
    ratio: float
    angle: float
    steps: int
    planes: int

    @property
    def responses(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def _widest(self) -> float:
        return self.sigma_mm / min(self.ratio, 1.0)

    def reach(self, spacing: Sequence[float]) -> Margin:
        """As in `filters.Filter`."""
        x, y, z = (int(np.floor(_TRUNCATE * self._widest / s + 0.5)) for s in spacing)
        return (z, y, x) if self.planes == 3 else (0, y, x)

    def respond(self, x: Values, margin: Margin, spacing: Sequence[float]) -> list[Values]:
        """As in `filters.Filter`."""
        mm = tuple(reversed(spacing))
        across = (0,) if self.planes == 1 else (0, 1, 2)
        total = None
        for axis in across:
            made = self._in_planes(x, margin, mm, axis)
            total = made if total is None else total + made
        assert total is not None
        return [total / len(across)]

    def _in_planes(self, x: Values, margin: Margin, mm: Sequence[float], axis: int) -> Values:
        """The mean modulus over the angles, in the planes across one axis."""
        rows, columns = (a for a in range(3) if a != axis)
        turned = np.moveaxis(x, axis, 0)
        turned = turned[margin[axis] : turned.shape[0] - margin[axis]]
        reach = [self.reach(tuple(reversed(mm)))[a] for a in (rows, columns)]
        cut = tuple(
            slice(margin[a] - r, x.shape[a] - margin[a] + r) for a, r in zip((rows, columns), reach, strict=True)
        )
        planes = turned[:, cut[0], cut[1]]
        size = tuple(fft.next_fast_len(n) for n in planes.shape[1:])
        angles = [self.angle] if self.steps == 1 else [self.angle + 180 * k / self.steps for k in range(self.steps)]
        kernels = [fft.fft2(self._kernel(reach, (mm[rows], mm[columns]), angle), size) for angle in angles]
        keep = tuple(slice(2 * r, n) for r, n in zip(reach, planes.shape[1:], strict=True))
        made = np.empty((len(planes), *(s.stop - s.start for s in keep)))
        for i in range(0, len(planes), _SLICES):
            spectrum = fft.fft2(planes[i : i + _SLICES], size)
            moduli = (np.abs(fft.ifft2(spectrum * kernel)[:, keep[0], keep[1]]) for kernel in kernels)
            made[i : i + _SLICES] = np.mean(list(moduli), axis=0)
        return np.moveaxis(made, 0, axis)

    def _kernel(self, reach: Sequence[int], mm: Sequence[float], angle: float) -> npt.NDArray[np.complex128]:
        """Values at offsets -reach to reach along (rows, columns)."""
        v, u = (np.arange(-r, r + 1) * s for r, s in zip(reach, mm, strict=True))
        turn = np.deg2rad(angle)
        along = u[None, :] * np.cos(turn) + v[:, None] * np.sin(turn)
        beside = v[:, None] * np.cos(turn) - u[None, :] * np.sin(turn)
        bell = np.exp(-(along**2 + (self.ratio * beside) ** 2) / (2 * self.sigma_mm**2))
        made: npt.NDArray[np.complex128] = bell * np.exp(2j * np.pi * along / self.wavelength_mm)
        return made
