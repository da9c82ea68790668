"""Computed tomography: Hounsfield units of tissues in the portal-venous phase, and the scanners of three sites.

Values lie where textbooks put them (fat −100, fluid 0 to 20, contrast-enhanced organs 100 to 180 HU). Noise of a
reconstruction is smooth over a voxel or two and grows where the kernel is sharp and the slice thin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from phenolens.core.types import FloatArray
from phenolens.synth.abdomen import Labels, Tissue
from phenolens.synth.picture import Export
from phenolens.synth.space import Points, Rng

_HU: Mapping[Tissue, tuple[float, float]] = MappingProxyType(
    {
        Tissue.AIR: (-1000, 0),
        Tissue.FAT: (-102, 0),
        Tissue.MUSCLE: (52, 10),
        Tissue.LIVER: (58, 52),
        Tissue.SPLEEN: (50, 72),
        Tissue.BONE: (210, 20),
        Tissue.VESSEL: (42, 125),
        Tissue.FLUID: (12, 0),
        Tissue.KIDNEY: (34, 140),
        Tissue.BOWEL: (34, 18),
    }
)
"""HU without contrast agent, and what the agent adds at 120 kV."""


@dataclass(frozen=True, kw_only=True)
class CtScanner:
    """A site's scanner and protocol: voxel size in mm, noise in HU, point spread in voxels, what the agent's part is
    multiplied with, kernel, tube voltage in kV, and how it hands over pictures and masks."""

    spacing: tuple[float, float, float]
    noise: float
    blur: float
    contrast: float
    kernel: str
    kv: int
    dicom: bool
    mask: Literal["nifti", "rtstruct", "seg"]

    def export(self) -> Export:
        """How pictures and masks leave the site."""
        facts = {
            "KVP": str(self.kv),
            "ConvolutionKernel": self.kernel,
            "ContrastBolusAgent": "iodine, synthetic",
            "RescaleIntercept": "-1024",
            "RescaleSlope": "1",
            "RescaleType": "HU",
        }
        return Export(dicom=self.dicom, modality="CT", description="Abdomen portal venous", facts=facts, mask=self.mask)


CT_SCANNERS = (
    CtScanner(
        spacing=(1.8, 1.8, 4.0), noise=13, blur=0.55, contrast=1.0, kernel="B30f", kv=120, dicom=True, mask="rtstruct"
    ),
    CtScanner(
        spacing=(1.6, 1.6, 3.0), noise=19, blur=0.4, contrast=1.18, kernel="I40f", kv=100, dicom=True, mask="seg"
    ),
    CtScanner(
        spacing=(2.0, 2.0, 5.0), noise=9, blur=0.75, contrast=0.94, kernel="FC08", kv=120, dicom=False, mask="nifti"
    ),
)


def hounsfield(labels: Labels, scanner: CtScanner) -> FloatArray:
    """HU of normal tissue, (z, y, x)."""
    table = np.array([_HU[t][0] + scanner.contrast * _HU[t][1] for t in Tissue], dtype=np.float32)
    return table[labels]


def couch(x: FloatArray, where: Points) -> None:
    """Lay the patient on a thin couch, where there is air."""
    across, deep = where[..., 0], where[..., 1]
    bent = 116 - 0.0012 * across**2
    x[(deep > bent) & (deep < bent + 5) & (np.abs(across) < 140) & (x < -500)] = -180


def measured(clean: FloatArray, scanner: CtScanner, rng: Rng) -> FloatArray:
    """The picture a scanner reconstructs: point spread, smooth noise, whole HU from −1024, a round field."""
    from scipy.ndimage import gaussian_filter

    blur = (0.3, scanner.blur, scanner.blur)
    seen = gaussian_filter(clean, blur)
    noise = gaussian_filter(rng.normal(0, 1, clean.shape).astype(np.float32), (0.35, 0.6, 0.6))
    seen += noise * (scanner.noise / float(noise.std()))
    seen = np.clip(np.round(seen), -1024, 3071)
    y, x = (np.linspace(-1, 1, n) for n in clean.shape[1:])
    seen[:, (y**2)[:, None] + (x**2)[None] > 1] = -1024
    return np.asarray(seen, dtype=np.float32)
