"""How radiomics features are computed: every choice the IBSI asks a study to state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FAMILIES: tuple[str, ...] = (
    "morphology",
    "local_intensity",
    "statistics",
    "histogram",
    "ivh",
    "glcm",
    "glrlm",
    "glszm",
    "gldzm",
    "ngtdm",
    "ngldm",
)
OF_REGION: tuple[str, ...] = ("morphology", "local_intensity")
"""Families that are computed on the image itself and never on a filter's response."""
LARGEST_VOXEL_MM = 10.0
"""Voxels of a scan are taken to be at most this long; the margin around the region is made of it."""


@dataclass(frozen=True, kw_only=True)
class RadiomicsSettings:
    """The choices; defaults suit intensities in any unit.

    spacing_mm: side of the voxels after resampling, None or 0 for the scan's own. in_plane: only within slices.
    interpolation: nearest, linear or cubic. rounding: to whole numbers after resampling (for HU).
    resegment: intensities of the region that are kept, (low, high); either may be None. outliers: keep those within so
    many standard deviations of the region's mean (after `resegment`).
    bins: a fixed number of grey levels (32 where neither is given), or bin_width: levels of fixed width, from the lower
    end of `resegment`; else from the last multiple of the width above `bin_origin` under the region's lowest intensity;
    else from that intensity.
    ivh_bins or ivh_width: the same for the intensity-volume histogram; None for both takes intensities as they are.
    aggregation: how co-occurrence and run-length matrices are put together; zones and neighbourhoods follow its
    dimension. filters: what is measured beside the image itself (see `filters`). Raises ValueError.
    """

    spacing_mm: float | None = 1.0
    in_plane: bool = False
    interpolation: str = "linear"
    rounding: bool = False
    resegment: tuple[float | None, float | None] | None = None
    outliers: float | None = None
    bins: int | None = None
    bin_width: float | None = None
    bin_origin: float | None = None
    ivh_bins: int | None = 1000
    ivh_width: float | None = None
    aggregation: str = "3d_merged"
    families: tuple[str, ...] = FAMILIES
    filters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _freeze(self, ("resegment", "families", "filters"))
        from phenolens.features.radiomics.filters import parse

        if self.spacing_mm == 0:
            object.__setattr__(self, "spacing_mm", None)
        if self.bins is None and self.bin_width is None:
            object.__setattr__(self, "bins", 32)
        _check_numbers(self)
        _among("interpolation", self.interpolation, ("nearest", "linear", "cubic"))
        _among("aggregation", self.aggregation, _aggregations())
        for family in self.families:
            _among("a family", family, FAMILIES)
        if not self.families or len({*self.families}) < len(self.families) or len({*self.filters}) < len(self.filters):
            raise ValueError(f"families {self.families} and filters {self.filters} must be named, each once")
        for name in self.filters:
            parse(name)

    @property
    def dims(self) -> str:
        """The dimension of zones and neighbourhoods: 2d, 2.5d or 3d."""
        return self.aggregation.partition("_")[0]


def _aggregations() -> tuple[str, ...]:
    from phenolens.features.radiomics._grid import AGGREGATIONS

    return AGGREGATIONS


def _freeze(settings: Any, names: Sequence[str]) -> None:
    """Lists, as YAML gives them, become tuples."""
    for name in names:
        value = getattr(settings, name)
        if isinstance(value, str):
            raise ValueError(f"{name} is {value!r}; it must be a list")
        if value is not None:
            object.__setattr__(settings, name, tuple(value))


def _check_numbers(s: RadiomicsSettings) -> None:
    for name in ("spacing_mm", "outliers", "bin_width", "ivh_width"):
        value = getattr(s, name)
        if value is not None and (isinstance(value, bool) or not 0 < value < float("inf")):
            raise ValueError(f"{name} must be a number above 0 or null, not {value!r}")
    for name, most in (("bins", 1024), ("ivh_bins", 100_000)):
        value = getattr(s, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most):
            raise ValueError(f"{name} must be a whole number from 1 to {most} or null, not {value!r}")
    if (s.bins is None) == (s.bin_width is None):
        raise ValueError(f"one of bins and bin_width must be null, not {s.bins!r} and {s.bin_width!r}")
    if s.ivh_bins is not None and s.ivh_width is not None:
        raise ValueError("of ivh_bins and ivh_width one must be null")
    if s.bin_origin is not None and (s.bin_width is None or (s.resegment and s.resegment[0] is not None)):
        raise ValueError("bin_origin goes with bin_width, without a lower end of resegment")
    if s.resegment is not None:
        if len(s.resegment) != 2:
            raise ValueError(f"resegment must be two numbers, the lowest and the highest, not {s.resegment}")
        low, high = s.resegment
        if low is not None and high is not None and low >= high:
            raise ValueError(f"resegment must go from low to high, not {s.resegment}")


def _among(what: str, value: str, options: Sequence[str]) -> None:
    if value not in options:
        raise ValueError(f"{what} must be one of {', '.join(options)}, not {value!r}")
