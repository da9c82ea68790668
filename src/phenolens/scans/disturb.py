"""A scan and its region disturbed on purpose, in doses: do features, and predictions, stay what they were?

The outline is moved, the scan is turned or shifted in its planes, noise is added, a bias field is multiplied in, and
voxels are made coarser. Which, and why features that follow them are of little use: Zwanenburg and colleagues,
Scientific Reports 9, 2019. Their outline is redrawn from supervoxels; here the signed distance to it is moved by a
smooth random field, which asks nothing of the intensities. Every draw is made of the image's identity, so that it is
the same on every machine; a higher dose of one kind goes the same way, further.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import ImageError
from phenolens.core.store import key_of
from phenolens.core.types import FloatArray, Frame
from phenolens.scans import _disturb_field as fields
from phenolens.scans._bias import onto_grid
from phenolens.scans.geometry import Index, Roi, cropped, roi_of
from phenolens.scans.intensity import IntensitySettings, Measured, measure
from phenolens.scans.resample import at_positions, new_grid
from phenolens.scans.sampling import Readable

VERSION = 1
Kind = Literal["noise", "bias", "spacing", "contour", "rotation", "translation"]
DOSES: dict[Kind, tuple[float, ...]] = {
    "noise": (0.5, 1.0, 2.0),
    "bias": (0.1, 0.2, 0.4),
    "spacing": (0.25, 0.5, 1.0),
    "contour": (1.0, 2.0, 3.0),
    "rotation": (2.0, 5.0, 10.0),
    "translation": (0.125, 0.25, 0.5),
}
"""From mild to hard."""
READING: dict[Kind, float] = {
    "noise": 1.0,
    "bias": 0.1,
    "spacing": 0.25,
    "contour": 1.5,
    "rotation": 4.0,
    "translation": 0.5,
}
"""What another scanner, day or reader may well do: the doses of repeated readings."""
UNITS: dict[Kind, str] = {
    "noise": "standard deviation of added noise, in multiples of the image's own",
    "bias": "standard deviation of the logarithm of a smooth field",
    "spacing": "voxels longer by this share, and back",
    "contour": "standard deviation of the outline's shift in mm, at most twice that",
    "rotation": "degrees in the plane of the slices",
    "translation": "voxels in the plane of the slices",
}
_OF_REGION: tuple[Kind, ...] = ("contour", "rotation", "translation")
_AROUND_MM = 10.0
"""How far around the region the image's own noise is measured."""
_CONTOUR_MM, _BIAS_MM = 5.0, 100.0
"""How far apart two points of the outline, or of a bias field, are nearly independent."""
_MOST_SHIFT = 2.0


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """One kind at one dose (in `UNITS`); dose 0 leaves everything as it is."""

    kind: Kind
    dose: float

    def __post_init__(self) -> None:
        if self.kind not in DOSES or not 0 <= self.dose < float("inf"):
            raise ValueError(f"{self.kind!r} at dose {self.dose}; kinds are {', '.join(DOSES)}, doses 0 and more")

    @classmethod
    def usual(cls, kind: Kind) -> Disturbance:
        """At the dose of `READING`."""
        return cls(kind=kind, dose=READING[kind])


@dataclass(frozen=True, kw_only=True)
class Disturbed:
    """A scan that is disturbed as it is read: a box gives the values that the whole scan gives there.

    sigma is the noise that is added; middle the index x, y about which the planes are turned.
    """

    scan: Readable
    how: Disturbance
    seed: int
    sigma: float = 0.0
    middle: tuple[float, float] = (0.0, 0.0)

    @property
    def frame(self) -> Frame:
        return self.scan.frame

    def read(self, lo: Index, shape: Index) -> FloatArray:
        """The voxels (z, y, x) of a box, as `Scan.read`."""
        if self.how.dose == 0 or self.how.kind == "contour":
            return self.scan.read(lo, shape)
        if self.how.kind == "noise":
            return self.scan.read(lo, shape) + np.float32(self.sigma) * fields.noise(self.frame, lo, shape, self.seed)
        if self.how.kind == "bias":
            x = self.scan.read(lo, shape)
            return (x * np.exp(self._log_bias(lo, shape))).astype(np.float32)
        return self._coarser(lo, shape) if self.how.kind == "spacing" else self._moved(lo, shape)

    def _log_bias(self, lo: Index, shape: Index) -> FloatArray:
        field, grid = fields.on_nodes(self.frame, _BIAS_MM, self.seed)
        return onto_grid(field * np.float32(self.how.dose), grid, cropped(self.frame, lo, shape))

    def _coarser(self, lo: Index, shape: Index) -> FloatArray:
        """Averaged onto longer voxels (a Gaussian whose sigma is half the excess), then interpolated back."""
        factor = 1 + self.how.dose
        grid = new_grid(self.frame, [s * factor for s in self.frame.spacing])[0]
        back, needed = [], []
        for axis in range(3):
            at = (np.arange(lo[axis], lo[axis] + shape[axis]) - grid[axis][0]) / factor
            at = np.clip(at, 0, len(grid[axis]) - 1)
            first, last = int(np.floor(at[0])), int(np.ceil(at[-1]))
            needed.append(grid[axis][first : last + 1])
            back.append(at - first)
        ends = [(p[0], p[-1]) for p in needed]
        sigma = self.how.dose / 2
        part, start = _around(self.scan, ends, (int(np.ceil(3 * sigma)) + 1,) * 3)
        smooth = fields.smoothed(part, sigma)
        coarse = at_positions(smooth, [p - s for p, s in zip(needed, start, strict=True)])
        return at_positions(coarse, back).astype(np.float32, copy=False)

    def _moved(self, lo: Index, shape: Index) -> FloatArray:
        matrix, offset = fields.rigid(self.how.kind, self.how.dose, self.frame, self.middle, self.seed)
        corners = np.array([[x, y] for x in (0, shape[0] - 1) for y in (0, shape[1] - 1)]) + np.array(lo[:2])
        at = corners @ matrix.T + offset
        ends = [*zip(at.min(0), at.max(0), strict=True), (lo[2], lo[2] + shape[2] - 1)]
        part, start = _around(self.scan, ends, (fields.REACH, fields.REACH, 0))
        return fields.turned(part, matrix, offset + matrix @ np.array(lo[:2]) - start[:2], shape, order=3)


