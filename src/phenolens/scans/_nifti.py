"""NIfTI-1 and -2 headers and voxels, read without holding the file (https://nifti.nimh.nih.gov)."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import ImageError
from phenolens.core.types import FloatArray, Frame
from phenolens.scans._source import frame_of
from phenolens.scans.geometry import Index, same_grid

_KINDS = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_OTHER = {1: "1-bit", 32: "complex", 128: "RGB colour", 1536: "128-bit", 1792: "complex", 2304: "RGBA colour"}
_UNITS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""mm a unit of xyzt_units: unknown, metre, millimetre, micrometre."""
_LPS = np.diag([-1.0, -1.0, 1.0])
_OFFSETS_1 = {"dim": (40, "i2", 8), "datatype": (70, "i2", 1), "pixdim": (76, "f4", 8), "vox_offset": (108, "f4", 1)}
_OFFSETS_1 |= {"slope": (112, "f4", 1), "inter": (116, "f4", 1), "units": (123, "u1", 1), "qcode": (252, "i2", 1)}
_OFFSETS_1 |= {"scode": (254, "i2", 1), "quaternion": (256, "f4", 6), "srow": (280, "f4", 12)}
_OFFSETS_2 = {"dim": (16, "i8", 8), "datatype": (12, "i2", 1), "pixdim": (104, "f8", 8), "vox_offset": (168, "i8", 1)}
_OFFSETS_2 |= {"slope": (176, "f8", 1), "inter": (184, "f8", 1), "units": (500, "i4", 1), "qcode": (344, "i4", 1)}
_OFFSETS_2 |= {"scode": (348, "i4", 1), "quaternion": (352, "f8", 6), "srow": (400, "f8", 12)}


@dataclass(frozen=True, kw_only=True)
class NiftiHeader:
    """Frame (mm, LPS), notes, and how the voxels are stored: numpy type, byte offset, slope and intercept."""

    frame: Frame
    notes: tuple[str, ...]
    kind: np.dtype[Any]
    offset: int
    slope: float
    intercept: float


class NiftiVoxels:
    """The voxels of one file, read slice by slice; a compressed file is decompressed only as far as it is asked."""

    def __init__(self, path: Path, header: NiftiHeader) -> None:
        self._path, self._header = path, header
        self._stream: BinaryIO | None = None

    def read(self, lo: Index, shape: Index) -> FloatArray:
        """The box (z, y, x) float32, rescaled. Raises ImageError where the file ends early."""
        h = self._header
        w, n, _ = h.frame.shape
        (x, y, z), (dx, dy, dz) = lo, shape
        out = np.empty((dz, dy, dx), np.float32)
        for i in range(dz):
            plane = np.frombuffer(self._slice(z + i), dtype=h.kind).reshape(n, w)[y : y + dy, x : x + dx]
            if (h.slope, h.intercept) == (1.0, 0.0):
                out[i] = plane
            else:
                out[i] = plane.astype(np.float64) * h.slope + h.intercept
        return out

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _slice(self, z: int) -> bytes:
        size = self._header.frame.shape[0] * self._header.frame.shape[1] * self._header.kind.itemsize
        at = self._header.offset + z * size
        if self._stream is None or self._stream.tell() > at:
            self.close()
            self._stream = _open(self._path)
        while self._stream.tell() < at and _compressed(self._path):
            if not self._stream.read(min(at - self._stream.tell(), 1 << 22)):
                break
        if not _compressed(self._path):
            self._stream.seek(at)
        found = self._stream.read(size)
        if len(found) < size:
            depth = self._header.frame.shape[2]
            raise ImageError(
                f"a file that ends in slice {z + 1} of the {depth} its header promises",
                expected=f"{self._header.offset + depth * size} bytes of header and voxels",
                todo="copy the file again; it was cut off",
                where=str(self._path),
            )
        return found


def read_header(path: Path) -> NiftiHeader:
    """The header. Raises ImageError where it is no 3-D scan of one number a voxel, or its geometry is unusable."""
    with _open(path) as file:
        raw = file.read(540)
    field = _fields(raw, path)
    dim = [int(v) for v in field["dim"]]
    shape = _shape(dim, path)
    code = int(field["datatype"][0])
    if code not in _KINDS:
        raise _refused(
            path, f"{_OTHER.get(code, f'unknown (code {code})')} voxels", "one integer or real number a voxel"
        )
    frame, notes = _geometry(field, shape, path)
    slope, inter = float(field["slope"][0]), float(field["inter"][0])
    scaled = np.isfinite([slope, inter]).all() and slope != 0
    order = ">" if field["dim"].dtype.byteorder == ">" else "<"
    return NiftiHeader(
        frame=frame,
        notes=notes,
        kind=np.dtype(f"{order}{_KINDS[code]}"),
        offset=max(int(field["vox_offset"][0]), 352),
        slope=slope if scaled else 1.0,
        intercept=inter if scaled else 0.0,
    )


