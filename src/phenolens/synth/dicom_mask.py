"""Write masks as DICOM: contours (RT Structure Set) and segmentations, on the grid of a written series."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from phenolens.core.types import Frame
from phenolens.synth.dicom_file import Series, head, save, uid
from phenolens.synth.picture import MaskArray

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
_SEG_NAME = "lesion"


def write_rtstruct(path: Path, mask: MaskArray, frame: Frame, series: Series) -> None:
    """Write a mask (z, y, x) as contours in mm, one region of interest a value, whole or not at all.

    Contours run half way between voxels inside and outside, so the centres inside them are the mask's voxels.
    """
    from pydicom.dataset import Dataset

    data = head(series, _RTSTRUCT, uid("rtstruct", series.series_uid))
    data.Modality, data.SeriesInstanceUID = "RTSTRUCT", uid("rtstruct series", series.series_uid)
    data.SeriesDescription, data.SeriesNumber = "contours", 100 + series.number
    data.StructureSetLabel, data.StructureSetDate, data.StructureSetTime = "LESIONS", "", ""
    data.ReferencedFrameOfReferenceSequence = [_referenced(series, len(mask))]
    data.StructureSetROISequence, data.ROIContourSequence, data.RTROIObservationsSequence = [], [], []
    for value in range(1, int(mask.max()) + 1):
        roi, drawn, seen = Dataset(), Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = value, f"GTV-{value}"
        roi.ReferencedFrameOfReferenceUID, roi.ROIGenerationAlgorithm = series.frame_uid, "MANUAL"
        drawn.ReferencedROINumber, drawn.ROIDisplayColor = value, [255, 0, 0]
        drawn.ContourSequence = [one for z in range(len(mask)) for one in _contours(mask[z] == value, z, frame, series)]
        seen.ObservationNumber = seen.ReferencedROINumber = value
        seen.RTROIInterpretedType, seen.ROIInterpreter = "GTV", ""
        data.StructureSetROISequence.append(roi)
        data.ROIContourSequence.append(drawn)
        data.RTROIObservationsSequence.append(seen)
    save(data, path)


def _referenced(series: Series, slices: int) -> Dataset:
    from pydicom.dataset import Dataset

    frame, study, whole = Dataset(), Dataset(), Dataset()
    frame.FrameOfReferenceUID = series.frame_uid
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", series.study_uid
    whole.SeriesInstanceUID = series.series_uid
    whole.ContourImageSequence = [_image(series, z) for z in range(slices)]
    study.RTReferencedSeriesSequence = [whole]
    frame.RTReferencedStudySequence = [study]
    return frame


def _image(series: Series, z: int) -> Dataset:
    from pydicom.dataset import Dataset

    one = Dataset()
    one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID = series.sop_class, series.slice_uid(z)
    return one


def _contours(inside: np.ndarray, z: int, frame: Frame, series: Series) -> list[Dataset]:
    """The closed contours of one slice."""
    if not inside.any():
        return []
    from pydicom.dataset import Dataset
    from skimage.measure import find_contours

    turn = np.array(frame.direction or np.eye(3).ravel(), dtype=float).reshape(3, 3)
    found = []
    for line in find_contours(np.pad(inside, 1).astype(float), 0.5):
        index = np.column_stack([line[:-1, 1] - 1, line[:-1, 0] - 1, np.full(len(line) - 1, z)])
        mm = index * frame.spacing @ turn.T + frame.origin
        one = Dataset()
        one.ContourImageSequence = [_image(series, z)]
        one.ContourGeometricType, one.NumberOfContourPoints = "CLOSED_PLANAR", len(mm)
        one.ContourData = [f"{v:.4f}" for v in mm.ravel()]
        found.append(one)
    return found


def write_seg(path: Path, mask: MaskArray, slices: list[Dataset], series: Series) -> None:
    """Write a mask (z, y, x) as a binary DICOM segmentation of the series, one segment a value, whole or not at all."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    def described(value: int) -> hd.seg.SegmentDescription:
        return hd.seg.SegmentDescription(
            segment_number=value,
            segment_label=f"{_SEG_NAME} {value}",
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Lesion,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )

    values = range(1, int(mask.max()) + 1)
    data = hd.seg.Segmentation(
        source_images=slices,
        pixel_array=np.stack([mask == v for v in values], axis=-1).astype(np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[described(v) for v in values],
        series_instance_uid=uid("seg series", series.series_uid),
        series_number=100 + series.number,
        sop_instance_uid=uid("seg", series.series_uid),
        instance_number=1,
        manufacturer="phenolens",
        manufacturer_model_name="synthetic scans",
        software_versions="1",
        device_serial_number="0",
        content_label="LESIONS",
    )
    _settled(data, series)
    save(data, path)


def _settled(data: Dataset, series: Series) -> None:
    """Put fixed values where the library writes the time or a random UID."""
    data.ContentDate, data.ContentTime = "20000101", "000000"
    for keyword in (
        "ContributingEquipmentSequence",
        "InstanceCreationDate",
        "InstanceCreationTime",
        "SeriesDate",
        "SeriesTime",
    ):
        if keyword in data:
            del data[keyword]
    organisation = uid("seg dimensions", series.series_uid)
    for one in (*data.DimensionOrganizationSequence, *data.DimensionIndexSequence):
        one.DimensionOrganizationUID = organisation
