"""DICOM files for tests: series, enhanced objects, PET, structure sets and segmentations, written with pydicom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.pixels import pack_bits
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian

from phenolens.core.types import Frame
from phenolens.scans.geometry import axes, to_mm

CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
    "enhanced MR": "1.2.840.10008.5.1.4.1.1.4.1",
    "enhanced CT": "1.2.840.10008.5.1.4.1.1.2.1",
    "RTSTRUCT": "1.2.840.10008.5.1.4.1.1.481.3",
    "SEG": "1.2.840.10008.5.1.4.1.1.66.4",
}
ROOT = "1.2.826.0.1.3680043.8.498"
Edit = Callable[[int, Any], None]
"""Changes the data set of slice i before it is written."""


def frame(
    shape: tuple[int, int, int] = (8, 6, 5),
    spacing: tuple[float, float, float] = (0.8, 0.9, 2.5),
    origin: tuple[float, float, float] = (-10.0, 20.0, 30.0),
    direction: tuple[float, ...] | None = None,
) -> Frame:
    return Frame(shape=shape, spacing=spacing, origin=origin, unit="mm", direction=direction)


def values(on: Frame, seed: int = 0) -> npt.NDArray[np.int16]:
    return np.random.default_rng(seed).integers(0, 2000, on.shape[::-1]).astype(np.int16)


def base(kind: str, uid: str, *, modality: str | None = None) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CLASSES[kind]
    meta.MediaStorageSOPInstanceUID = uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = CLASSES[kind], uid
    made.Modality = modality or kind
    made.PatientID, made.PatientName = "P1", "Secret^Name"
    made.StudyInstanceUID, made.FrameOfReferenceUID = f"{ROOT}.1", f"{ROOT}.2"
    return made


def _pixels(made: Any, stored: npt.NDArray[Any], *, bits: int = 16) -> None:
    made.Rows, made.Columns = stored.shape[-2:]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit = bits, bits, bits - 1
    made.PixelRepresentation = int(stored.dtype.kind == "i")
    made.PixelData = stored.tobytes()


def write_series(
    folder: Path,
    stored: npt.NDArray[Any],
    on: Frame,
    *,
    kind: str = "CT",
    number: int = 1,
    rescale: tuple[float, float] | None = (1.0, -1000.0),
    description: str = "",
    edit: Edit | None = None,
    name: str = "",
) -> str:
    """A file a slice, in shuffled file names; returns the SeriesInstanceUID. `edit` may change or (None) add tags."""
    folder.mkdir(parents=True, exist_ok=True)
    turn = axes(on)
    uid = f"{ROOT}.3.{number}"
    for i, plane in enumerate(stored):
        made = base(kind, f"{uid}.{i + 1}")
        made.SeriesInstanceUID, made.SeriesNumber, made.SeriesDescription = uid, number, description
        made.InstanceNumber, made.ImageType = i + 1, ["ORIGINAL", "PRIMARY", "AXIAL"]
        made.ImagePositionPatient = [f"{v:.6f}" for v in to_mm(on, (0, 0, i))]
        made.ImageOrientationPatient = [f"{v:.8f}" for v in (*turn[:, 0], *turn[:, 1])]
        made.PixelSpacing, made.SliceThickness = [on.spacing[1], on.spacing[0]], on.spacing[2]
        if rescale is not None:
            made.RescaleSlope, made.RescaleIntercept = rescale
        _pixels(made, np.ascontiguousarray(plane))
        if edit is not None:
            edit(i, made)
        made.save_as(folder / f"{name}{(i * 7 + 3) % 101:03d}-{i}.dcm", enforce_file_format=True)
    return uid


def write_enhanced(
    file: Path,
    stacks: Sequence[tuple[float, npt.NDArray[Any]]],
    on: Frame,
    *,
    kind: str = "enhanced MR",
    slope: float = 1,
) -> str:
    """One file with all planes of several stacks (b-value, voxels), the stacks interleaved; returns the series UID."""
    uid = f"{ROOT}.4.1"
    made = base(kind, f"{uid}.1", modality=kind.split()[1])
    made.SeriesInstanceUID, made.ImageType = uid, ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"]
    turn = axes(on)
    shared = Dataset()
    shared.PlaneOrientationSequence = Items([Dataset()])
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [*turn[:, 0], *turn[:, 1]]
    shared.PixelMeasuresSequence = Items([Dataset()])
    shared.PixelMeasuresSequence[0].PixelSpacing = [on.spacing[1], on.spacing[0]]
    shared.PixelMeasuresSequence[0].SliceThickness = on.spacing[2]
    made.SharedFunctionalGroupsSequence = Items([shared])
    frames, planes = [], []
    for z in reversed(range(on.shape[2])):
        for b, stored in stacks:
            item = Dataset()
            item.PlanePositionSequence = Items([Dataset()])
            item.PlanePositionSequence[0].ImagePositionPatient = list(to_mm(on, (0, 0, z)))
            item.PixelValueTransformationSequence = Items([Dataset()])
            item.PixelValueTransformationSequence[0].RescaleSlope = slope
            item.PixelValueTransformationSequence[0].RescaleIntercept = 0
            item.MRDiffusionSequence = Items([Dataset()])
            item.MRDiffusionSequence[0].DiffusionBValue = b
            frames.append(item)
            planes.append(stored[z])
    made.PerFrameFunctionalGroupsSequence, made.NumberOfFrames = Items(frames), len(frames)
    _pixels(made, np.stack(planes))
    made.save_as(file, enforce_file_format=True)
    return uid


def write_pet(folder: Path, stored: npt.NDArray[Any], on: Frame, *, edit: Edit | None = None) -> str:
    """PET in Bq/ml: 80 kg, 400 MBq of half-life 6600 s injected 12:00:00, scan at 13:00:00; slopes differ by slice."""

    def pet(i: int, made: Any) -> None:
        made.Units, made.DecayCorrection, made.CorrectedImage = "BQML", "START", ["ATTN", "DECY", "SCAT"]
        made.PatientWeight = 80
        made.SeriesDate, made.SeriesTime = "20200102", "130000"
        made.AcquisitionDate, made.AcquisitionTime = "20200102", f"1300{i:02d}.5"
        dose = Dataset()
        dose.RadionuclideTotalDose, dose.RadionuclideHalfLife = 4e8, 6600
        dose.RadiopharmaceuticalStartTime = "120000"
        made.RadiopharmaceuticalInformationSequence = Items([dose])
        made.RescaleSlope, made.RescaleIntercept = 0.5 + i, 0
        if edit is not None:
            edit(i, made)

    return write_series(folder, stored, on, kind="PT", edit=pet)


def write_rtstruct(
    file: Path, rois: dict[str, Sequence[npt.NDArray[np.float64]]], *, kind: str = "CLOSED_PLANAR"
) -> None:
    """A structure set: name → contours (n, 3) in mm; numbers count from 1."""
    made = base("RTSTRUCT", f"{ROOT}.5.1")
    made.SeriesInstanceUID = f"{ROOT}.5"
    named, drawn = [], []
    for number, (name, contours) in enumerate(rois.items(), start=1):
        roi = Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, f"{ROOT}.2"
        named.append(roi)
        item = Dataset()
        item.ReferencedROINumber, item.ContourSequence = number, Items([])
        for points in contours:
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(points)
            contour.ContourData = [f"{v:.4f}" for v in np.asarray(points).ravel()]
            item.ContourSequence.append(contour)
        drawn.append(item)
    made.StructureSetROISequence, made.ROIContourSequence = Items(named), Items(drawn)
    made.save_as(file, enforce_file_format=True)


def write_seg(
    file: Path, segments: dict[str, npt.NDArray[np.bool_]], on: Frame, *, kind: str = "BINARY", between: bool = True
) -> None:
    """A segmentation object: label → mask (z, y, x) of `on`; only slices that hold something are stored."""
    made = base("SEG", f"{ROOT}.6.1")
    made.SeriesInstanceUID, made.SegmentationType = f"{ROOT}.6", kind
    turn = axes(on)
    shared = Dataset()
    shared.PlaneOrientationSequence = Items([Dataset()])
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [*turn[:, 0], *turn[:, 1]]
    measures = Dataset()
    measures.PixelSpacing, measures.SliceThickness = [on.spacing[1], on.spacing[0]], on.spacing[2]
    if between:
        measures.SpacingBetweenSlices = on.spacing[2]
    shared.PixelMeasuresSequence = Items([measures])
    made.SharedFunctionalGroupsSequence = Items([shared])
    labels, frames, planes = [], [], []
    for number, (label, mask) in enumerate(segments.items(), start=1):
        segment = Dataset()
        segment.SegmentNumber, segment.SegmentLabel = number, label
        labels.append(segment)
        for z in np.flatnonzero(mask.any(axis=(1, 2))):
            item = Dataset()
            item.PlanePositionSequence = Items([Dataset()])
            item.PlanePositionSequence[0].ImagePositionPatient = list(to_mm(on, (0, 0, int(z))))
            item.SegmentIdentificationSequence = Items([Dataset()])
            item.SegmentIdentificationSequence[0].ReferencedSegmentNumber = number
            frames.append(item)
            planes.append(mask[z])
    made.SegmentSequence, made.PerFrameFunctionalGroupsSequence = Items(labels), Items(frames)
    made.NumberOfFrames = len(frames)
    stack = np.stack(planes)
    if kind == "BINARY":
        _pixels(made, stack.astype(np.uint8), bits=8)
        made.BitsAllocated, made.BitsStored, made.HighBit = 1, 1, 0
        made.PixelData = pack_bits(stack.astype(np.uint8))
    else:
        made.MaximumFractionalValue, made.SegmentationFractionalType = 200, "PROBABILITY"
        _pixels(made, (stack * 120).astype(np.uint8), bits=8)
    made.save_as(file, enforce_file_format=True)
