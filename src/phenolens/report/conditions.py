"""When an item of a checklist can apply at all; one that cannot is left out of the list, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from phenolens.report.fact import encoder_name, section
from phenolens.report.record import Record


def _radiology(record: Record) -> bool:
    return record.images_are not in ("slide", "folder")


def _masks(record: Record) -> bool:
    """Scans are read within masks; whoever made a table may have used some, so the item stays."""
    return record.images_are in ("scan", "table")


def _automatic(record: Record) -> bool:
    return record.finds_masks or bool(section(record, "scan").get("masks"))


def _handcrafted(record: Record) -> bool:
    return record.images_are == "table" or encoder_name(record) in ("radiomics", "pathomics")


def _end_to_end(record: Record) -> bool:
    return encoder_name(record) == "volume"


def _tabular(record: Record) -> bool:
    return not _end_to_end(record)


CONDITIONS: Mapping[str, tuple[Callable[[Record], bool], str]] = {
    "radiology": (_radiology, "the list is about radiological images and this study reads slides"),
    "masks": (_masks, "no region was outlined in this study"),
    "automatic_masks": (_automatic, "no region was outlined by a model"),
    "handcrafted": (_handcrafted, "this study uses no hand-crafted features"),
    "tabular": (_tabular, "a network reads the voxels: there is no table of features"),
    "end_to_end": (_end_to_end, "no network reads the voxels"),
}
"""Name, as a checklist's `only` says it -> (whether it holds, the reason where it does not)."""


def why_not(record: Record, condition: str) -> str:
    """Why an item with this condition is left out; empty where it applies."""
    if not condition:
        return ""
    holds, reason = CONDITIONS[condition]
    return "" if holds(record) else reason
