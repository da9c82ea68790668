"""A scan that can be read by box, and how one is opened."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

from phenolens.core.errors import ImageError
from phenolens.core.types import FloatArray, Frame
from phenolens.scans._source import ScanHeader, ScanSource
from phenolens.scans.geometry import Index
from phenolens.scans.opening import decoding, open_source

__all__ = ["Scan", "ScanHeader", "ScanSource", "open_scan"]


class Scan:
    """One scan: read by box of voxels; open it with `open_scan`.

    frame: shape, spacing, origin (mm) and direction, axis order x, y, z. header: modality, unit and what else the file
    says. Only what is asked for is held in memory; not thread-safe: each process opens its own.
    """

    def __init__(self, source: ScanSource, *, patient: str, image: str, where: str) -> None:
        self.patient, self.image = patient, image
        self.header: ScanHeader = source.header
        self._source, self._where = source, where

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def frame(self) -> Frame:
        return self.header.frame

    def read(self, lo: Index, shape: Index) -> FloatArray:
        """The voxels (z, y, x) float32 of a box that starts at index lo and has shape, both x, y, z.

        Rescaled values (HU, SUVbw or as stored); NaN stays NaN. Raises ImageError where the box reaches outside the
        frame or the file cannot be read.
        """
        if min(lo) < 0 or min(shape) < 1 or any(a + n > m for a, n, m in zip(lo, shape, self.frame.shape, strict=True)):
            raise ImageError(
                f"a box of {shape} voxels at {lo} asked of a scan of {self.frame.shape} voxels",
                expected="a box inside the scan",
                todo="cut the box at the scan's edges (Roi.box does)",
                where=self._where,
            )
        with decoding(self._where):
            return self._source.read(lo, shape)

    def whole(self) -> FloatArray:
        """All voxels (z, y, x) float32; 4 bytes a voxel."""
        x, y, z = self.frame.shape
        return self.read((0, 0, 0), (x, y, z))

    def close(self) -> None:
        """Close the file; the scan cannot be read afterwards."""
        self._source.close()


def open_scan(path: str | os.PathLike[str], *, patient: str = "", image: str = "", series: str | None = None) -> Scan:
    """Open a scan with the first format that can.

    path: a file, or a folder of DICOM files. series: which DICOM series to take where there are several under the path
    (its SeriesInstanceUID), and which stack of it, as `UID[b_value=800]` or `[b_value=800]`; see `formats.dicom`.
    Raises ImageError (found, expected, todo) naming what each format said.
    """
    source, where = open_source(path, series)
    return Scan(source, patient=patient, image=image or where.name.split(".")[0], where=str(where))