def disturb(scan: Readable, roi: Roi, how: Disturbance, image: str) -> tuple[Readable, Roi]:
    """The scan and its region under one disturbance; `image` is the identity that every draw is made of.

    Raises ImageError where no region is left, or the noise of an even image is asked for.
    """
    if how.dose == 0:
        return scan, roi
    seed = int(key_of(["disturb", how.kind, image]), 16) % 2**63
    made = Disturbed(scan=scan, how=how, seed=seed)
    if how.kind == "noise":
        made = replace(made, sigma=how.dose * _noise_of(scan, roi))
    elif how.kind in ("rotation", "translation"):
        _, y, x = np.nonzero(roi.inside)
        made = replace(made, middle=(float(x.mean()) + roi.lo[0], float(y.mean()) + roi.lo[1]))
    return made, disturbed_region(roi, made) if how.kind in _OF_REGION else roi


def disturbed_region(roi: Roi, made: Disturbed) -> Roi:
    """The region as the disturbance leaves it; whole regions only, cut at the edges of the frame."""
    how, frame = made.how, roi.frame
    if how.kind == "contour":
        lo, shape = roi.box(_MOST_SHIFT * how.dose)
        inside = roi.within(lo, shape)
        away = fields.distance(inside, frame.spacing)
        near = np.argwhere(np.abs(away) <= _MOST_SHIFT * how.dose)
        shift = fields.waves(cropped(frame, lo, shape), near[:, ::-1], _CONTOUR_MM, made.seed)
        at = tuple(near.T)
        inside[at] = away[at] < how.dose * np.clip(shift, -_MOST_SHIFT, _MOST_SHIFT)
    else:
        matrix, offset = fields.rigid(how.kind, how.dose, frame, made.middle, made.seed)
        lo, shape = roi.box(fields.moves_mm(how.kind, how.dose, roi.size, frame))
        share = roi.within(lo, shape).astype(np.float32)
        start = np.array(lo[:2])
        inside = fields.turned(share, matrix, offset + matrix @ start - start, shape, order=1) >= 0.5
    found = roi_of(inside, frame, lo=lo, notes=roi.notes)
    if found is None:
        raise ImageError(
            f"a region of {roi.voxels} voxels of which {how.kind} {how.dose:g} leaves nothing",
            expected="a region that outlasts it",
            todo="choose a lower dose, or leave regions this small out",
        )
    return found


def measured_again(
    scan: Readable, roi: Roi, how: Disturbance, known: Measured, settings: IntensitySettings, *, unit: str = ""
) -> Measured:
    """What the study learns from the disturbed image: measured anew where the disturbance can change it.

    known is what was learnt from the image as it is. Outline and turn change only what is measured over the lesion.
    """
    same = how.dose == 0 or (how.kind in _OF_REGION and settings.over == "body")
    return known if same else measure(scan, roi, settings, unit=unit)


def refuse_kind(how: Disturbance, modality: str) -> None:
    """Raise ImageError where the modality, as its file or its sequence's name says, is not disturbed in this way."""
    if how.kind == "bias" and modality not in ("", "MR"):
        raise ImageError(
            f"a bias field asked of {modality}",
            expected="MR, whose coils shade the image",
            todo="leave bias out of the disturbances",
        )


def _noise_of(scan: Readable, roi: Roi) -> float:
    lo, shape = roi.box(_AROUND_MM)
    found = fields.own_noise(scan.read(lo, shape))
    if not found > 0:
        raise ImageError(
            "noise of 0 around the region: neighbours are equal",
            expected="an image with noise of its own, to be added in multiples",
            todo="leave noise out for images that were smoothed or drawn",
        )
    return found


def _around(scan: Readable, ends: list[Any], more: Index) -> tuple[FloatArray, npt.NDArray[np.intp]]:
    """The part of a scan between `ends` (first and last index along x, y, z) and `more` voxels beyond, as far as the
    frame goes; and where it starts (x, y, z)."""
    last = np.array(scan.frame.shape) - 1
    lo = np.clip([int(np.floor(a)) - m for (a, _), m in zip(ends, more, strict=True)], 0, last)
    hi = np.clip([int(np.ceil(b)) + m for (_, b), m in zip(ends, more, strict=True)], lo, last)
    x, y, z = (int(v) for v in lo)
    w, h, d = (int(v) for v in hi - lo + 1)
    return scan.read((x, y, z), (w, h, d)), lo.astype(np.intp)
