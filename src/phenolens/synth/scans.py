"""A synthetic cohort of scans on disk: NIfTI files and DICOM series, masks, tables and the truth, as real files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from phenolens.core.compute import run_all
from phenolens.core.progress import Progress
from phenolens.core.store import write_json, write_text
from phenolens.synth.dicom_file import Series, write_series
from phenolens.synth.dicom_mask import write_rtstruct, write_seg
from phenolens.synth.gist import gist_patient, paint_ct
from phenolens.synth.liver import liver_patient, paint
from phenolens.synth.nifti_file import write_nifti
from phenolens.synth.picture import Lesion, Picture, redrawn
from phenolens.synth.scan_design import ScanDesign
from phenolens.synth.scan_people import BROKEN, EMPTY_MASK, OTHER_GRID, ScanPatient, SynthScan, draw
from phenolens.synth.tables import csv_text

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

VERSION = 2


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One patient's images and where they go."""

    folder: Path
    design: ScanDesign
    person: ScanPatient


def make_scans(folder: Path, design: ScanDesign, key: str, workers: int | None, progress: Progress) -> None:
    """Write scans/, masks/, patients.csv, images.csv, lesions.csv and, last, truth.json into the folder.

    The same design gives the same bytes whatever the number of workers.
    """
    cohort = draw(design)
    jobs = [_Job(folder=folder, design=design, person=p) for p in cohort]
    facts: dict[str, dict[str, Any]] = {}
    with progress.step("Drawing synthetic scans", len(jobs), "patients") as step:
        for outcome in run_all(write_patient, jobs, workers=workers):
            facts[outcome.item.person.patient] = outcome.unwrap()
            step.advance()
    write_text(folder / "patients.csv", csv_text(_patients(design, cohort)))
    write_text(folder / "images.csv", csv_text([row for p in cohort for row in _images(design, p, facts)]))
    write_text(folder / "lesions.csv", csv_text([row for p in cohort for row in _lesions(design, p, facts[p.patient])]))
    write_json(folder / "truth.json", {"key": key, **_truth(design, cohort, facts)})


def write_patient(job: _Job) -> dict[str, Any]:
    """Write the images and masks of one patient; returns what is true of them. Runs in a worker."""
    lesions, pictures = _painted(job)
    images = {}
    for number, (scan, picture) in enumerate(pictures, start=1):
        series = _series(job, scan, picture, number)
        place, slices = _write_image(job, scan, picture, series)
        images[scan.image] = {
            "path": place,
            "mask": _write_mask(job, scan, picture, lesions, series, slices),
            "shape": list(picture.frame.shape),
            "spacing_mm": list(picture.frame.spacing),
            "voxels": int((picture.mask > 0).sum()),
        }
    return {"lesions": [one.facts() for one in lesions], "images": images}


def _painted(job: _Job) -> tuple[Sequence[Lesion], Iterator[tuple[SynthScan, Picture]]]:
    """The patient's lesions, and the pictures one after the other."""
    design, person = job.design, job.person
    if design.modality == "ct":
        body = gist_patient(design, person)
        return body.masses, ((scan, paint_ct(design, person, body)) for scan in person.scans)
    known = liver_patient(design, person)
    return known.tumours, ((scan, paint(design, person, known, scan.sequence)) for scan in person.scans)


def _series(job: _Job, scan: SynthScan, picture: Picture, number: int) -> Series:
    return Series(
        patient=job.person.patient,
        image=scan.image,
        site=job.design.sites[job.person.site],
        modality=picture.export.modality,
        description=picture.export.description,
        number=number,
        facts=picture.export.facts,
    )


def _write_image(job: _Job, scan: SynthScan, picture: Picture, series: Series) -> tuple[str, list[Dataset]]:
    """Write one image; returns its place and, for DICOM, its slices."""
    place = f"scans/{job.person.patient}/{scan.sequence}"
    least = -1024 if picture.export.modality == "CT" else 0
    stored = np.clip(np.round(picture.x), least, 32767).astype(np.int16)
    slices: list[Dataset] = []
    if picture.export.dicom:
        slices = write_series(job.folder / place, stored - np.int16(least), picture.frame, series)
    else:
        place += ".nii.gz"
        write_nifti(job.folder / place, stored, picture.frame)
    if scan.fault == BROKEN:
        written = job.folder / place
        for file in sorted(written.iterdir()) if written.is_dir() else [written]:
            whole = file.read_bytes()
            file.write_bytes(whole[: len(whole) * 2 // 5])
    return place, slices


def _write_mask(
    job: _Job, scan: SynthScan, picture: Picture, lesions: Sequence[Lesion], series: Series, slices: list[Dataset]
) -> str:
    """Write the mask in the form that the site uses; an empty one, and one on another grid, are NIfTI."""
    place = f"masks/{job.person.patient}/{scan.sequence}"
    mask, frame = picture.mask, picture.frame
    if scan.fault == EMPTY_MASK:
        mask = np.zeros_like(mask)
    elif scan.fault == OTHER_GRID:
        mask, frame = redrawn(lesions, picture.moved)
    elif picture.export.mask == "rtstruct":
        write_rtstruct(job.folder / f"{place}.dcm", mask, frame, series)
        return f"{place}.dcm"
    elif picture.export.mask == "seg":
        write_seg(job.folder / f"{place}.dcm", mask, slices, series)
        return f"{place}.dcm"
    write_nifti(job.folder / f"{place}.nii.gz", mask, frame)
    return f"{place}.nii.gz"


def _patients(design: ScanDesign, cohort: Sequence[ScanPatient]) -> list[dict[str, Any]]:
    labels = [label for label, _ in design.classes]
    return [
        {"patient": p.patient, "site": design.sites[p.site], design.target: labels[p.label], **p.columns}
        for p in cohort
    ]


def _images(design: ScanDesign, person: ScanPatient, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    known = facts[person.patient]["images"]
    return [
        {
            "patient": person.patient,
            "image": s.image,
            "path": known[s.image]["path"],
            "kind": "scan",
            "sequence": s.sequence,
            "mask": known[s.image]["mask"],
            "site": design.sites[person.site],
        }
        for s in person.scans
    ]


def _lesions(design: ScanDesign, person: ScanPatient, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"patient": person.patient, "lesion": f"L{value}", "mask_value": value, design.target: lesion["label"]}
        for value, lesion in enumerate(facts["lesions"], start=1)
    ]


_FATES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        BROKEN: ("quarantined", "the file ends two fifths of the way through"),
        EMPTY_MASK: ("quarantined", "nothing is drawn in the mask"),
        OTHER_GRID: ("used", "the mask is drawn on another grid and lies in the right place in mm"),
    }
)


def _truth(design: ScanDesign, cohort: Sequence[ScanPatient], facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "design": asdict(design),
        "patients": {
            p.patient: {
                "label": design.classes[p.label][0],
                "site": design.sites[p.site],
                "sequences": [s.sequence for s in p.scans],
                "lesions": facts[p.patient]["lesions"],
                "usable": p.usable,
            }
            for p in cohort
        },
        "images": {
            image: {"patient": p.patient, **{k: v for k, v in known.items() if k not in ("path", "mask")}}
            for p in cohort
            for image, known in facts[p.patient]["images"].items()
        },
        "faults": [
            {
                "patient": p.patient,
                "image": s.image,
                "fault": s.fault,
                "fate": _FATES[s.fault][0],
                "what": _FATES[s.fault][1],
            }
            for p in cohort
            for s in p.scans
            if s.fault is not None
        ],
    }
