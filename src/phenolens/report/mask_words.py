"""How the report of a segmentation speaks of scans and of slides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class MaskWords:
    """`sizes` pairs columns of segmentation.csv (without _true and _pred) with the unit in the table and the name of
    the size in a figure; `distances` are columns in um that are shown beside Dice."""

    image: str
    piece: str
    border: str
    tolerance: str
    sizes: tuple[tuple[str, str, str], ...]
    distances: tuple[tuple[str, str], ...]
    measured: str
    stored: str
    legend: str
    note: str

    @property
    def images(self) -> str:
        return f"{self.image}s"


def words_of(manifest: Mapping[str, Any]) -> MaskWords:
    """The words for what a study reads."""
    task = manifest["study"]["task"]
    if manifest.get("images") == "slide":
        return MaskWords(
            image="slide",
            piece="pixels",
            border="outlines",
            tolerance=f"{task.get('tolerance_um', 100.0):g} µm",
            sizes=(("area_mm2", "mm²", "area in mm²"),),
            distances=(("boundary_um", "µm apart"), ("boundary95_um", "µm, 95%")),
            measured="Agreement is measured within the tissue, at the spacing of the tiles; a boundary counts where "
            "there is other tissue beside it, not where it ends with the tissue.",
            stored="as GeoJSON, which QuPath opens (File > Import objects)",
            legend="found",
            note="µm apart: the mean distance of both boundaries; 95%: the distance that 95% of the boundary keep.",
        )
    return MaskWords(
        image="scan",
        piece="voxels",
        border="surfaces",
        tolerance=f"{task.get('tolerance_mm', 2.0):g} mm",
        sizes=(("volume_ml", "ml", "volume in ml"), ("long_mm", "mm", "longest axial diameter in mm")),
        distances=(),
        measured="Agreement is measured on the grid of each scan as it was acquired.",
        stored="as NIfTI, each on the grid of its scan",
        legend="found; the planes are those with most of the drawn region, and the patient's left is on the right",
        note="mm: the longest axial diameter of the largest connected part.",
    )
