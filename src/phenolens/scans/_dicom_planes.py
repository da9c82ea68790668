"""The planes of a DICOM series, classic (a file a plane) or enhanced (many in one file).

Sources: DICOM PS3.3 C.7.6.2 (Image Plane), C.7.6.16 (Multi-frame Functional Groups), C.8.13 (Enhanced MR).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phenolens.core.errors import ImageError
from phenolens.scans._dicom_files import Series
from phenolens.scans._tags import b_value, number, text

Traits = Mapping[str, float | str]


@dataclass(frozen=True, kw_only=True)
class Plane:
    """One plane: where its pixels are, where it lies (mm, LPS), and what sets it apart.

    index is the number of the frame in its file, from 0. axes are the cosines along a row and along a column; spacing
    is along a row, along a column, and the thickness (0 where none is stated), mm; size is columns, rows.
    """

    file: Path
    index: int
    uid: str
    position: tuple[float, ...]
    axes: tuple[float, ...]
    spacing: tuple[float, float, float]
    size: tuple[int, int]
    rescale: tuple[float, float]
    traits: Traits


def planes_of(series: Series, where: str) -> tuple[list[Plane], tuple[str, ...]]:
    """All planes of a series; localizers beside other planes and files copied twice are left out, with notes.

    Raises ImageError where a plane has no position, or the pixels are no grey values.
    """
    made: list[Plane] = []
    local: list[Plane] = []
    for file, header in series.files:
        found = _frames(file, header, where)
        kinds = [v.upper() for v in header.get("ImageType") or ()]
        (local if "LOCALIZER" in kinds else made).extend(found)
    notes = []
    if local and made:
        notes.append(f"{len(local)} localizer images of the series are left out")
    if local and not made:
        raise _refused(f"a series of {len(local)} localizer images", "a scan", "name another series", where)
    once = {(p.uid, p.index): p for p in made}
    if len(once) < len(made):
        notes.append(f"{len(made) - len(once)} files that are copies of others (same SOPInstanceUID) are left out")
    return list(once.values()), tuple(notes)


def _frames(file: Path, header: Any, where: str) -> list[Plane]:
    palette = text(header.get("PhotometricInterpretation")) not in ("", "MONOCHROME1", "MONOCHROME2")
    if palette or int(header.get("SamplesPerPixel") or 1) != 1:
        raise _refused(
            "colour images", "one grey value a voxel", "name the original series, not a picture of it", where
        )
    if "ModalityLUTSequence" in header:
        raise _refused(
            "values behind a look-up table",
            "a rescale slope and intercept",
            "export the series again without it",
            where,
        )
    shared = header.get("SharedFunctionalGroupsSequence") or [None]
    frames = header.get("PerFrameFunctionalGroupsSequence")
    if frames is None:
        if int(header.get("NumberOfFrames") or 1) > 1:
            raise _refused(
                f"{header.NumberOfFrames} frames in one file without their positions",
                "a file a slice, or an enhanced multi-frame object",
                "export the series again in one of these forms",
                where,
            )
        return [_plane(file, 0, header, (header,), where)]
    return [_plane(file, i, header, (frame, shared[0], header), where) for i, frame in enumerate(frames)]


def _plane(file: Path, index: int, header: Any, groups: Sequence[Any], where: str) -> Plane:
    position = stated(groups, "PlanePositionSequence", "ImagePositionPatient")
    axes = stated(groups, "PlaneOrientationSequence", "ImageOrientationPatient")
    pixels = stated(groups, "PixelMeasuresSequence", "PixelSpacing")
    missing = [
        name
        for name, found, count in (
            ("ImagePositionPatient", position, 3),
            ("ImageOrientationPatient", axes, 6),
            ("PixelSpacing", pixels, 2),
        )
        if found is None or len(found) != count
    ]
    if missing:
        raise _refused(
            f"images without {', '.join(missing)} ({header.get('Modality')}, series {header.get('SeriesInstanceUID')})",
            "slices of CT, MR or PET with their positions",
            "name the original series; secondary captures and projections hold no positions",
            where,
        )
    thickness = stated(groups, "PixelMeasuresSequence", "SliceThickness")
    between = stated(groups, "PixelMeasuresSequence", "SpacingBetweenSlices")
    slope = number(stated(groups, "PixelValueTransformationSequence", "RescaleSlope"))
    intercept = number(stated(groups, "PixelValueTransformationSequence", "RescaleIntercept"))
    if header.get("Modality") == "CT" and (slope is None or intercept is None):
        raise _refused("CT without rescale slope and intercept", "values in HU", "export the series again", where)
    return Plane(
        file=file,
        index=index,
        uid=str(header.get("SOPInstanceUID", file)),
        position=tuple(float(v) for v in position),
        axes=tuple(float(v) for v in axes),
        spacing=(float(pixels[1]), float(pixels[0]), abs(number(between) or number(thickness) or 0.0)),
        size=(int(header.Columns), int(header.Rows)),
        rescale=(1.0 if slope is None else slope, intercept or 0.0),
        traits=_traits(groups),
    )


def stated(groups: Sequence[Any], sequence: str, name: str) -> Any:
    """A tag from the frame's own group, else the shared one, else the file; None where it is nowhere."""
    for group in groups:
        if group is None:
            continue
        inner = group.get(sequence)
        for place in ((inner[0],) if inner else ()) + (group,):
            if place.get(name) not in (None, ""):
                return place.get(name)
    return None


def _traits(groups: Sequence[Any]) -> dict[str, float | str]:
    own = groups[0]
    kinds = [v.upper() for v in stated(groups, "MRImageFrameTypeSequence", "FrameType") or ()] or [
        v.upper() for v in stated(groups, "", "ImageType") or ()
    ]
    direction = stated(groups, "MRDiffusionSequence", "DiffusionGradientOrientation")
    content = (own.get("FrameContentSequence") or [own])[0]
    found: dict[str, float | str | None] = {
        "b_value": b_value([g for g in groups if g is not None]),
        "echo_time": number(stated(groups, "MREchoSequence", "EffectiveEchoTime") or stated(groups, "", "EchoTime")),
        "image_type": "/".join(kinds[2:]),
        "temporal_position": number(content.get("TemporalPositionIndex", own.get("TemporalPositionIdentifier"))),
        "trigger_time": number(own.get("TriggerTime")),
        "acquisition": number(own.get("AcquisitionNumber", content.get("FrameAcquisitionNumber"))),
        "direction": "" if not direction else "/".join(f"{float(v):.3f}" for v in direction),
        "stack": text(content.get("StackID")),
        "time": text(content.get("FrameAcquisitionDateTime") or own.get("AcquisitionTime") or own.get("ContentTime")),
        "instance": number(own.get("InstanceNumber")),
    }
    return {name: value for name, value in found.items() if value not in (None, "")}


def _refused(found: str, expected: str, todo: str, where: str) -> ImageError:
    return ImageError(found, expected=expected, todo=todo, where=where)
