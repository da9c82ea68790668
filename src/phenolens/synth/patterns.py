"""Tumour patterns: how nuclei of a shape are arranged in a box. All lengths in micrometres.

The sarcoma patterns are cartoons of what textbooks name: intersecting fascicles of long cigar-shaped nuclei
(leiomyosarcoma), storiform pinwheels of large pleomorphic nuclei with fat vacuoles (dedifferentiated liposarcoma),
glands of round nuclei in dense short spindle cells (biphasic synovial sarcoma) and bands of wavy nuclei at alternating
angles (malignant peripheral nerve sheath tumour). The two colorectal ones differ in the regularity of the glands,
budding and lymphocytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from phenolens.synth.arrangement import Extent, Points, Rng, bundles, lattice, ring
from phenolens.synth.marks import Kind, Marks, join, marks


@dataclass(frozen=True, kw_only=True)
class Body:
    """What is particular to one patient whatever the pattern: factors around 1 of nuclear density, size, eosin and
    chromatin, and the standard deviation of log nuclear size that is added to the pattern's own."""

    density: float = 1.0
    size: float = 1.0
    eosin: float = 1.0
    chromatin: float = 1.0
    pleomorphism: float = 0.05


Pattern = Callable[[Extent, Body, Rng], Marks]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A kind of cell: nuclear shape, length and width (um), spread of log size, chromatin; cytoplasm length and width
    as multiples of the nucleus, and its eosin."""

    shape: Kind
    length: float
    width: float
    spread: float = 0.1
    chromatin: float = 0.65
    cytoplasm: tuple[float, float] = (1.9, 2.2)
    eosin: float = 0.1


def cells(points: Points, theta: npt.ArrayLike, cell: Cell, body: Body, rng: Rng) -> Marks:
    """Cells of one kind at points (n, 2): their cytoplasm and their nuclei."""
    n = len(points)
    spread = cell.spread + body.pleomorphism
    size = body.size * np.exp(rng.normal(0, spread, n))
    aspect = np.exp(rng.normal(0, 0.07 + spread / 3, n))
    length, width = cell.length * size * aspect, cell.width * size / aspect
    chromatin = cell.chromatin * body.chromatin * np.exp(rng.normal(0, 0.1 + spread / 4, n))
    x, y = points[:, 0], points[:, 1]
    around = (cell.length * cell.cytoplasm[0], cell.width * cell.cytoplasm[1])
    flesh = marks(
        Kind.FIBRE, x, y, theta=theta, length=around[0], width=around[1], strength=cell.eosin * rng.uniform(0.7, 1.3, n)
    )
    nuclei = marks(cell.shape, x, y, theta=theta, length=length, width=width, strength=np.minimum(chromatin, 1.6))
    return join([flesh, nuclei])


def _tight(body: Body, along: float, across: float) -> tuple[float, float]:
    factor = body.density**-0.5
    return along * factor, across * factor


def fascicles(box: Extent, body: Body, rng: Rng) -> Marks:
    """Long cigar-shaped nuclei in broad bundles that cross at steep angles, pink cytoplasm."""
    points, theta = bundles(box, 150, 0.12, _tight(body, 27, 11.5), rng)
    theta = theta + rng.normal(0, 0.09, len(theta))
    cell = Cell(shape=Kind.CIGAR, length=18.5, width=4.8, chromatin=0.62, cytoplasm=(2.2, 2.4), eosin=0.16)
    return cells(points, theta, cell, body, rng)


def storiform(box: Extent, body: Body, rng: Rng) -> Marks:
    """Plump nuclei of very different sizes around pinwheels, a few giant ones, and fat vacuoles."""
    step = _tight(body, 17.5, 17.5)
    points = lattice(box, rng.uniform(0, np.pi), *step, 0.2, rng)
    hubs = lattice(Extent(box.x0 - 200, box.y0 - 200, box.x1 + 200, box.y1 + 200), 0.3, 210, 190, 0.2, rng)
    hub = cKDTree(hubs).query(points)[1]
    away = points - hubs[hub]
    theta = np.arctan2(away[:, 1], away[:, 0]) + 1.1 + rng.normal(0, 0.3, len(points))
    giant = rng.random(len(points)) < 0.06
    plain = Cell(shape=Kind.OVAL, length=12, width=7.6, spread=0.2, chromatin=0.61, cytoplasm=(1.9, 1.7), eosin=0.1)
    large = Cell(shape=Kind.OVAL, length=19, width=13.5, spread=0.2, chromatin=0.76, cytoplasm=(1.9, 1.8), eosin=0.12)
    fat = lattice(box, 0.5, 95, 95, 0.3, rng)
    fat = fat[rng.random(len(fat)) < 0.45]
    radius = rng.uniform(18, 42, len(fat))
    clear = np.ones(len(points), dtype=bool)
    if len(fat):
        distance, which = cKDTree(fat).query(points)
        clear = distance > radius[which] / 2 + 3
    vacuoles = marks(Kind.HOLE, fat[:, 0], fat[:, 1], length=radius, width=radius, strength=0.93)
    few, many = clear & giant, clear & ~giant
    return join(
        [cells(points[many], theta[many], plain, body, rng), cells(points[few], theta[few], large, body, rng), vacuoles]
    )


def biphasic(box: Extent, body: Body, rng: Rng) -> Marks:
    """Glands of round pale nuclei around a lumen, between short, dense, dark spindle cells."""
    step = _tight(body, 13.5, 9)
    centre = lattice(box, rng.uniform(0, 1), 105, 95, 0.16, rng)
    centre = centre[rng.random(len(centre)) < 0.8]
    radius = rng.uniform(17, 33, len(centre))
    rim, away = ring(centre, radius, 9.0, rng)
    epithelium = Cell(
        shape=Kind.OVAL, length=8.6, width=7.4, spread=0.04, chromatin=0.48, cytoplasm=(2.2, 1.8), eosin=0.12
    )
    lumen = marks(Kind.HOLE, centre[:, 0], centre[:, 1], length=1.1 * radius, width=0.95 * radius, strength=0.8)
    points, theta = bundles(box, 80, 0.35, step, rng)
    if len(centre):
        distance, which = cKDTree(centre).query(points)
        outside = distance > radius[which] + 10
        points, theta = points[outside], theta[outside]
    spindle = Cell(
        shape=Kind.CIGAR, length=10.5, width=4.9, spread=0.05, chromatin=0.7, cytoplasm=(1.5, 1.7), eosin=0.07
    )
    return join([cells(points, theta, spindle, body, rng), lumen, cells(rim, away, epithelium, body, rng)])


def herringbone(box: Extent, body: Body, rng: Rng) -> Marks:
    """Thin wavy nuclei in parallel bands whose direction flips from band to band."""
    return _bands(box, body, rng, Kind.WAVY)


def straight_bands(box: Extent, body: Body, rng: Rng) -> Marks:
    """The bands of herringbone with straight nuclei; nothing else differs, so that only nuclear shape tells them."""
    return _bands(box, body, rng, Kind.CIGAR)


def _bands(box: Extent, body: Body, rng: Rng, shape: Kind) -> Marks:
    axis, step = rng.uniform(0, np.pi), _tight(body, 21, 10.5)
    found = []
    for side in (0, 1):
        angle = axis + (0.62 if side else -0.62)
        points = lattice(box, angle, *step, 0.13, rng)
        across = points[:, 1] * np.cos(axis) - points[:, 0] * np.sin(axis)
        along = points[:, 0] * np.cos(axis) + points[:, 1] * np.sin(axis)
        band = np.floor((across + 9 * np.sin(along / 45)) / 95).astype(int) % 2
        points = points[band == side]
        theta = angle + 0.22 * np.sin(points[:, 0] / 37 + points[:, 1] / 53) + rng.normal(0, 0.07, len(points))
        theta = theta + np.pi * rng.integers(0, 2, len(points))
        cell = Cell(shape=shape, length=15.5, width=3.9, spread=0.08, chromatin=0.69, cytoplasm=(1.9, 2.4), eosin=0.09)
        found.append(cells(points, theta, cell, body, rng))
    return join(found)


def _lymphocytes(points: Points, body: Body, rng: Rng) -> Marks:
    cell = Cell(shape=Kind.OVAL, length=5.8, width=5.6, spread=0.02, chromatin=0.84, cytoplasm=(1.3, 1.3), eosin=0.02)
    return cells(points, 0.0, cell, Body(density=body.density, chromatin=body.chromatin), rng)


def stroma(box: Extent, body: Body, rng: Rng) -> Marks:
    """Loose connective tissue: long pale fibres, a few thin nuclei, hardly a lymphocyte."""
    points, theta = bundles(box, 180, 0.5, (46, 12), rng)
    n = len(points)
    fibres = marks(
        Kind.FIBRE,
        points[:, 0],
        points[:, 1],
        theta=theta + rng.normal(0, 0.15, n),
        length=rng.uniform(45, 80, n),
        width=rng.uniform(3, 7, n),
        strength=rng.uniform(0.05, 0.16, n),
    )
    some = rng.random(n) < 0.22
    thin = Cell(shape=Kind.CIGAR, length=12, width=2.6, chromatin=0.6, eosin=0.02)
    round_ones = rng.random(n) < 0.03
    return join(
        [fibres, cells(points[some], theta[some], thin, body, rng), _lymphocytes(points[round_ones], body, rng)]
    )


def fat(box: Extent, body: Body, rng: Rng) -> Marks:
    """Fat: clear cells in thin walls, a nucleus pressed to a wall here and there."""
    points = lattice(box, 0.2, 46, 41, 0.07, rng)
    size = rng.uniform(39, 49, len(points))
    clear = marks(Kind.HOLE, points[:, 0], points[:, 1], length=size, width=size * 0.97, strength=0.94)
    some = points[rng.random(len(points)) < 0.3] + np.array([23.0, 0.0])
    thin = Cell(shape=Kind.CIGAR, length=7, width=2.4, chromatin=0.64, eosin=0.0)
    return join([clear, cells(some, np.pi / 2, thin, body, rng)])


def _colon(box: Extent, body: Body, rng: Rng, *, order: float, buds: float, lymph: float) -> Marks:
    """Glands of columnar nuclei in fibrous stroma; `order` 1 is regular; budding and lymphocytes per stromal site."""
    centre = lattice(box, rng.uniform(0, 1), 94, 86, 0.06 + 0.16 * (1 - order), rng)
    centre = centre[rng.random(len(centre)) < 0.62 + 0.35 * order]
    radius = 25 * np.exp(rng.normal(0, 0.12 + 0.4 * (1 - order), len(centre)))
    radius = np.clip(radius, 9, 40)
    rim, away = ring(centre, radius, 6.6 / body.density**0.5, rng)
    turn = rng.normal(0, 0.12 + 0.9 * (1 - order), len(rim))
    rim = rim + rng.normal(0, 0.3 + 5.0 * (1 - order), rim.shape)
    columnar = Cell(
        shape=Kind.OVAL, length=11, width=5.4, spread=0.05, chromatin=0.66, cytoplasm=(2.6, 1.6), eosin=0.09
    )
    lumen = marks(Kind.HOLE, centre[:, 0], centre[:, 1], length=1.15 * radius, width=1.05 * radius, strength=0.85)
    around, theta = bundles(box, 140, 0.4, (24, 13), rng)
    if len(centre):
        distance, which = cKDTree(centre).query(around)
        outside = distance > radius[which] + 11
        around, theta = around[outside], theta[outside]
    n, chance = len(around), rng.random(len(around))
    fibres = marks(
        Kind.FIBRE, around[:, 0], around[:, 1], theta=theta, length=50, width=5, strength=rng.uniform(0.05, 0.15, n)
    )
    thin = Cell(shape=Kind.CIGAR, length=12, width=2.8, chromatin=0.6, eosin=0.02)
    small, bud = chance < lymph, (chance > 0.6) & (chance < 0.6 + buds)
    spindle = (chance > 0.85) & ~bud
    nest = np.repeat(around[bud], 4, axis=0)
    nest = nest + rng.normal(0, 6.5, nest.shape)
    return join(
        [
            fibres,
            cells(around[spindle], theta[spindle], thin, body, rng),
            lumen,
            cells(rim, away + turn, columnar, body, rng),
            cells(nest, rng.uniform(0, np.pi, len(nest)), columnar, body, rng),
            _lymphocytes(around[small] + rng.normal(0, 3, (int(small.sum()), 2)), body, rng),
        ]
    )


def regular_glands(box: Extent, body: Body, rng: Rng) -> Marks:
    """Well-formed colorectal glands, hardly any budding, many lymphocytes between them."""
    return _colon(box, body, rng, order=0.88, buds=0.015, lymph=0.32)


def irregular_glands(box: Extent, body: Body, rng: Rng) -> Marks:
    """Irregular colorectal glands, tumour buds, few lymphocytes."""
    return _colon(box, body, rng, order=0.42, buds=0.09, lymph=0.1)


PATTERNS: Mapping[str, Pattern] = MappingProxyType(
    {
        "fascicles": fascicles,
        "storiform": storiform,
        "biphasic": biphasic,
        "herringbone": herringbone,
        "straight_bands": straight_bands,
        "regular_glands": regular_glands,
        "irregular_glands": irregular_glands,
    }
)
"""Tumour patterns by name."""