def _compressed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.GzipFile(path, "rb")) if _compressed(path) else path.open("rb")


def _fields(raw: bytes, path: Path) -> dict[str, npt.NDArray[Any]]:
    for order in "<>":
        size = int(np.frombuffer(raw[:4].ljust(4, b"\0"), f"{order}i4")[0])
        table = {348: _OFFSETS_1, 540: _OFFSETS_2}.get(size)
        if table is not None and len(raw) >= size:
            magic = raw[344:347] if size == 348 else raw[4:7]
            if magic not in (b"n+1", b"n+2"):
                raise _refused(path, f"a header of the kind {magic!r}", "a NIfTI file that holds its own voxels")
            return {
                name: np.frombuffer(raw, np.dtype(f"{order}{kind}"), count, at)
                for name, (at, kind, count) in table.items()
            }
    raise _refused(path, f"a file of {path.stat().st_size} bytes without a NIfTI header", "a NIfTI-1 or NIfTI-2 file")


def _shape(dim: list[int], path: Path) -> tuple[int, int, int]:
    sizes = dim[1 : dim[0] + 1] if 1 <= dim[0] <= 7 else []
    said = " x ".join(str(n) for n in sizes) or f"{dim[0]} dimensions"
    if len(sizes) < 3 or min(sizes[:3]) < 1:
        raise _refused(path, f"an image of {said}", "a scan in three dimensions")
    if any(n > 1 for n in sizes[3:]):
        raise ImageError(
            f"an image of {said}: {int(np.prod(sizes[3:]))} volumes in one file",
            expected="one volume a file",
            todo="write the volume that is meant (one b-value, one phase) to a file of its own and name that",
            where=str(path),
        )
    return sizes[0], sizes[1], sizes[2]


def _geometry(
    field: dict[str, npt.NDArray[Any]], shape: tuple[int, int, int], path: Path
) -> tuple[Frame, tuple[str, ...]]:
    """The frame by the sform, else the qform, else the spacing alone; in mm LPS."""
    unit = int(field["units"][0]) & 7
    mm = _UNITS.get(unit, 1.0)
    notes = [] if unit in (1, 2, 3) else ["the file states no unit of length; taken as mm"]
    pixdim = field["pixdim"].astype(np.float64)
    spacing = np.abs(pixdim[1:4])
    if shape[2] == 1 and spacing[2] == 0:
        spacing[2] = 1 / mm
        notes.append("one slice without a thickness; taken as 1 mm")
    made: list[tuple[Frame, tuple[str, ...]]] = []
    faults: list[ImageError] = []
    stated = _affines(field, pixdim, spacing)
    for steps, origin in stated:
        try:
            made.append(frame_of(shape, _LPS @ steps * mm, list(_LPS @ origin * mm), where=str(path)))
        except ImageError as fault:
            faults.append(fault)
    if not made and faults:
        raise faults[0]
    if faults:
        notes.append(f"sform not used: {faults[0].found}")
    if not stated:
        notes.append("the file states no orientation; taken as x to the left, y to the back, z to the head")
        made.append(frame_of(shape, np.diag(spacing * mm), [0.0, 0.0, 0.0], where=str(path)))
    if len(made) == 2 and not same_grid(made[0][0], made[1][0], tolerance=0.5):
        notes.append("sform and qform place the image differently; the sform is used")
    return made[0][0], (*notes, *made[0][1])


def _affines(
    field: dict[str, npt.NDArray[Any]], pixdim: npt.NDArray[np.float64], spacing: npt.NDArray[np.float64]
) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Steps (3, 3) and origin (3,) as the sform and then the qform state them, in the file's unit, RAS."""
    found = []
    if int(field["scode"][0]) > 0:
        rows = field["srow"].astype(np.float64).reshape(3, 4)
        if np.abs(rows[:, :3]).max() > 0:
            found.append((rows[:, :3], rows[:, 3]))
    if int(field["qcode"][0]) > 0:
        b, c, d, *origin = (float(v) for v in field["quaternion"])
        turn = _rotation(b, c, d)
        turn[:, 2] *= -1 if pixdim[0] < 0 else 1
        found.append((turn * spacing, np.array(origin)))
    return found


def _rotation(b: float, c: float, d: float) -> npt.NDArray[np.float64]:
    a = np.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    length = np.sqrt(a * a + b * b + c * c + d * d)
    a, b, c, d = a / length, b / length, c / length, d / length
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )


def _refused(path: Path, found: str, expected: str) -> ImageError:
    return ImageError(
        found, expected=expected, todo="name a scan, or write the file again from its source", where=str(path)
    )
