"""DICOM whole-slide images (VL Whole Slide Microscopy), a folder of one slide or one file, through wsidicom."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from wsidicom import WsiDicom
from wsidicom import errors as wsi

from phenolens.core.errors import ImageError
from phenolens.core.types import Rgb
from phenolens.slides.levels import Level

_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
_WSI_ERRORS = (
    wsi.WsiDicomError,
    wsi.WsiDicomFileError,
    wsi.WsiDicomMatchError,
    wsi.WsiDicomUidDuplicateError,
    wsi.WsiDicomNotFoundError,
    wsi.WsiDicomOutOfBoundsError,
)
_FAULTS = (*_WSI_ERRORS, InvalidDicomError, OSError, ValueError, KeyError, AttributeError, NotImplementedError)
_HEADER = ["SOPClassUID", "SeriesInstanceUID", "ImageType", "DimensionOrganizationType", "PhotometricInterpretation"]


class DicomSource:
    """One slide behind wsidicom: the volume levels of one series, never its label or overview."""

    bounds: tuple[int, int] = (0, 0)
    kind: str = "DICOM slide"
    stain_hint: str | None = None
    notes: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self._path = path
        files = _slide_files(path)
        with _as_image_error(path):
            self._slide = WsiDicom.open(files)
        base = self._slide.levels.base_level
        known = base.default_instance.dataset
        if known.samples_per_pixel != 3 or known.bits != 8:
            self._slide.close()
            raise ImageError(
                f"a DICOM slide of {known.samples_per_pixel} x {known.bits}-bit samples ({base.size.width} x "
                f"{base.size.height} px)",
                expected="an RGB slide of 8 bits, as bright-field scanners make them",
                todo="use a bright-field (H&E or IHC) image of this patient",
                where=str(path),
            )
        self._numbers = [level.level for level in self._slide.levels]
        sizes = [level.size for level in self._slide.levels]
        self.levels = tuple(
            Level(s.width, s.height, (base.size.width / s.width + base.size.height / s.height) / 2) for s in sizes
        )
        self.mpp: tuple[float, float] | None = None
        if known.pixel_spacing is not None:
            self.mpp = float(base.mpp.width), float(base.mpp.height)

    def read_region(self, level: int, x: int, y: int, width: int, height: int) -> Rgb:
        """See `levels.Source`."""
        with _as_image_error(self._path):
            pixels = self._slide.read_region((x, y), self._numbers[level], (width, height), as_array=True)
        return np.ascontiguousarray(pixels[..., :3])

    def close(self) -> None:
        self._slide.close()


@contextmanager
def _as_image_error(path: Path) -> Iterator[None]:
    """wsidicom's and pydicom's faults as ImageError; pydicom's warnings on over-long ids are of no use here."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module="pydicom")
            yield
    except _FAULTS as fault:
        raise _refused(path, f"a DICOM slide that wsidicom cannot read: {fault}") from fault


def _slide_files(path: Path) -> list[Path]:
    """The files of the one slide at path. Raises ImageError where there is none, or more than one."""
    files = [path] if path.is_file() else [f for f in sorted(path.iterdir()) if _is_dicom(f)]
    headers = [(f, _header(f)) for f in files]
    slides = [(f, h) for f, h in headers if h.get("SOPClassUID") == _SLIDE]
    if not slides:
        name = getattr(headers[0][1].get("SOPClassUID"), "name", "unknown")
        raise _refused(path, f"DICOM of the class '{name}'")
    plain = [(f, h) for f, h in slides if "VOLUME" in (h.get("ImageType") or ())]
    if not plain:
        kinds = sorted({"\\".join(h.get("ImageType") or ()) or "none" for _, h in slides})
        raise _refused(path, f"DICOM whole-slide files without a VOLUME image (ImageType: {', '.join(kinds)})")
    series = sorted({str(h.get("SeriesInstanceUID")) for _, h in plain})
    if len(series) > 1:
        raise ImageError(
            f"{len(series)} slides (series) in one folder",
            expected="the files of one series",
            todo="give each slide its own folder, or name one .dcm file in the images table",
            where=str(path),
        )
    return [f for f, _ in slides]


def _header(path: Path) -> Any:
    with _as_image_error(path):
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_HEADER))


def _is_dicom(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _refused(path: Path, found: str) -> ImageError:
    return ImageError(
        found,
        expected="a VL Whole Slide Microscopy image with ImageType VOLUME and stated tile positions",
        todo="name the slide's own DICOM files, or export the slide again from the scanner or archive",
        where=str(path),
    )


@dataclass(frozen=True, kw_only=True)
class DicomFormat:
    """A DICOM slide: a folder that holds the files of one series, or one file."""

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "DICOM whole-slide images, a folder or one file, through wsidicom"
    suffixes: ClassVar[tuple[str, ...]] = (".dcm",)
    priority: ClassVar[int] = 20

    def accepts(self, path: Path) -> bool:
        """Whether the file, or any file in the folder, begins as DICOM does."""
        return any(_is_dicom(f) for f in path.iterdir()) if path.is_dir() else _is_dicom(path)

    def open(self, path: Path) -> DicomSource:
        """Raises ImageError when it is no slide, more than one, or not 8-bit RGB."""
        return DicomSource(path)


plugin = DicomFormat
