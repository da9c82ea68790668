"""DICOM files under a path, grouped into series; headers only."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError

from phenolens.core.errors import ImageError, nearest
from phenolens.scans.opening import decoding

NO_IMAGES = ("RTSTRUCT", "RTDOSE", "RTPLAN", "SEG", "SR", "PR", "KO", "REG", "RWV", "FID", "DOC", "OT", "ANN", "M3D")
"""Modalities that hold no scan."""
_DIRECTORY = "1.2.840.10008.1.3.10"
_TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "PatientID"),
    *(
        "Modality",
        "SeriesDescription",
        "ProtocolName",
        "SeriesNumber",
        "InstanceNumber",
        "ImageType",
        "BodyPartExamined",
    ),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsStored", "PixelRepresentation"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence", "PhotometricInterpretation"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "GantryDetectorTilt"),
    *("EchoTime", "EchoNumbers", "RepetitionTime", "InversionTime", "FlipAngle", "TriggerTime", "DiffusionBValue"),
    *("DiffusionGradientOrientation", "TemporalPositionIdentifier", "AcquisitionNumber", "AcquisitionTime"),
    *("AcquisitionDate", "AcquisitionDateTime", "ContentTime", "SeriesDate", "SeriesTime", "ContrastBolusAgent"),
    *("ContrastBolusStartTime", "ScanningSequence", "SequenceVariant", "ScanOptions", "SequenceName"),
    *("PulseSequenceName", "MRAcquisitionType", "MagneticFieldStrength", "KVP", "ConvolutionKernel", "Manufacturer"),
    *("ManufacturerModelName", "Units", "CorrectedImage", "DecayCorrection", "PatientWeight", "FrameReferenceTime"),
    *("RadiopharmaceuticalInformationSequence", "ReconstructionMethod", "ComplexImageComponent", "ContrastBolusRoute"),
)
_PRIVATE = (
    *((0x0019, 0x0010), (0x0019, 0x100C), (0x0043, 0x0010), (0x0043, 0x1039), (0x2001, 0x0010), (0x2001, 0x1003)),
    *((0x7053, 0x0010), (0x7053, 0x1000), (0x7053, 0x1009), (0x0009, 0x0010), (0x0009, 0x100D)),
)
"""b-values of Siemens, GE and Philips, SUV factors of Philips, the scan's start of GE; each with its creator."""
HEADER: list[Any] = [*_TAGS, *((group << 16) + element for group, element in _PRIVATE)]
_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Series:
    """The files of one series that hold images, with their headers."""

    uid: str
    files: tuple[tuple[Path, Any], ...]

    @property
    def modality(self) -> str:
        return str(self.files[0][1].get("Modality") or "")

    @property
    def description(self) -> str:
        first = self.files[0][1]
        return str(first.get("SeriesDescription") or first.get("ProtocolName") or "").strip()

    @property
    def slices(self) -> int:
        return sum(int(header.get("NumberOfFrames") or 1) for _, header in self.files)


@contextmanager
def quiet() -> Iterator[None]:
    """Without pydicom's warnings of what real files do against the standard; its own faults as ValueError."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)
        try:
            yield
        except (BytesLengthException, InvalidDicomError) as fault:
            raise ValueError(str(fault)) from fault


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does: with its preamble, or with an element of group 2 or 8 without one."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(132)
    if start[128:] == b"DICM":
        return True
    bare = path.suffix.lower() in ("", ".dcm", ".ima")
    return (
        bare
        and len(start) == 132
        and start[:4] in (b"\2\0\0\0", b"\2\0\1\0", b"\x08\0\0\0", b"\x08\0\5\0", b"\x08\0\x08\0")
    )


def dicom_files(path: Path) -> Iterator[Path]:
    """The DICOM files at or anywhere under a path, sorted; hidden files are passed over."""
    if path.is_file():
        yield path
        return
    for file in sorted(p for p in path.rglob("*") if not p.name.startswith(".")):
        if is_dicom(file):
            yield file


def read_header(path: Path) -> Any:
    """The tags that are used here, without pixels. Raises ImageError naming the file where it cannot be read."""
    with decoding(path), quiet():
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(HEADER), force=True)


def series_under(path: Path) -> tuple[list[Series], Counter[str]]:
    """The series of images at or under a path, sorted by UID, and how many other DICOM files there are by modality."""
    groups: dict[str, list[tuple[Path, Any]]] = {}
    others: Counter[str] = Counter()
    for file in dicom_files(path):
        header = read_header(file)
        if header.get("SOPClassUID", _DIRECTORY) == _DIRECTORY:
            continue
        kind = str(header.get("Modality") or "no modality")
        if "Rows" not in header or "SeriesInstanceUID" not in header or kind in NO_IMAGES:
            others[kind] += 1
            continue
        groups.setdefault(str(header.SeriesInstanceUID), []).append((file, header))
    return [Series(uid=uid, files=tuple(groups[uid])) for uid in sorted(groups)], others


def choose(path: Path, uid: str | None) -> Series:
    """The one series at or under path, or the one named. Raises ImageError listing all where that is not one."""
    found, others = series_under(path)
    named = [s for s in found if uid in (None, "", s.uid)]
    if len(named) == 1:
        return named[0]
    if not found:
        what = ", ".join(f"{n} of modality {kind}" for kind, n in sorted(others.items())) or "none readable"
        raise ImageError(
            f"DICOM without a scan ({what})",
            expected="a series of images",
            todo="name the folder of the scan; structure sets and segmentations belong in the column mask",
            where=str(path),
        )
    listed = listing(found)
    if uid:
        raise ImageError(
            f"no series '{uid}' among {len(found)}: {listed}",
            expected="the SeriesInstanceUID of one of them",
            todo=f"correct the column series of the images table{nearest(uid, [s.uid for s in found])}",
            where=str(path),
        )
    raise ImageError(
        f"{len(found)} series under one path: {listed}",
        expected="one series",
        todo="write the UID of the one that is meant in the column series of the images table, or name its own folder",
        where=str(path),
    )


def listing(found: Sequence[Series]) -> str:
    """Series in words: UID, description, modality, number of slices."""
    said = (f"{s.uid} ({s.modality or 'no modality'}, '{s.description}', {s.slices} slices)" for s in found[:_SHOWN])
    return "; ".join(said) + (f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
