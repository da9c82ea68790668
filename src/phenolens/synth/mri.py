"""MR sequences as signal equations over tissue properties, and the scanners of three sites.

Signals follow Haacke et al., Magnetic Resonance Imaging: Physical Principles and Sequence Design (1999): spoiled
gradient echo for T1 and CE-T1 (relaxivity of the agent 4.5 per s and mM), spin echo for T2, mono-exponential decay for
DWI. Relaxation times of abdominal organs after de Bazelaire et al., Radiology 230 (2004) 652.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from phenolens.core.types import FloatArray
from phenolens.synth.abdomen import Labels, Tissue
from phenolens.synth.picture import Export

SEQUENCES = ("T1", "T2", "DWI", "CE-T1")
_RELAXIVITY = 4.5e-3


class Tissues(NamedTuple):
    """What an MR scanner sees of every voxel, each (z, y, x): proton density, log T1 and T2 in ms, log diffusion in
    1e-3 mm²/s, contrast agent in mM."""

    density: FloatArray
    t1: FloatArray
    t2: FloatArray
    diffusion: FloatArray
    agent: FloatArray


_PROPERTIES: Mapping[Tissue, tuple[float, float, float, float, float]] = MappingProxyType(
    {
        Tissue.AIR: (0.0, 1000, 50, 1.0, 0.0),
        Tissue.FAT: (0.95, 343, 58, 0.25, 0.02),
        Tissue.MUSCLE: (0.85, 856, 27, 1.5, 0.12),
        Tissue.LIVER: (0.85, 586, 46, 1.2, 0.32),
        Tissue.SPLEEN: (0.9, 1057, 79, 0.85, 0.42),
        Tissue.BONE: (0.6, 549, 49, 0.5, 0.15),
        Tissue.VESSEL: (0.75, 1300, 40, 3.0, 0.95),
        Tissue.FLUID: (1.0, 2500, 300, 2.8, 0.0),
        Tissue.KIDNEY: (0.9, 1100, 86, 2.0, 0.6),
        Tissue.BOWEL: (0.85, 1000, 60, 1.6, 0.2),
    }
)
"""Density, T1 and T2 in ms at 1.5 T, diffusion in 1e-3 mm²/s, agent in mM in the portal-venous phase."""


@dataclass(frozen=True, kw_only=True)
class MrScanner:
    """A site's scanner and protocol: field in tesla, times in ms, b in s/mm², liver signal over noise, strength of the
    coil's shading, voxel size against the protocol's, tilt of the slices in degrees, the level it stores the liver at,
    and whether it exports DICOM."""

    tesla: float
    echo_t2: float
    echo_dwi: float
    b: float
    snr: float
    shading: float
    voxel: float
    tilt: float
    level: float
    dicom: bool = False


SCANNERS = (
    MrScanner(tesla=1.5, echo_t2=80, echo_dwi=65, b=600, snr=28, shading=0.10, voxel=1.0, tilt=0, level=300),
    MrScanner(
        tesla=3.0, echo_t2=70, echo_dwi=58, b=800, snr=36, shading=0.22, voxel=0.92, tilt=0, level=900, dicom=True
    ),
    MrScanner(tesla=1.5, echo_t2=95, echo_dwi=72, b=500, snr=18, shading=0.12, voxel=1.1, tilt=7, level=160),
)
SPACING: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {"T1": (3.0, 3.0, 5.0), "T2": (2.8, 2.8, 6.0), "DWI": (3.8, 3.8, 6.0), "CE-T1": (2.8, 2.8, 4.5)}
)
"""Voxel size in mm of each sequence where a scanner's `voxel` is 1."""
_FAT_LEFT: Mapping[str, float] = MappingProxyType({"T1": 1.0, "T2": 0.8, "DWI": 0.12, "CE-T1": 0.3})
_BLUR: Mapping[str, float] = MappingProxyType({"T1": 0.45, "T2": 0.5, "DWI": 0.65, "CE-T1": 0.45})

_DESCRIPTIONS: Mapping[str, str] = MappingProxyType(
    {"T1": "t1_fl2d_tra", "T2": "t2_tse_tra", "DWI": "ep2d_diff_tra", "CE-T1": "t1_vibe_fs_tra_portal +C"}
)


