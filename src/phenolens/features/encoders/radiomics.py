"""Encoder `radiomics`: named features of shape, intensity and texture of a region, by the definitions of the IBSI."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from phenolens.core.errors import FeatureError
from phenolens.core.types import FloatArray
from phenolens.features.radiomics.compute import measure, names
from phenolens.features.radiomics.prepare import margin_mm
from phenolens.features.radiomics.settings import RadiomicsSettings
from phenolens.scans.geometry import Crop


@dataclass(frozen=True, kw_only=True)
class Radiomics(RadiomicsSettings):
    """Measures one region; its parameters are those of `RadiomicsSettings`, its features are described in
    docs/radiomics.md. Values depend on the region and its surroundings within `margin_mm`, not on the crop.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = "named shape, intensity and texture features of a region (IBSI); no weights"
    reads: ClassVar[str] = "scan"
    makes: ClassVar[str] = "bag"
    licence: ClassVar[str] = "Apache-2.0 (this package)"
    place: ClassVar[str] = "cpu"

    @property
    def names(self) -> tuple[str, ...]:
        """One name a feature: [FILTER_]FAMILY_feature_CODE[_aggregation]."""
        return names(self)

    @property
    def margin_mm(self) -> float:
        """What is needed around the region, in mm."""
        return margin_mm(self)

    def load(self, device: str) -> Callable[[Crop], FloatArray]:
        """A function from a crop to its features (1, d), float32; `device` makes no difference."""
        del device
        return self._encode

    def _encode(self, crop: Crop) -> FloatArray:
        values = np.array([list(measure(crop, self).values())])
        made = values.astype(np.float32)
        if not np.isfinite(made).all():
            name = self.names[int(np.flatnonzero(~np.isfinite(made[0]))[0])]
            raise FeatureError(
                f"{name} of {np.abs(values).max():.3g}, too large to store",
                expected="values below 3e38",
                todo="scale the intensities (scan.intensity)",
            )
        return made


plugin = Radiomics
