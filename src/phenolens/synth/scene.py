"""Scene: everything that is on one synthetic slide, and its picture box by box.

A scene is made from a `SlidePlan`, which knows nothing of the patient's label: what is drawn follows from the mixture
of patterns, the patient's `Body`, the site's `Scanner` and a seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from scipy.ndimage import gaussian_filter

from phenolens.core.store import key_of
from phenolens.core.types import FloatArray, Rgb
from phenolens.synth import outline
from phenolens.synth.arrangement import Extent
from phenolens.synth.marks import Key, Kind, Marks, Sprites, join
from phenolens.synth.patterns import PATTERNS, Body, fat, stroma
from phenolens.synth.stain import Scanner, develop

COARSE = 4.0
"""Micrometres per pixel of the maps of tissue, tumour and background."""
_NOISE = 512


@dataclass(frozen=True, kw_only=True)
class SlidePlan:
    """What one slide shows. Sizes in level-0 px; `mixture` is the share of each pattern among the tumour's zones.

    `share` is the tumour's part of the tissue area; `island` and `septum` cut non-tumour tissue out of it; `pen` is the
    ink's colour or None; `seed` any text.
    """

    seed: str
    width: int
    height: int
    scanner: Scanner
    mixture: tuple[tuple[str, float], ...]
    body: Body
    share: float = 0.78
    island: bool = False
    septum: bool = False
    pen: tuple[int, int, int] | None = None

    def generator(self, what: str) -> np.random.Generator:
        """Random numbers for one purpose; the same on every machine and in every order of slides."""
        return np.random.default_rng(int(key_of([self.seed, what]), 16))


@dataclass(frozen=True)
class Maps:
    """Coarse maps, (rows, columns) at `COARSE` um: tissue and tumour (0 or 1), zone of the tumour, eosin, fat, ink."""

    tissue: npt.NDArray[np.uint8]
    tumour: npt.NDArray[np.uint8]
    zone: npt.NDArray[np.int16]
    fat: npt.NDArray[np.bool_]
    eosin: FloatArray
    ink: FloatArray | None

    def at(self, which: npt.NDArray[np.generic], x: FloatArray, y: FloatArray) -> npt.NDArray[np.generic]:
        """The map's value at points in um."""
        row = np.clip((y / COARSE).astype(int), 0, which.shape[0] - 1)
        column = np.clip((x / COARSE).astype(int), 0, which.shape[1] - 1)
        found: npt.NDArray[np.generic] = which[row, column]
        return found


