"""Which DICOM series an image of a table is, from one header; slides in DICOM are told the same way."""

from __future__ import annotations

from pathlib import Path

from phenolens.core.errors import ImageError
from phenolens.scans._dicom_files import dicom_files, is_dicom, quiet, read_header
from phenolens.scans._dicom_stacks import parse_series


def uids(path: Path, series: str | None = None) -> frozenset[str]:
    """SeriesInstanceUID and SOPInstanceUID of the first file at or under a path; of a named series its own UID alone.

    Nothing where there is no DICOM, or no header that can be read: the run says so when it opens the image.
    """
    try:
        named, _ = parse_series(series, str(path))
        if named:
            return frozenset({named})
        first = next((file for file in dicom_files(path) if is_dicom(file)), None)
        header = {} if first is None else read_header(first)
    except (ImageError, OSError):
        return frozenset()
    with quiet():
        found = [str(header.get(name) or "") for name in ("SeriesInstanceUID", "SOPInstanceUID")]
    return frozenset(uid for uid in found if uid)
