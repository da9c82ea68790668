"""Write DICOM series: one file a slice, MR or CT, anonymous; equal content gives equal bytes.

Slices are stored under names that say nothing of their order, as archives do. Attributes follow DICOM PS3.3, MR Image
and CT Image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phenolens.core.store import atomic
from phenolens.core.types import Frame

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_CLASSES = {"MR": "1.2.840.10008.5.1.4.1.1.4", "CT": "1.2.840.10008.5.1.4.1.1.2"}
_EXPLICIT = "1.2.840.10008.1.2.1"


def uid(*what: str) -> str:
    """A UID made of words, the same on every machine (form 2.25, DICOM PS3.5 B.2)."""
    return f"2.25.{int(hashlib.sha256('/'.join(what).encode()).hexdigest()[:30], 16)}"


@dataclass(frozen=True, kw_only=True)
class Series:
    """Who and what a series is: patient id, image id, site, modality, description, further attributes by keyword."""

    patient: str
    image: str
    site: str
    modality: str
    description: str
    number: int = 1
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def study_uid(self) -> str:
        return uid("study", self.site, self.patient)

    @property
    def series_uid(self) -> str:
        return uid("series", self.site, self.patient, self.image)

    @property
    def frame_uid(self) -> str:
        return uid("frame of reference", self.site, self.patient)

    @property
    def sop_class(self) -> str:
        return _CLASSES[self.modality]

    def slice_uid(self, z: int) -> str:
        return uid("slice", self.site, self.patient, self.image, str(z))


def head(series: Series, sop_class: str, sop_uid: str) -> Dataset:
    """Patient, study and series of a data set, with its file's meta information."""
    from pydicom.dataset import Dataset, FileMetaDataset

    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = sop_class
    made.file_meta.MediaStorageSOPInstanceUID = sop_uid
    made.file_meta.TransferSyntaxUID = _EXPLICIT
    made.file_meta.ImplementationClassUID = uid("phenolens synthetic scans")
    made.file_meta.ImplementationVersionName = "PHENOLENS"
    made.SOPClassUID, made.SOPInstanceUID = sop_class, sop_uid
    made.PatientName, made.PatientID = f"{series.patient}^", series.patient
    made.PatientBirthDate = made.PatientSex = ""
    made.PatientIdentityRemoved, made.DeidentificationMethod = "YES", "synthetic, no patient"
    made.StudyInstanceUID, made.SeriesInstanceUID = series.study_uid, series.series_uid
    made.StudyDate = made.StudyTime = made.AccessionNumber = made.ReferringPhysicianName = made.StudyID = ""
    made.SeriesNumber, made.SeriesDescription = series.number, series.description
    made.Modality, made.Manufacturer = series.modality, "phenolens"
    made.InstitutionName = series.site
    return made


def save(data: Dataset, path: Path) -> None:
    """Write a data set as a DICOM file, whole or not at all."""
    with atomic(path) as part:
        data.save_as(part, enforce_file_format=True)


def write_series(folder: Path, stored: npt.NDArray[np.int16], frame: Frame, series: Series) -> list[Dataset]:
    """Write an array (z, y, x) of stored values as one file a slice into a folder; returns the slices in order."""
    made = []
    turn = np.array(frame.direction or np.eye(3).ravel(), dtype=float).reshape(3, 3)
    for z, plane in enumerate(stored):
        one = head(series, series.sop_class, series.slice_uid(z))
        at = np.asarray(frame.origin) + turn[:, 2] * frame.spacing[2] * z
        one.FrameOfReferenceUID, one.PositionReferenceIndicator = series.frame_uid, ""
        one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL" if series.modality == "CT" else "M"]
        one.InstanceNumber, one.AcquisitionNumber = z + 1, 1
        one.ImagePositionPatient = [f"{v:.6g}" for v in at]
        one.ImageOrientationPatient = [f"{v:.8g}" for v in (*turn[:, 0], *turn[:, 1])]
        one.PixelSpacing = [f"{frame.spacing[1]:.6g}", f"{frame.spacing[0]:.6g}"]
        one.SliceThickness = one.SpacingBetweenSlices = f"{frame.spacing[2]:.6g}"
        one.Rows, one.Columns = plane.shape
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit = 16, 16, 15
        signed = bool((stored < 0).any())
        one.PixelRepresentation = int(signed)
        for keyword, value in series.facts.items():
            setattr(one, keyword, value)
        one.PixelData = plane.astype("<i2" if signed else "<u2").tobytes()
        save(one, folder / f"{hashlib.sha256(one.SOPInstanceUID.encode()).hexdigest()[:12]}.dcm")
        made.append(one)
    return made
