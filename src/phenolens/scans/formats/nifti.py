"""One volume a file: NIfTI read slice by slice; NRRD and MetaImage through SimpleITK."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from phenolens.core.errors import ImageError
from phenolens.core.types import FloatArray, Frame
from phenolens.scans._nifti import NiftiVoxels, read_header
from phenolens.scans._source import ScanHeader, ScanSource, frame_of
from phenolens.scans.geometry import Index

_NIFTI = (".nii", ".nii.gz")
_OTHERS = (".nrrd", ".nhdr", ".mha", ".mhd")


class NiftiSource:
    """One NIfTI file."""

    def __init__(self, path: Path) -> None:
        known = read_header(path)
        self.header = ScanHeader(frame=known.frame, format="nifti", facts={"unit": ""}, notes=known.notes)
        self._voxels = NiftiVoxels(path, known)

    def read(self, lo: Index, shape: Index) -> FloatArray:
        """See `ScanSource`."""
        return self._voxels.read(lo, shape)

    def close(self) -> None:
        self._voxels.close()


class ItkSource:
    """One NRRD or MetaImage file behind SimpleITK."""

    def __init__(self, path: Path) -> None:
        import SimpleITK as sitk  # noqa: N813

        self._reader = sitk.ImageFileReader()
        self._reader.SetFileName(str(path))
        self._reader.ReadImageInformation()
        _check(self._reader, path)
        frame, notes = _frame(self._reader, path)
        keys = self._reader.GetMetaDataKeys()
        if path.suffix.lower() in (".nrrd", ".nhdr") and "NRRD_space" not in keys:
            notes = (*notes, "the file states no orientation; taken as x to the left, y to the back, z to the head")
        self.header = ScanHeader(frame=frame, format="nifti", facts={"unit": ""}, notes=notes)

    def read(self, lo: Index, shape: Index) -> FloatArray:
        """See `ScanSource`."""
        import SimpleITK as sitk  # noqa: N813

        more = self._reader.GetDimension() - 3
        self._reader.SetExtractIndex([*lo, *[0] * more])
        self._reader.SetExtractSize([*shape, *[0] * more])
        found = self._reader.Execute()  # held until the copy is made: the view does not own its voxels
        return np.array(sitk.GetArrayViewFromImage(found), dtype=np.float32)

    def close(self) -> None:
        """Nothing is held open."""


def _check(reader: Any, path: Path) -> None:
    sizes, parts = reader.GetSize(), reader.GetNumberOfComponents()
    if len(sizes) >= 3 and not any(n > 1 for n in sizes[3:]) and parts == 1:
        return
    said = " x ".join(str(n) for n in sizes) + (f" with {parts} numbers a voxel" if parts > 1 else "")
    raise ImageError(
        f"an image of {said}",
        expected="one volume in three dimensions with one number a voxel",
        todo="write the volume that is meant to a file of its own and name that",
        where=str(path),
    )


def _frame(reader: Any, path: Path) -> tuple[Frame, tuple[str, ...]]:
    n = reader.GetDimension()
    direction = np.array(reader.GetDirection()).reshape(n, n)[:3, :3]
    steps = direction * np.array(reader.GetSpacing()[:3])
    return frame_of(reader.GetSize()[:3], steps, reader.GetOrigin()[:3], where=str(path))


@dataclass(frozen=True, kw_only=True)
class NiftiFormat:
    """A file that holds one volume."""

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "NIfTI (.nii, .nii.gz), NRRD and MetaImage (.nrrd, .mha, .mhd): one volume a file"
    suffixes: ClassVar[tuple[str, ...]] = (*_NIFTI, *_OTHERS)
    priority: ClassVar[int] = 10

    def accepts(self, path: Path) -> bool:
        """Whether the file's name ends as one of these formats."""
        return path.is_file() and path.name.lower().endswith(self.suffixes)

    def open(self, path: Path, series: str | None = None) -> ScanSource:
        """Raises ImageError where it is not one 3-D volume, or a DICOM series is asked of it."""
        if series:
            raise ImageError(
                f"series '{series}' asked of a file that holds one volume",
                expected="a series only for DICOM folders",
                todo="empty the column series of the images table for this image",
                where=str(path),
            )
        return NiftiSource(path) if path.name.lower().endswith(_NIFTI) else ItkSource(path)


plugin = NiftiFormat
