"""An upper abdomen in mm: which tissue lies where. Shared by synthetic MRI and CT."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from phenolens.core.types import FloatArray
from phenolens.synth.space import Field, Lump, Points, Rng, field, lump


class Tissue(IntEnum):
    """What fills a voxel; also the row of a tissue in tables of their properties."""

    AIR = 0
    FAT = 1
    MUSCLE = 2
    LIVER = 3
    SPLEEN = 4
    BONE = 5
    VESSEL = 6
    FLUID = 7
    KIDNEY = 8
    BOWEL = 9


Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Abdomen:
    """One patient's anatomy: the skin, the inside of the fat, the inside of the muscles, organs in drawing order,
    the liver's vessels as segments (n, 2, 3) in mm with radii (n,), and the grain of organs."""

    skin: Lump
    wall: Lump
    cavity: Lump
    organs: tuple[tuple[Tissue, Lump], ...]
    vessels: FloatArray
    radii: FloatArray
    grain: Field

    @property
    def liver(self) -> Lump:
        return next(shape for tissue, shape in self.organs if tissue == Tissue.LIVER)

    def tissues(self, where: Points) -> Labels:
        """The tissue at points (…, 3)."""
        found = np.zeros(where.shape[:-1], dtype=np.uint8)
        found[self.skin.depth(where) < 1] = Tissue.FAT
        found[self.wall.depth(where) < 1] = Tissue.MUSCLE
        found[self.cavity.depth(where) < 1] = Tissue.FAT
        for tissue, shape in self.organs:
            found[shape.depth(where) < 1] = tissue
        liver = np.nonzero(found == Tissue.LIVER)
        close = _near_segments(where[liver], self.vessels, self.radii)
        found[tuple(axis[close] for axis in liver)] = Tissue.VESSEL
        return found


_TALL = 400.0
"""Half axis in mm of what runs through the whole picture."""
_ORGANS: tuple[tuple[Tissue, tuple[float, float, float], tuple[float, float, float], float], ...] = (
    (Tissue.BOWEL, (22, -48, -52), (34, 22, 26), 0.10),
    (Tissue.BOWEL, (70, -30, -50), (24, 24, 30), 0.10),
    (Tissue.FLUID, (58, -34, 14), (36, 28, 40), 0.08),
    (Tissue.SPLEEN, (92, 34, 18), (22, 32, 40), 0.06),
    (Tissue.KIDNEY, (62, 52, -30), (20, 22, 42), 0.04),
    (Tissue.KIDNEY, (-54, 56, -44), (20, 22, 40), 0.04),
    (Tissue.LIVER, (-50, -8, 6), (76, 70, 74), 0.05),
    (Tissue.MUSCLE, (-26, 62, 0), (17, 18, _TALL), 0.04),
    (Tissue.MUSCLE, (26, 62, 0), (17, 18, _TALL), 0.04),
    (Tissue.BONE, (0, 56, 0), (20, 17, _TALL), 0.02),
    (Tissue.VESSEL, (5, 30, 0), (9, 9, _TALL), 0.01),
    (Tissue.VESSEL, (-14, 30, 0), (10, 8, _TALL), 0.01),
)
"""Tissue, centre and half axes in mm of a person of middle size, wobble; later ones lie over earlier ones."""


def abdomen(rng: Rng) -> Abdomen:
    """A patient's anatomy; widths, the fat layer, organs and vessels vary from patient to patient."""
    wide, deep = (float(v) for v in rng.normal(1, 0.05, 2).clip(0.88, 1.12))
    fat = float(np.clip(rng.normal(14, 5), 5, 28))
    skin, wall, cavity = (
        lump((0, 0, 0), (142 * wide - inset, 100 * deep - inset, _TALL), rng, wobble=0.01, detail=1.2)
        for inset in (0, fat, fat + 9)
    )
    organs = tuple((row[0], _organ(row[1], row[2], row[3], (wide, deep), rng)) for row in _ORGANS)
    vessels, radii = _tree(next(shape for tissue, shape in organs if tissue == Tissue.LIVER), rng)
    return Abdomen(
        skin=skin, wall=wall, cavity=cavity, organs=organs, vessels=vessels, radii=radii, grain=field(rng, 7, waves=20)
    )


def _organ(
    centre: tuple[float, float, float],
    axes: tuple[float, float, float],
    wobble: float,
    scale: tuple[float, float],
    rng: Rng,
) -> Lump:
    x, y, z = np.array(centre) * [*scale, 1] + rng.normal(0, 3, 3)
    a, b, c = np.array(axes) * rng.normal(1, 0.06, 3).clip(0.8, 1.2)
    return lump((float(x), float(y), float(z)), (float(a), float(b), float(c)), rng, wobble=wobble)


def _tree(liver: Lump, rng: Rng) -> tuple[FloatArray, FloatArray]:
    """Vessels of the liver: eight segments from its hilum outwards, each with one branch."""
    hilum = np.asarray(liver.centre) + np.array([22, 14, -8])
    segments, radii = [], []
    for _ in range(8):
        away = rng.normal(0, 1, 3)
        away /= np.linalg.norm(away)
        middle = hilum + away * rng.uniform(25, 45)
        turned = away + rng.normal(0, 0.5, 3)
        end = middle + turned / np.linalg.norm(turned) * rng.uniform(20, 40)
        thick = rng.uniform(2.2, 4.2)
        segments += [(hilum, middle), (middle, end)]
        radii += [thick, 0.65 * thick]
    return np.asarray(segments, dtype=np.float32), np.asarray(radii, dtype=np.float32)


def _near_segments(where: Points, segments: FloatArray, radii: FloatArray) -> npt.NDArray[np.bool_]:
    """Whether points (n, 3) lie within a radius of any of the segments."""
    near = np.zeros(len(where), dtype=np.bool_)
    for (start, end), radius in zip(segments, radii, strict=True):
        along = end - start
        t = np.clip((where - start) @ along / (along @ along), 0, 1)
        away = where - start - t[:, None] * along
        near |= (away * away).sum(-1) < radius * radius
    return near
