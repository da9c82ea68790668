"""DICOM series of CT, MR and PET: a folder, searched through, or one file; classic or enhanced multi-frame."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from phenolens.core.errors import ImageError
from phenolens.core.types import FloatArray
from phenolens.scans._dicom_files import Series, choose, dicom_files, is_dicom, quiet
from phenolens.scans._dicom_grid import grid_of
from phenolens.scans._dicom_pet import suv_factor
from phenolens.scans._dicom_pixels import stored
from phenolens.scans._dicom_planes import Plane, planes_of
from phenolens.scans._dicom_stacks import one_stack, parse_series
from phenolens.scans._source import ScanHeader, ScanSource
from phenolens.scans._tags import number, text
from phenolens.scans.geometry import Index
from phenolens.scans.opening import decoding

_FACTS = {
    "description": "SeriesDescription",
    "manufacturer": "Manufacturer",
    "scanner": "ManufacturerModelName",
    "kernel": "ConvolutionKernel",
    "contrast": "ContrastBolusAgent",
    "study_uid": "StudyInstanceUID",
    "frame_of_reference": "FrameOfReferenceUID",
}
_NUMBERS = {
    "repetition_time": "RepetitionTime",
    "inversion_time": "InversionTime",
    "flip_angle": "FlipAngle",
    "field_tesla": "MagneticFieldStrength",
    "kvp": "KVP",
    "slice_thickness": "SliceThickness",
}


class DicomSource:
    """One stack of one series; each slice is read when it is asked for."""

    @quiet()
    def __init__(self, path: Path, series: str | None) -> None:
        where = str(path)
        uid, stack = parse_series(series, where)
        chosen = choose(path, uid)
        _check_one_patient(chosen, where)
        planes, notes = planes_of(chosen, where)
        self._planes, frame, more = grid_of(one_stack(planes, stack, where), where)
        used = {p.file for p in self._planes}
        headers = [header for file, header in chosen.files if file in used]
        modality = chosen.modality
        self._factor, said = suv_factor(headers, where) if modality == "PT" else (1.0, ())
        self.header = ScanHeader(
            frame=frame,
            format="dicom",
            modality=modality,
            facts=_facts(chosen, headers[0], self._planes, modality),
            notes=(*notes, *more, *said),
        )

    def read(self, lo: Index, shape: Index) -> FloatArray:
        """See `ScanSource`."""
        (x, y, z), (dx, dy, dz) = lo, shape
        out = np.empty((dz, dy, dx), np.float32)
        asked = list(enumerate(self._planes[z : z + dz]))
        for file, group in groupby(asked, key=lambda item: item[1].file):
            members = list(group)
            with decoding(file):
                for (i, plane), pixels in zip(members, stored(file, [p.index for _, p in members]), strict=True):
                    slope, intercept = (v * self._factor for v in plane.rescale)
                    part = pixels[y : y + dy, x : x + dx]
                    plain = (slope, intercept) == (1.0, 0.0)
                    out[i] = part if plain else part.astype(np.float64) * slope + intercept
        return out

    def close(self) -> None:
        """Nothing is held open."""


def _check_one_patient(series: Series, where: str) -> None:
    people = {text(header.get("PatientID")) for _, header in series.files}
    if len(people) > 1:
        raise ImageError(
            f"{len(people)} different PatientIDs in one series of {len(series.files)} files ({series.uid})",
            expected="the files of one patient",
            todo="sort the files by patient; the archive, or the program that removed names, mixed them up",
            where=where,
        )


def _facts(series: Series, header: Any, planes: list[Plane], modality: str) -> dict[str, Any]:
    first = planes[0].traits
    kind = text(header.get("RescaleType")).upper()
    unit = {"CT": kind if kind not in ("", "US") else "HU", "PT": "SUVbw"}.get(modality, "")
    known: dict[str, Any] = {"series_uid": series.uid, "unit": unit, "slices": len(planes)}
    known |= {name: text(header.get(tag)) for name, tag in _FACTS.items()}
    known |= {name: number(header.get(tag)) for name, tag in _NUMBERS.items()}
    known |= {name: first.get(name) for name in ("b_value", "echo_time", "image_type")}
    return {name: value for name, value in known.items() if value is not None and (value != "" or name == "unit")}


@dataclass(frozen=True, kw_only=True)
class DicomFormat:
    """A folder of DICOM files, or one file.

    `series` names the SeriesInstanceUID where there are several under the path, and in brackets what sets one stack
    apart where a series holds several volumes at one place: b_value, echo_time, image_type, temporal_position,
    trigger_time, acquisition, direction, stack, or phase (rank in time at each position, from 1).
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "DICOM series of CT, MR and PET: a folder (searched through) or one file"
    suffixes: ClassVar[tuple[str, ...]] = (".dcm",)
    priority: ClassVar[int] = 20

    def accepts(self, path: Path) -> bool:
        """Whether the file, or any file under the folder, begins as DICOM does."""
        return next(dicom_files(path), None) is not None if path.is_dir() else is_dicom(path)

    def open(self, path: Path, series: str | None = None) -> ScanSource:
        """Raises ImageError, with numbers, where it is not one regular stack of slices."""
        return DicomSource(path, series)


plugin = DicomFormat
