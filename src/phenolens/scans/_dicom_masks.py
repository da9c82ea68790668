"""Masks in DICOM: segmentation objects and structure sets.

Sources: DICOM PS3.3 A.51 (Segmentation), C.8.20 (segments, BINARY, FRACTIONAL, LABELMAP), C.8.8.5 (structure set)
and C.8.8.6 (ROI contours).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

from phenolens.core.errors import ImageError, nearest
from phenolens.core.types import Frame
from phenolens.scans._carry import Matrix
from phenolens.scans._contours import Points, region_of_contours
from phenolens.scans._dicom_files import dicom_files, is_dicom, quiet, read_header
from phenolens.scans._dicom_pixels import stored
from phenolens.scans._dicom_planes import stated
from phenolens.scans._source import frame_of
from phenolens.scans._tags import number, text
from phenolens.scans.geometry import Roi, roi_of

_KINDS = ("SEG", "RTSTRUCT")
_HALF = 0.5
"""Share of its maximum from which a voxel of a fractional segmentation counts as inside."""
_EVEN = 0.1
_MOST_LISTED = 12
"""The most segments or structures that a message names."""


@quiet()
def find_mask(path: Path) -> tuple[Path, str] | None:
    """The segmentation or structure set at or under a path, and which it is; None where there is none.

    Raises ImageError where a folder holds several.
    """
    if path.is_file() and not is_dicom(path):
        return None
    found = [(f, kind) for f in dicom_files(path) if (kind := text(read_header(f).get("Modality"))) in _KINDS]
    if len(found) > 1:
        names = ", ".join(f"{f.name} ({kind})" for f, kind in found[:10])
        raise ImageError(
            f"{len(found)} segmentations and structure sets under one path: {names}",
            expected="one",
            todo="name the file that is meant in the column mask",
            where=str(path),
        )
    return found[0] if found else None


@quiet()
def read_segmentation(file: Path, value: int | None, name: str | None) -> Roi:
    """One segment (or all, by the name "*") of a segmentation object, on its own grid.

    BINARY and LABELMAP as they are, FRACTIONAL from half of its maximum up. Raises ImageError where the segment is
    absent or empty, or the object is of no scan.
    """
    where = str(file)
    header = pydicom.dcmread(file, stop_before_pixels=True)
    known = {int(s.SegmentNumber): text(s.get("SegmentLabel")) for s in header.get("SegmentSequence") or ()}
    wanted = _chosen(known, value, name, "segment", where)
    kind = text(header.get("SegmentationType")).upper()
    frames = list(header.get("PerFrameFunctionalGroupsSequence") or ())
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    places = [stated((f, shared), "PlanePositionSequence", "ImagePositionPatient") for f in frames]
    if not frames or any(p is None for p in places):
        raise ImageError(
            "a segmentation whose frames have no positions in the patient",
            expected="a segmentation of CT, MR or PET",
            todo="name the segmentation of this scan (one of a slide has none)",
            where=where,
        )
    numbers = [_segment_of(f, shared) for f in frames]
    at = np.array(places, dtype=np.float64)
    frame, slot, notes = _seg_grid(header, frames, shared, at, where)
    made = np.zeros(frame.shape[::-1], dtype=np.bool_)
    used = [i for i, n in enumerate(numbers) if kind == "LABELMAP" or n in wanted]
    most = float(header.get("MaximumFractionalValue") or 1) if kind == "FRACTIONAL" else 1.0
    for i, pixels in zip(used, stored(file, used), strict=True) if used else ():
        made[slot[i]] |= np.isin(pixels, sorted(wanted)) if kind == "LABELMAP" else pixels >= _HALF * most
    roi = roi_of(made, frame, notes=notes)
    if roi is None:
        raise _empty(
            f"segment {', '.join(f'{n} {known[n]!r}' for n in sorted(wanted))}", f"{len(frames)} frames", where
        )
    return roi


@quiet()
def read_structure(file: Path, frame: Frame, value: int | None, name: str | None, *, matrix: Matrix | None) -> Roi:
    """One ROI (or all, by the name "*") of a structure set, drawn on the grid of the scan's `frame`.

    Raises ImageError where the ROI is absent, has no closed contour, or encloses no voxel.
    """
    where = str(file)
    data = pydicom.dcmread(file)
    known = {int(r.ROINumber): text(r.get("ROIName")) for r in data.get("StructureSetROISequence") or ()}
    wanted = _chosen(known, value, name, "ROI", where)
    contours: dict[int, list[Points]] = {n: [] for n in sorted(wanted)}
    left: list[str] = []
    for item in data.get("ROIContourSequence") or ():
        if int(item.ReferencedROINumber) in wanted:
            closed, other = _closed(item.get("ContourSequence") or ())
            contours[int(item.ReferencedROINumber)] += closed
            left += other
    parts = [c for c in contours.values() if c]
    if not parts:
        named = ", ".join(f"{n} {known[n]!r}" for n in sorted(wanted))
        raise _empty(f"ROI {named}", f"no closed contour ({len(left)} of other kinds)", where)
    rois = [region_of_contours(part, frame, matrix=matrix, where=where) for part in parts]
    notes = (f"{len(left)} contours that are no closed planes are left out",) if left else ()
    return _union(rois, notes)


def _closed(sequence: Sequence[Any]) -> tuple[list[Points], list[str]]:
    """Closed contours (n, 3) in mm, and the kinds of the others."""
    closed, others = [], []
    for contour in sequence:
        kind = text(contour.get("ContourGeometricType")).upper()
        points = np.array(contour.get("ContourData") or (), dtype=np.float64).reshape(-1, 3)
        if kind in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "CLOSED_PLANAR_XOR") and len(points) >= 3:
            closed.append(points)
        else:
            others.append(kind)
    return closed, others


def _union(rois: Sequence[Roi], notes: tuple[str, ...]) -> Roi:
    lo = np.min([r.lo for r in rois], axis=0)
    hi = np.max([np.array(r.lo) + r.size for r in rois], axis=0)
    mask = np.zeros((hi - lo)[::-1], dtype=np.bool_)
    start = (int(lo[0]), int(lo[1]), int(lo[2]))
    x, y, z = (int(v) for v in hi - lo)
    for roi in rois:
        mask |= roi.within(start, (x, y, z))
    said = dict.fromkeys(note for roi in rois for note in roi.notes)
    return Roi(lo=start, inside=mask, frame=rois[0].frame, notes=(*said, *notes))


def _chosen(known: dict[int, str], value: int | None, name: str | None, word: str, where: str) -> set[int]:
    """The numbers that are meant. Raises ImageError listing what there is."""
    shown = [f"{n} '{label}'" for n, label in sorted(known.items())]
    listed = ", ".join(shown[:_MOST_LISTED]) + (", …" if len(shown) > _MOST_LISTED else "") or "none"
    if name == "*" and known:
        return set(known)
    if value is not None and name is None:
        hits = [n for n in known if n == value]
    elif name is not None:
        same = [n for n, label in known.items() if label == name]
        hits = same or [n for n, label in known.items() if label.strip().casefold() == name.strip().casefold()]
    else:
        hits = list(known)
    if len(hits) == 1:
        return set(hits)
    asked = f"'{name}'" if name is not None else "no choice" if value is None else f"number {value}"
    hint = nearest(name, known.values()) if name is not None else ""
    raise ImageError(
        f"{asked} where the file holds {len(known)} {word}{'' if len(known) == 1 else 's'}: {listed}",
        expected=f"one {word}, by its number or its name",
        todo=f"write its number in the column mask_value or its name in mask_name, * for all together{hint}",
        where=where,
    )


def _segment_of(frame: Any, shared: Any) -> int | None:
    found = number(stated((frame, shared), "SegmentIdentificationSequence", "ReferencedSegmentNumber"))
    return None if found is None else int(found)


def _seg_grid(
    header: Any, frames: Sequence[Any], shared: Any, at: npt.NDArray[np.float64], where: str
) -> tuple[Frame, npt.NDArray[np.int_], tuple[str, ...]]:
    """The grid that holds all frames, the slice of each, and notes; frames may be sparse."""
    groups = (frames[0], shared)
    axes = [stated((f, shared), "PlaneOrientationSequence", "ImageOrientationPatient") for f in frames]
    pixels = stated(groups, "PixelMeasuresSequence", "PixelSpacing")
    if pixels is None or any(a is None for a in axes):
        raise ImageError(
            "a segmentation without the orientation or the spacing of its frames",
            expected="ImageOrientationPatient and PixelSpacing",
            todo="write the segmentation again, or export it as NIfTI",
            where=where,
        )
    cosines = np.array(axes, dtype=np.float64)
    x, y = cosines[0, :3], cosines[0, 3:]
    normal = np.cross(x, y)
    along = at @ normal
    step = _seg_step(groups, along)
    slot = (along - along.min()) / step
    uneven = np.abs(slot - np.round(slot)).max() > _EVEN or np.abs(cosines - cosines[0]).max() > 1e-3
    sideways = np.abs((at - at[0]) @ np.stack([x, y]).T) / np.array([float(pixels[1]), float(pixels[0])])
    if uneven or sideways.max() > _EVEN:
        raise ImageError(
            f"a segmentation of {len(frames)} frames that lie on no even grid (steps of {step:.4g} mm)",
            expected="parallel frames at even distances",
            todo="export the segmentation on the scan's grid as NIfTI",
            where=where,
        )
    depth = int(np.round(slot.max())) + 1
    steps = np.column_stack([x * float(pixels[1]), y * float(pixels[0]), normal * step])
    shape = (int(header.Columns), int(header.Rows), depth)
    frame, notes = frame_of(shape, steps, at[along.argmin()].tolist(), where=where)
    return frame, np.round(slot).astype(int), notes


def _seg_step(groups: Sequence[Any], along: npt.NDArray[np.float64]) -> float:
    """mm between slices: as stated, if the frames fit it; else the least gap, or the thickness where that is sparse."""
    stated_step = number(stated(groups, "PixelMeasuresSequence", "SpacingBetweenSlices"))
    thickness = number(stated(groups, "PixelMeasuresSequence", "SliceThickness"))
    gaps = np.diff(np.unique(np.round(along, 3)))
    for step in (stated_step, thickness if len(gaps) and thickness and gaps.min() > 1.5 * thickness else None):
        if step and np.abs(gaps / step - np.round(gaps / step)).max(initial=0) <= _EVEN:
            return float(step)
    return float(gaps.min()) if len(gaps) else float(thickness or stated_step or 1.0)


def _empty(what: str, why: str, where: str) -> ImageError:
    return ImageError(
        f"an empty {what}: {why}",
        expected="a region of at least one voxel",
        todo="draw the region, or choose another by the column mask_value or mask_name",
        where=where,
    )
