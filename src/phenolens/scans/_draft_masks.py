"""Which mask belongs to which scan, by file names and by the references in DICOM."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_MASK = r"(mask|masks|seg|segm|segmentation|label|labels|labelmap|roi|gtv|contour|lesion|lesions|tumou?r)"
IMAGE = ("image", "images", "img", "imgs", "scan", "scans", "vol", "volume", "volumes")
"""Words that say nothing but that a file or folder holds images."""


def is_mask(file: Path) -> bool:
    """Whether a file's name, or the folder it lies in, says that it is a mask."""
    words = _words(file)
    return any(re.fullmatch(_MASK, w) for w in words) or bool(re.fullmatch(_MASK, file.parent.name.lower()))


def beside(image: Path, masks: Sequence[Path], images: Sequence[Path]) -> str:
    """The one mask whose name is the image's but for the words mask and image; else the only one of a folder; or ""."""
    own = [m for m in masks if m.parent == image.parent]
    aside = [m for m in masks if re.fullmatch(_MASK, m.parent.name.lower())]
    near = own or [m for m in aside if m.parent.parent in (image.parent, image.parent.parent)]
    same = [m for m in near if _bare(m) == _bare(image)]
    if len(same) == 1:
        return str(same[0])
    alone = sum(i.parent == image.parent for i in images) == 1
    return str(own[0]) if len(own) == 1 and alone else ""


def masks_by_series(folder: Path) -> dict[str, str]:
    """SeriesInstanceUID → the segmentation or structure set that refers to it; "" where several do."""
    import pydicom

    from phenolens.scans._dicom_files import dicom_files, read_header

    made: dict[str, str] = {}
    for file in dicom_files(folder):
        kind = str(read_header(file).get("Modality") or "")
        if kind not in ("SEG", "RTSTRUCT"):
            continue
        data = pydicom.dcmread(file, stop_before_pixels=True, force=True)
        for uid in _referenced(data, kind):
            made[uid] = "" if uid in made else str(file)
    return made


def _referenced(data: Any, kind: str) -> set[str]:
    if kind == "SEG":
        return {
            str(r.SeriesInstanceUID) for r in data.get("ReferencedSeriesSequence") or () if "SeriesInstanceUID" in r
        }
    found = set()
    for place in data.get("ReferencedFrameOfReferenceSequence") or ():
        for study in place.get("RTReferencedStudySequence") or ():
            for series in study.get("RTReferencedSeriesSequence") or ():
                found.add(str(series.get("SeriesInstanceUID")))
    return found


def _words(file: Path) -> list[str]:
    return [w for w in re.split(r"[^a-z0-9]+", file.name.lower().split(".")[0]) if w]


def _bare(file: Path) -> tuple[str, ...]:
    return tuple(w for w in _words(file) if not re.fullmatch(_MASK, w) and w not in IMAGE)