class Scene:
    """A slide that can be painted box by box, each pixel the same whatever the boxes' order."""

    def __init__(self, plan: SlidePlan) -> None:
        self.plan = plan
        mpp = plan.scanner.mpp
        self.width, self.height = plan.width * mpp, plan.height * mpp
        self.shape = outline.draw(
            self.width, self.height, plan.share, plan.island, plan.septum, plan.generator("shape")
        )
        zones, patterns = self._zones()
        self.maps = self._maps(zones)
        self.marks = self._marks(patterns)
        self.sprites = Sprites(mpp, plan.scanner.blur / mpp)
        self._colours = plan.scanner.colours()
        self._keys = self.sprites.keys(self.marks)
        self._reach = (np.maximum(self.marks.length, self.marks.width) + 4) / mpp
        rng = plan.generator("noise")
        grain = rng.normal(0, 1, (_NOISE, _NOISE)).astype(np.float32)
        smooth = gaussian_filter(rng.normal(0, 1, (_NOISE, _NOISE)), 1.5 / mpp, mode="wrap")
        self._grain = grain * np.float32(plan.scanner.noise)
        self._smooth = (smooth / smooth.std()).astype(np.float32)

    def paint(self, x: int, y: int, width: int, height: int) -> Rgb:
        """The picture of a box in level-0 px, (height, width, 3)."""
        rows, columns = (y + np.arange(height)) % _NOISE, (x + np.arange(width)) % _NOISE
        smooth = self._smooth[np.ix_(rows, columns)]
        e = self._enlarge(self.maps.eosin, x, y, width, height)
        tissue = np.minimum(e * 12, 1)
        h = np.zeros((height, width), dtype=np.float32)
        self._stamp(h, e, x, y)
        e *= 1 + 0.11 * smooth
        h *= 1 - 0.17 * self._smooth[np.ix_((rows * 2) % _NOISE, (columns * 2) % _NOISE)]
        h += 0.035 * tissue
        picture = develop(h, e, self._grain[np.ix_(rows, columns)], self._colours)
        if self.maps.ink is not None and self.plan.pen is not None:
            ink = self._enlarge(self.maps.ink, x, y, width, height)[..., None]
            shade = 1 - ink * (1 - np.asarray(self.plan.pen, dtype=np.float32) / 255)
            picture = (picture * shade).astype(np.uint8)
        return picture

    def _stamp(self, h: FloatArray, e: FloatArray, x: int, y: int) -> None:
        mpp, table, (height, width) = self.plan.scanner.mpp, self.marks, h.shape
        cx, cy = np.round(table.x / mpp).astype(int) - x, np.round(table.y / mpp).astype(int) - y
        near = (cx > -self._reach) & (cx < width + self._reach) & (cy > -self._reach) & (cy < height + self._reach)
        for i in np.flatnonzero(near):
            key = self._keys[i]
            sprite = self.sprites.get(key)
            reach = sprite.shape[0] // 2
            left, top = cx[i] - reach, cy[i] - reach
            x0, y0 = max(left, 0), max(top, 0)
            x1, y1 = min(cx[i] + reach + 1, width), min(cy[i] + reach + 1, height)
            if x0 < x1 and y0 < y1:
                cut = sprite[y0 - top : y1 - top, x0 - left : x1 - left]
                _apply(key, cut, table.strength[i], h[y0:y1, x0:x1], e[y0:y1, x0:x1])

    def _enlarge(self, field: FloatArray, x: int, y: int, width: int, height: int) -> FloatArray:
        scale = self.plan.scanner.mpp / COARSE
        box = (x * scale, y * scale, (x + width) * scale, (y + height) * scale)
        enlarged = Pillow.fromarray(field).resize((width, height), Pillow.Resampling.BILINEAR, box=box)
        return np.array(enlarged, dtype=np.float32)

    def _zones(self) -> tuple[npt.NDArray[np.float64], list[str]]:
        """Seeds of the tumour's zones in um, and the pattern of each: shares as in the mixture, places at random."""
        rng = self.plan.generator("zones")
        n = 4
        grid = (np.stack(np.meshgrid(np.arange(n), np.arange(n)), -1).reshape(-1, 2) + 0.5) / n
        seeds = (grid + rng.uniform(-0.1, 0.1, grid.shape)) * [self.width, self.height]
        names, shares = zip(*self.plan.mixture, strict=True)
        ranks = (np.arange(len(seeds)) + rng.uniform(0, 1)) / len(seeds)
        order = np.minimum(np.searchsorted(np.cumsum(shares), ranks), len(names) - 1)
        return seeds, [names[i] for i in rng.permutation(order)]

    def _maps(self, zones: npt.NDArray[np.float64]) -> Maps:
        rng, size = self.plan.generator("maps"), (int(self.height / COARSE) + 2, int(self.width / COARSE) + 2)
        tissue, tumour = outline.fill(self.shape.tissue, size, COARSE), outline.fill(self.shape.tumour, size, COARSE)
        y, x = np.mgrid[: size[0], : size[1]] * COARSE
        warp = _cloud(size, 14, rng) * 25, _cloud(size, 14, rng) * 25
        far = [(x + warp[0] - zx) ** 2 + (y + warp[1] - zy) ** 2 for zx, zy in zones]
        fatty = (_cloud(size, 22, rng) > 0.75) & (tissue > 0) & (tumour == 0)
        base = np.where(tumour > 0, 0.13 * self.plan.body.eosin, 0.15) * (1 + 0.16 * _cloud(size, 10, rng))
        base = base + np.where(fatty, 0.10, 0.0)
        eosin = gaussian_filter((tissue * base).astype(np.float32), 0.7)
        ink = None if self.plan.pen is None else outline.scribble(self.shape, size, COARSE, self.plan.generator("pen"))
        return Maps(tissue, tumour, np.argmin(far, axis=0).astype(np.int16), fatty, eosin, ink)

    def _marks(self, patterns: list[str]) -> Marks:
        maps, whole = self.maps, Extent(0, 0, self.width, self.height)
        found = []
        loose = stroma(whole, self.plan.body, self.plan.generator("stroma"))
        free = (maps.tissue > 0) & (maps.tumour == 0)
        found.append(loose.keep(maps.at(free & ~maps.fat, loose.x, loose.y).astype(bool)))
        lobules = fat(whole, self.plan.body, self.plan.generator("fat"))
        found.append(lobules.keep(maps.at(maps.fat, lobules.x, lobules.y).astype(bool)))
        for zone, name in enumerate(patterns):
            here = (maps.zone == zone) & (maps.tumour > 0)
            if not here.any():
                continue
            row, column = np.nonzero(here)
            box = Extent(
                column.min() * COARSE, row.min() * COARSE, (column.max() + 1) * COARSE, (row.max() + 1) * COARSE
            )
            drawn = PATTERNS[name](box, self.plan.body, self.plan.generator(f"zone {zone}"))
            found.append(drawn.keep(maps.at(here, drawn.x, drawn.y).astype(bool)))
        table = join(found)
        layer = np.where(table.kind >= Kind.OVAL, int(Kind.OVAL), table.kind)
        return _ordered(table, np.argsort(layer, kind="stable"), self.plan.body.eosin)


def _ordered(table: Marks, order: npt.NDArray[np.intp], eosin: float) -> Marks:
    """Fibres first, then holes, then nuclei; the eosin of fibres times the patient's."""
    strength = np.where(table.kind == Kind.FIBRE, table.strength * np.float32(eosin), table.strength)
    columns = (table.x, table.y, table.theta, table.length, table.width, strength)
    x, y, theta, length, width, strength = (c[order] for c in columns)
    return Marks(kind=table.kind[order], x=x, y=y, theta=theta, length=length, width=width, strength=strength)


def _apply(key: Key, cut: FloatArray, strength: np.float32, h: FloatArray, e: FloatArray) -> None:
    if key[0] == Kind.FIBRE:
        e += strength * cut
    elif key[0] == Kind.HOLE:
        e *= 1 - strength * cut
    else:
        np.maximum(h, strength * cut, out=h)


def _cloud(size: tuple[int, int], scale: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A smooth random field of mean 0 and standard deviation 1; `scale` in coarse px."""
    field = gaussian_filter(rng.normal(0, 1, size), scale, mode="wrap")
    normal: npt.NDArray[np.float64] = (field - field.mean()) / field.std()
    return normal
