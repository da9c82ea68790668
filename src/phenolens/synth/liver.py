"""A patient's liver as four MR sequences see it: one body in mm, a grid and a breath a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phenolens.core.types import Frame
from phenolens.synth import mri
from phenolens.synth.abdomen import Abdomen, Tissue, abdomen
from phenolens.synth.picture import Picture, around, outlined
from phenolens.synth.scan_design import ScanDesign
from phenolens.synth.scan_people import ScanPatient, generator
from phenolens.synth.space import Points, Rng, points
from phenolens.synth.tumours import Tumour, nature, tumour

_FIELD = (312.0, 226.0, 120.0)
"""Size of every picture in mm: x, y, z."""


@dataclass(frozen=True, kw_only=True)
class LiverPatient:
    """The body of one patient and the lesions in it; the first is the largest."""

    body: Abdomen
    tumours: tuple[Tumour, ...]
    iron: float
    fat: float


def liver_patient(design: ScanDesign, person: ScanPatient) -> LiverPatient:
    """Anatomy and lesions of a patient; only the nature of the lesions depends on the label, and that by the signal."""
    rng = generator(design, person.patient, "body")
    body = abdomen(rng)
    iron, fat = np.clip(rng.normal(0, 1, 2), -2, 2)
    count = 1 + int((rng.random(2) < design.more).sum())
    radii = sorted(np.clip(np.exp(rng.normal(np.log(16), 0.28, 3)), 9, 28), reverse=True)[:count]
    kinds = [kind for _, kind in design.classes]
    found: list[Tumour] = []
    for i, radius in enumerate(radii):
        own = generator(design, person.patient, f"lesion {i}")
        other = int(own.integers(len(kinds)))
        label = other if design.mixed and i else person.label
        what = nature(kinds, kinds[label], design.signal * float(own.beta(6, 2)), own)
        centre = place(body, float(radius), found, own)
        found.append(tumour(design.classes[label][0], what, centre, float(radius), own))
    return LiverPatient(body=body, tumours=tuple(found), iron=float(iron), fat=float(fat))


def place(body: Abdomen, radius: float, others: Sequence[Tumour], rng: Rng) -> tuple[float, float, float]:
    """A centre in the liver with the whole lesion in it, away from other lesions; the best of 150 tries."""
    liver, best, most = body.liver, (0.0, 0.0, 0.0), -1.0
    ring = rng.normal(0, 1, (40, 3))
    ring *= 1.08 * radius / np.linalg.norm(ring, axis=1)[:, None]
    for _ in range(150):
        centre = np.array(liver.centre) + rng.uniform(-0.8, 0.8, 3) * liver.axes
        centre[2] = np.clip(centre[2], radius - 0.42 * _FIELD[2], 0.42 * _FIELD[2] - radius)
        shell = np.asarray(centre + ring, dtype=np.float32)
        share = float(np.isin(body.tissues(shell), (Tissue.LIVER, Tissue.VESSEL)).mean())
        if any(np.linalg.norm(centre - o.body.centre) < radius + o.body.reach + 4 for o in others):
            share -= 1
        if share > most:
            best, most = (float(centre[0]), float(centre[1]), float(centre[2])), share
        if share == 1:
            break
    return best


def frame_of(design: ScanDesign, sequence: str, site: int, rng: Rng) -> Frame:
    """The grid of one sequence: the protocol's voxels, the site's tilt, laid over the body by hand."""
    scanner = mri.SCANNERS[site]
    spacing = [round(s * scanner.voxel * design.voxel, 3) for s in mri.SPACING[sequence]]
    shape = [round(f / s) for f, s in zip(_FIELD, spacing, strict=True)]
    angle = np.deg2rad(scanner.tilt + (rng.normal(0, 1) if scanner.tilt else 0))
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    turn = np.round(turn, 12)
    centre = rng.normal(0, [3, 3, 2])
    origin = centre - turn @ ((np.array(shape) - 1) / 2 * spacing)
    return Frame(
        shape=(shape[0], shape[1], shape[2]),
        spacing=(spacing[0], spacing[1], spacing[2]),
        origin=tuple(round(float(o), 4) for o in origin),
        unit="mm",
        direction=tuple(float(v) for v in turn.ravel()),
    )


def paint(design: ScanDesign, person: ScanPatient, known: LiverPatient, sequence: str) -> Picture:
    """What a site's scanner stores of one sequence, and the mask drawn on it."""
    rng = generator(design, person.patient, sequence)
    scanner = mri.SCANNERS[person.site]
    frame = frame_of(design, sequence, person.site, rng)
    breath = np.asarray(np.clip(rng.normal(0, [0.5, 1.0, 1.5]), -4, 4), dtype=np.float32)
    where = points(frame) + breath
    labels = known.body.tissues(where)
    tissue = mri.properties(labels, scanner.tesla, sequence)
    _vary(tissue, labels == Tissue.LIVER, known, where)
    normal = mri.properties(np.array([Tissue.LIVER], dtype=np.uint8), scanner.tesla, sequence)
    for one in known.tumours:
        box = around(one, where)
        one.fill(mri.Tissues(*(part[box] for part in tissue)), where[box], normal)
    clean = mri.signal(sequence, tissue, scanner)
    x = mri.measured(clean, sequence, scanner, mri.clean_liver(sequence, scanner), rng)
    export = mri.export(sequence, scanner)
    return Picture(x=x, mask=outlined(known.tumours, where), frame=frame, moved=breath, export=export)


def _vary(tissue: mri.Tissues, liver: npt.NDArray[np.bool_], known: LiverPatient, where: Points) -> None:
    """What differs from liver to liver: iron shortens T2, fat shortens T1, all has a fine grain."""
    grain = known.body.grain.at(where[liver])
    tissue.t1[liver] += -0.06 * known.fat + 0.02 * grain
    tissue.t2[liver] += -0.08 * known.iron + 0.04 * grain
    tissue.diffusion[liver] += 0.04 * grain