def properties(labels: Labels, tesla: float, sequence: str) -> Tissues:
    """Properties of normal tissue at a field strength; at 3 T T1 is longer by 0.38 and T2 shorter by 0.26. Fat is
    suppressed on DWI and CE-T1."""
    table = np.array([_PROPERTIES[t] for t in Tissue], dtype=np.float32)
    table[Tissue.FAT, 0] *= _FAT_LEFT[sequence]
    if tesla > 2:
        table[:, 1] *= np.where(np.arange(len(table)) == Tissue.FLUID, 1, 1.38)
        table[:, 2] *= 0.74
    table[:, 1:4] = np.log(table[:, 1:4])
    density, t1, t2, diffusion, agent = (table[:, i][labels] for i in range(5))
    return Tissues(density, t1, t2, diffusion, agent)


def signal(sequence: str, tissue: Tissues, scanner: MrScanner) -> FloatArray:
    """What the scanner measures without noise, as a share of fully relaxed water."""
    t1, t2 = np.exp(tissue.t1), np.exp(tissue.t2)
    if sequence in ("T1", "CE-T1"):
        rate = 1 / t1 + (_RELAXIVITY * tissue.agent if sequence == "CE-T1" else 0)
        repetition, flip = (150, np.deg2rad(70)) if sequence == "T1" else (4.5, np.deg2rad(12))
        left = np.exp(-repetition * rate)
        made = tissue.density * np.sin(flip) * (1 - left) / (1 - np.cos(flip) * left) * np.exp(-2 / t2)
    elif sequence == "T2":
        made = tissue.density * (1 - np.exp(-4000 / t1)) * np.exp(-scanner.echo_t2 / t2)
    elif sequence == "DWI":
        decay = np.exp(-scanner.b * 1e-3 * np.exp(tissue.diffusion))
        made = tissue.density * np.exp(-scanner.echo_dwi / t2) * decay
    else:
        raise ValueError(f"no sequence {sequence!r}; {', '.join(SEQUENCES)} are known")
    return np.asarray(made, dtype=np.float32)


def measured(
    clean: FloatArray, sequence: str, scanner: MrScanner, liver: float, rng: np.random.Generator
) -> FloatArray:
    """The picture a scanner stores of a clean signal: point spread, coil shading, Rician noise, its own level.

    `liver` is the clean signal of normal liver; the picture's liver lies near the scanner's level in every sequence.
    """
    from scipy.ndimage import gaussian_filter

    seen = gaussian_filter(clean, _BLUR[sequence]) / liver
    z, y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in seen.shape)
    a = rng.normal(0, scanner.shading, 5).astype(np.float32)
    shade = (a[0] * z)[:, None, None] + (a[1] * y + a[2] * y * y)[:, None] + (a[3] * x + a[4] * x * x)
    sigma = (1.6 if sequence == "DWI" else 1.0) / scanner.snr
    real, imaginary = rng.normal(0, sigma, (2, *seen.shape)).astype(np.float32)
    gain = scanner.level * float(np.exp(rng.normal(0, 0.15)))
    return np.asarray(gain * np.hypot(seen * np.exp(shade) + real, imaginary), dtype=np.float32)


def export(sequence: str, scanner: MrScanner) -> Export:
    """How a picture of a sequence leaves the site, with what a scanner writes of it into DICOM, by keyword."""
    echo = {"T2": scanner.echo_t2, "DWI": scanner.echo_dwi}.get(sequence, 2.0)
    repetition = {"T1": 150.0, "T2": 4000.0, "DWI": 6000.0, "CE-T1": 4.5}[sequence]
    made: dict[str, object] = {
        "ScanningSequence": {"T2": "SE", "DWI": ["EP", "SE"]}.get(sequence, "GR"),
        "SequenceVariant": {"T2": ["SK", "SP"], "DWI": "SK"}.get(sequence, "SP"),
        "ScanOptions": "FS" if sequence in ("DWI", "CE-T1") else "",
        "MRAcquisitionType": "3D" if sequence == "CE-T1" else "2D",
        "EchoTime": f"{echo:g}",
        "RepetitionTime": f"{repetition:g}",
        "EchoTrainLength": 24 if sequence == "T2" else 1,
        "FlipAngle": {"T1": "70", "CE-T1": "12"}.get(sequence, "90"),
        "MagneticFieldStrength": f"{scanner.tesla:g}",
    }
    if sequence == "DWI":
        made["DiffusionBValue"] = float(scanner.b)
    if sequence == "CE-T1":
        made["ContrastBolusAgent"] = "gadolinium, synthetic"
    return Export(dicom=scanner.dicom, modality="MR", description=_DESCRIPTIONS[sequence], facts=made)


def clean_liver(sequence: str, scanner: MrScanner) -> float:
    """The clean signal of normal liver."""
    one = np.full((1, 1, 1), Tissue.LIVER, dtype=np.uint8)
    return float(signal(sequence, properties(one, scanner.tesla, sequence), scanner)[0, 0, 0])
