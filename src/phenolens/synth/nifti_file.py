"""Write NIfTI-1 files (.nii.gz): int16 or uint8, qform and sform, equal content gives equal bytes.

Layout after Cox et al., A (sort of) new image data format standard: NIfTI-1 (2004). NIfTI counts x to the patient's
left and y to the back the other way round than DICOM, so both turn their sign.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.core.store import atomic
from phenolens.core.types import Frame

_CODES = {np.dtype(np.uint8): 2, np.dtype(np.int16): 4}


def write_nifti(path: Path, x: npt.NDArray[Any], frame: Frame) -> None:
    """Write an array (z, y, x), uint8 or int16, that lies in a frame in mm, whole or not at all."""
    if x.shape != frame.shape[::-1]:
        raise ValueError(f"an array of shape {x.shape} in a frame of {frame.shape} (x, y, z)")
    content = _header(x.dtype, frame) + np.ascontiguousarray(x, dtype=x.dtype.newbyteorder("<")).tobytes()
    with atomic(path) as part:
        part.write_bytes(gzip.compress(content, compresslevel=4, mtime=0))


def _header(kind: np.dtype[Any], frame: Frame) -> bytes:
    from scipy.spatial.transform import Rotation

    turn = np.diag([-1.0, -1.0, 1.0]) @ np.array(frame.direction or np.eye(3).ravel(), dtype=float).reshape(3, 3)
    origin = np.array([-1, -1, 1]) * frame.origin
    side = 1.0 if np.linalg.det(turn) > 0 else -1.0
    _, b, c, d = Rotation.from_matrix(turn * [1, 1, side]).as_quat(canonical=True, scalar_first=True)
    affine = np.column_stack([turn * frame.spacing, origin])
    code = _CODES[kind]
    made = struct.pack("<i35xB", 348, 0)
    made += struct.pack("<8h", 3, *frame.shape, 1, 1, 1, 1)
    made += struct.pack("<3f4h", 0, 0, 0, 0, code, kind.itemsize * 8, 0)
    made += struct.pack("<8f", side, *frame.spacing, 0, 0, 0, 0)
    made += struct.pack("<3fh2B", 352, 1, 0, 0, 0, 2)
    made += struct.pack("<4f2i", 0, 0, 0, 0, 0, 0)
    made += struct.pack("<80s24s2h", b"synthetic, no patient", b"", 1, 1)
    made += struct.pack("<6f12f", b, c, d, *origin, *affine.ravel())
    return made + struct.pack("<16s4s4x", b"", b"n+1\0")
