"""Stored pixels of DICOM frames: by pydicom, and by imagecodecs where pydicom has no decoder (lossless JPEG)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.pixels import iter_pixels

from phenolens.core.errors import ImageError
from phenolens.scans._dicom_files import quiet

_JPEG = ("1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
"""JPEG of 12 bits and lossless JPEG."""


def stored(file: Path, indices: Sequence[int]) -> Iterator[npt.NDArray[Any]]:
    """The frames (rows, columns) as stored, one at a time, in the order asked. Raises ImageError on none."""
    with quiet():
        known = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["NumberOfFrames"], force=True)
        syntax = str(getattr(getattr(known, "file_meta", None), "TransferSyntaxUID", ""))
        if syntax in _JPEG:
            yield from _jpeg(file, indices)
            return
        if not syntax:  # written without file meta: pydicom needs the data set itself
            whole = _bare(file)
            frames = whole.reshape(-1, *whole.shape[-2:])
            yield from (frames[i] for i in indices)
            return
        yield from iter_pixels(file, indices=list(indices))


def _bare(file: Path) -> npt.NDArray[Any]:
    data = pydicom.dcmread(file, force=True)
    data.file_meta = getattr(data, "file_meta", None) or pydicom.dataset.FileMetaDataset()
    implicit, little = data.original_encoding
    syntaxes = {(True, True): pydicom.uid.ImplicitVRLittleEndian, (False, True): pydicom.uid.ExplicitVRLittleEndian}
    data.file_meta.TransferSyntaxUID = syntaxes.get((implicit, little), pydicom.uid.ExplicitVRBigEndian)
    found: npt.NDArray[Any] = data.pixel_array
    return found


def _jpeg(file: Path, indices: Sequence[int]) -> Iterator[npt.NDArray[Any]]:
    import imagecodecs

    data = pydicom.dcmread(file, force=True)
    count = int(data.get("NumberOfFrames") or 1)
    for index in indices:
        code = pydicom.encaps.get_frame(data.PixelData, index, number_of_frames=count)
        found = np.asarray(imagecodecs.jpeg_decode(code))
        if found.shape != (data.Rows, data.Columns):
            raise ImageError(
                f"a frame of {found.shape} pixels in a file that promises {data.Rows} x {data.Columns}",
                expected="a sound file",
                todo="copy the file again from the archive",
                where=str(file),
            )
        yield _signed(found, int(data.BitsStored)) if data.PixelRepresentation else found


def _signed(found: npt.NDArray[Any], bits: int) -> npt.NDArray[np.int32]:
    """Two's complement of `bits` bits, which JPEG stores as if unsigned."""
    wide = found.astype(np.int32) & ((1 << bits) - 1)
    return np.where(wide >= 1 << (bits - 1), wide - (1 << bits), wide)
