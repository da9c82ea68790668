"""A patient's abdomen on CT with a mass that grows from the wall of stomach or bowel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from phenolens.core.types import Frame
from phenolens.synth import ct
from phenolens.synth.abdomen import Abdomen, Tissue, abdomen
from phenolens.synth.masses import Mass, mass, mass_nature
from phenolens.synth.picture import Picture, around, outlined
from phenolens.synth.scan_design import ScanDesign
from phenolens.synth.scan_people import ScanPatient, generator
from phenolens.synth.space import Rng, points

_WIDE, _TALL = 330.0, 132.0
"""Side of a slice and height of all slices in mm."""
_FREE = (Tissue.FAT, Tissue.FLUID, Tissue.BOWEL)
"""What a mass may push aside."""


@dataclass(frozen=True, kw_only=True)
class GistPatient:
    """The body of one patient and the mass in it."""

    body: Abdomen
    masses: tuple[Mass, ...]


def gist_patient(design: ScanDesign, person: ScanPatient) -> GistPatient:
    """Anatomy and mass of a patient; only the mass's nature depends on the label, and that by the signal."""
    rng = generator(design, person.patient, "body")
    body = abdomen(rng)
    radius = float(np.clip(np.exp(rng.normal(np.log(19), 0.26)), 11, 33))
    kinds = [kind for _, kind in design.classes]
    own = generator(design, person.patient, "mass")
    what = mass_nature(kinds, kinds[person.label], design.signal * float(own.beta(6, 2)), own)
    centre = place(body, radius, own)
    label = design.classes[person.label][0]
    return GistPatient(body=body, masses=(mass(label, what, centre, radius, own),))


def place(body: Abdomen, radius: float, rng: Rng) -> tuple[float, float, float]:
    """A centre at the wall of stomach or bowel, where the mass lies in nothing but these and fat; the best of 150."""
    hosts = [shape for tissue, shape in body.organs if tissue in (Tissue.FLUID, Tissue.BOWEL)]
    ring = rng.normal(0, 1, (40, 3))
    ring *= radius / np.linalg.norm(ring, axis=1)[:, None]
    best, most = (0.0, 0.0, 0.0), -1.0
    for _ in range(150):
        host = hosts[int(rng.integers(len(hosts)))]
        away = rng.normal(0, 1, 3)
        away /= np.linalg.norm(away)
        wall = away / np.linalg.norm(away / host.axes)
        centre = np.array(host.centre) + wall + 0.4 * radius * away
        centre[2] = np.clip(centre[2], radius - 0.42 * _TALL, 0.42 * _TALL - radius)
        shell = np.asarray(centre + ring, dtype=np.float32)
        free = np.isin(body.tissues(shell), _FREE) & (body.cavity.depth(shell) < 1)
        if free.mean() > most:
            best, most = (float(centre[0]), float(centre[1]), float(centre[2])), float(free.mean())
        if most == 1:
            break
    return best


def frame_of(design: ScanDesign, site: int, rng: Rng) -> Frame:
    """The grid of one CT: square slices, the site's voxels, laid over the body by hand."""
    spacing = [round(s * design.voxel, 3) for s in ct.CT_SCANNERS[site].spacing]
    side, tall = round(_WIDE / spacing[0]), round(_TALL / spacing[2])
    centre = rng.normal(0, [3, 3, 2])
    half = (np.array([side, side, tall]) - 1) / 2 * spacing
    return Frame(
        shape=(side, side, tall),
        spacing=(spacing[0], spacing[1], spacing[2]),
        origin=tuple(round(float(o), 2) for o in centre - half),
        unit="mm",
        direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    )


def paint_ct(design: ScanDesign, person: ScanPatient, known: GistPatient) -> Picture:
    """What a site's scanner stores, in HU, and the mask drawn on it."""
    rng = generator(design, person.patient, "CT")
    scanner = ct.CT_SCANNERS[person.site]
    frame = frame_of(design, person.site, rng)
    where = points(frame)
    labels = known.body.tissues(where)
    x = ct.hounsfield(labels, scanner)
    liver = labels == Tissue.LIVER
    x[liver] += 3 * known.body.grain.at(where[liver])
    for one in known.masses:
        box = around(one, where)
        one.fill(x[box], where[box], scanner.contrast)
    ct.couch(x, where)
    return Picture(
        x=ct.measured(x, scanner, rng),
        mask=outlined(known.masses, where),
        frame=frame,
        moved=np.zeros(3, dtype=np.float32),
        export=scanner.export(),
    )
