"""Small synthetic patients for the tests of scans: a body with organs, a lesion and noise, drawn from one seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from phenolens.core.types import Frame
from phenolens.scans.geometry import Roi, roi_of, to_mm
from phenolens.scans.sampling import InMemory


def frame_of(
    shape: tuple[int, int, int], spacing: tuple[float, float, float] = (1.0, 1.0, 1.0), **more: object
) -> Frame:
    made = Frame(shape=shape, spacing=spacing, origin=(0.0, 0.0, 0.0), unit="mm")
    return replace(made, **more)  # type: ignore[arg-type]


def centre_mm(frame: Frame) -> npt.NDArray[np.float64]:
    return to_mm(frame, (np.array(frame.shape) - 1) / 2)


def ellipsoid(frame: Frame, centre: npt.ArrayLike, radii: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Voxels (z, y, x) whose centre lies in an ellipsoid; centre and radii (x, y, z) in mm."""
    z, y, x = np.indices(frame.shape[::-1])
    at = to_mm(frame, np.stack([x, y, z], axis=-1))
    return (((at - np.asarray(centre)) / np.asarray(radii)) ** 2).sum(-1) <= 1


def patient(
    frame: Frame, *, air: float = 5, fat: float = 900, muscle: float = 300, organ: float = 450, lesion: float = 600
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Intensities without noise, the body and the lesion (z, y, x)."""
    middle, half = centre_mm(frame), np.array(frame.shape) * np.array(frame.spacing) / 2
    body = ellipsoid(frame, middle, half * (0.85, 0.8, 2.0))
    inner = ellipsoid(frame, middle, half * (0.72, 0.66, 2.0))
    one = ellipsoid(frame, middle + half * (0.25, 0.1, 0.05), half * (0.3, 0.3, 0.6))
    two = ellipsoid(frame, middle - half * (0.35, 0.05, 0.1), half * (0.2, 0.35, 0.5))
    spot = ellipsoid(frame, middle + half * (0.3, 0.1, 0.1), half * (0.12, 0.12, 0.25))
    x = np.full(frame.shape[::-1], air, dtype=np.float32)
    for where, value in ((body, fat), (inner, muscle), (one, organ), (two, (organ + muscle) / 2), (spot, lesion)):
        x[where] = value
    return x, body, spot


def scanned(
    frame: Frame, *, noise: float = 10, seed: int = 0, **values: float
) -> tuple[InMemory, Roi, npt.NDArray[np.bool_]]:
    """A noisy patient as a readable scan, the region of the lesion, and the true body."""
    x, body, lesion = patient(frame, **values)
    rng = np.random.default_rng(seed)
    roi = roi_of(lesion, frame)
    assert roi is not None
    return InMemory(x=(x + noise * rng.standard_normal(x.shape)).astype(np.float32), frame=frame), roi, body
