"""What an image's intensities mean: window, bias field and scale, all learnt from that image alone.

`measure` looks at one scan and stores what it found; `apply` uses it on any box of that scan, voxel by voxel, so that
the values of a voxel do not depend on the box it is read in. What is learnt across patients (the standard scale of
Nyúl) is fitted later, inside a fold, by `models.intensity.StandardScale`, on the landmarks stored here.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import ImageError
from phenolens.core.types import FloatArray, Frame
from phenolens.scans._bias import log_field, onto_grid
from phenolens.scans._body import body
from phenolens.scans.geometry import Mask, Roi, cropped
from phenolens.scans.sampling import Readable, Sample, sample

Scale = Literal["none", "zscore", "percentile", "nyul_landmarks"]
LANDMARKS = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99)
"""Percentiles of the body that Nyúl's method uses."""
_LOW, _HIGH = 1, 99


@dataclass(frozen=True, kw_only=True)
class IntensitySettings:
    """How intensities are made comparable, in this order: n4, window, scale.

    n4: divide out the bias field of MR. window: (lowest, highest) in the image's unit (HU of CT, SUV of PET); values
    beyond are cut there. scale: "zscore" (mean 0, SD 1), "percentile" (1st to 0, 99th to 1, not cut), "nyul_landmarks"
    (values stay; landmarks are stored for a scale that is fitted across patients inside a fold). over: the voxels the
    scale is measured over, the body or the lesion. Impossible combinations raise ValueError.
    """

    window: tuple[float, float] | None = None
    n4: bool = False
    scale: Scale = "none"
    over: Literal["body", "lesion"] = "body"

    def __post_init__(self) -> None:
        if self.scale not in get_args(Scale):
            raise ValueError(f"scale is {self.scale!r}; it is one of {', '.join(get_args(Scale))}")
        if self.over not in ("body", "lesion"):
            raise ValueError(f"over is {self.over!r}; it is body or lesion")
        if not isinstance(self.n4, bool):
            raise ValueError(f"n4 is {self.n4!r}; it is true or false")
        if self.window is not None:
            object.__setattr__(self, "window", _window(self.window))
            for used, name in ((self.n4, "n4"), (self.scale == "nyul_landmarks", "scale: nyul_landmarks")):
                if used:
                    raise ValueError(f"window with {name}; a window is for calibrated values, {name} is for MR without")
        if self.scale == "nyul_landmarks" and self.over == "lesion":
            raise ValueError("scale: nyul_landmarks with over: lesion; the standard scale is one of the whole body")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was learnt from one image: numbers by name, and the logarithm of its bias field on a coarse grid or None.

    numbers: mean and sd; or low and high; or p1, p10 … p99 (the landmarks); with body_share (of the image),
    lesion_in_body (share of the lesion) and values (how many voxels were looked at).
    """

    numbers: Mapping[str, float] = field(default_factory=dict)
    field: FloatArray | None = None
    field_frame: Frame | None = None

    @property
    def landmarks(self) -> npt.NDArray[np.float64] | None:
        """(11,) intensities at the percentiles of LANDMARKS; None where they were not asked for."""
        names = [f"p{p}" for p in LANDMARKS]
        return np.array([self.numbers[n] for n in names]) if names[0] in self.numbers else None

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values; the field as base64 of little-endian float32."""
        made: dict[str, Any] = {"numbers": dict(self.numbers)}
        if self.field is not None and self.field_frame is not None:
            content = np.ascontiguousarray(self.field, dtype="<f4").tobytes()
            made["field"] = base64.b64encode(content).decode("ascii")
            made["field_frame"] = asdict(self.field_frame)
        return made

    @classmethod
    def from_json(cls, made: Mapping[str, Any]) -> Measured:
        """What `to_json` wrote."""
        if "field" not in made:
            return cls(numbers=dict(made["numbers"]))
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in made["field_frame"].items()}
        frame = Frame(**fields)
        values = np.frombuffer(base64.b64decode(made["field"]), dtype="<f4").astype(np.float32)
        return cls(numbers=dict(made["numbers"]), field=values.reshape(frame.shape[::-1]), field_frame=frame)


def measure(
    scan: Readable, roi: Roi, settings: IntensitySettings, *, unit: str = "", seen: Sample | None = None
) -> Measured:
    """Learn from one scan what `apply` needs; nothing where neither n4 nor a scale is asked for.

    The body is looked at in a `sample` of the scan (`seen`, or made here), the lesion at full resolution. unit is that
    of the header ("HU" for CT), "" where it is not known. Raises ImageError, with numbers, for N4 on CT and for a
    scale over voxels that are all equal.
    """
    of_body = settings.scale != "none" and settings.over == "body"
    if not (settings.n4 or settings.scale != "none"):
        return Measured()
    numbers: dict[str, float] = {}
    found = Measured()
    values = np.zeros(0, dtype=np.float32)
    if settings.n4 or of_body:
        seen = seen or sample(scan)
        inside = body(seen.x, unit)
        numbers = {"body_share": _rounded(inside.mean()), "lesion_in_body": _rounded(_share_inside(roi, seen, inside))}
        if settings.n4:
            shading, frame = log_field(seen, inside, unit)
            found = Measured(field=shading, field_frame=frame)
        if of_body:
            values = _calibrated(seen.x, seen.frame, found, settings)[inside]
    if settings.scale != "none":
        if not of_body:
            crop = scan.read(roi.lo, roi.size)
            values = _calibrated(crop, cropped(roi.frame, roi.lo, roi.size), found, settings)[roi.inside]
        numbers |= _scale_numbers(values, settings)
    return Measured(numbers=numbers, field=found.field, field_frame=found.field_frame)


def apply(x: FloatArray, frame: Frame, measured: Measured, settings: IntensitySettings) -> FloatArray:
    """The intensities of a box x (z, y, x) whose frame is given, as settings ask; float32 of the same shape.

    Voxel by voxel: a box gives the values that the whole scan gives there. `nyul_landmarks` leaves them as they are.
    """
    made = _calibrated(np.asarray(x, dtype=np.float32), frame, measured, settings)
    numbers = measured.numbers
    if settings.scale == "zscore":
        made = (made - np.float32(numbers["mean"])) / np.float32(numbers["sd"])
    elif settings.scale == "percentile":
        made = (made - np.float32(numbers["low"])) / np.float32(numbers["high"] - numbers["low"])
    return made


def landmarks(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The (11,) percentiles of LANDMARKS of the intensities of one body (Nyúl, Udupa, Zhang, IEEE TMI 19, 2000)."""
    found: npt.NDArray[np.float64] = np.percentile(np.asarray(values, dtype=np.float64), LANDMARKS)
    return found


def _calibrated(x: FloatArray, frame: Frame, measured: Measured, settings: IntensitySettings) -> FloatArray:
    """Bias field and window: what comes before the scale."""
    if measured.field is not None and measured.field_frame is not None:
        logarithm = onto_grid(measured.field, measured.field_frame, frame)
        x = (x / np.exp(logarithm)).astype(np.float32, copy=False)
    if settings.window is not None:
        low, high = settings.window
        x = np.clip(x, np.float32(low), np.float32(high))
    return x


def _scale_numbers(found: FloatArray, settings: IntensitySettings) -> dict[str, float]:
    values = found[np.isfinite(found)].astype(np.float64)
    low, high = (float(v) for v in np.percentile(values, (_LOW, _HIGH))) if values.size else (0.0, 0.0)
    mean, sd = (float(values.mean()), float(values.std())) if values.size else (0.0, 0.0)
    spread = sd if settings.scale == "zscore" else high - low
    if not spread > 1e-6 * max(abs(low), abs(high), abs(mean)):
        what = f"SD {sd:g}, 1st and 99th percentile {low:g} and {high:g}"
        cut = "" if settings.window is None else f" within the window {settings.window[0]:g} to {settings.window[1]:g}"
        raise ImageError(
            f"{values.size} voxels of the {settings.over} that are (nearly) all equal{cut}: {what}",
            expected=f"intensities that differ, for scale {settings.scale}",
            todo="look at the image; choose another window, or scale: none",
        )
    counted = {"values": float(values.size)}
    if settings.scale == "zscore":
        return {"mean": mean, "sd": sd, **counted}
    if settings.scale == "percentile":
        return {"low": low, "high": high, **counted}
    return {**{f"p{p}": float(v) for p, v in zip(LANDMARKS, landmarks(values), strict=True)}, **counted}


def _share_inside(roi: Roi, seen: Sample, inside: Mask) -> float:
    """Share of the lesion's voxels whose nearest sampled voxel is body."""
    z, y, x = np.nonzero(roi.inside)
    index = (np.stack([x, y, z], axis=1) + np.array(roi.lo)) / np.array(seen.step)
    near = np.minimum(np.rint(index).astype(int), np.array(seen.frame.shape) - 1)
    return float(inside[near[:, 2], near[:, 1], near[:, 0]].mean())


def _window(given: Any) -> tuple[float, float]:
    numbers = isinstance(given, list | tuple) and all(isinstance(v, int | float) for v in given)
    if not (numbers and len(given) == 2 and given[0] < given[1]):
        raise ValueError(f"window is {given!r}; it is two numbers, the lower first, such as [-100, 250]")
    return float(given[0]), float(given[1])


def _rounded(value: Any) -> float:
    return round(float(value), 6)
