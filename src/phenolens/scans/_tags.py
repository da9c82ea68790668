"""Values of DICOM tags as plain numbers and text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np


def number(value: Any) -> float | None:
    """The value, or the first of several, as a finite number; None where it is none."""
    if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue":
        value = value[0] if len(value) else None
    if value is None or value == "":
        return None
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if np.isfinite(found) else None


def text(value: Any) -> str:
    """The value as text, several joined by a backslash as DICOM writes them; empty where there is none."""
    if value is None:
        return ""
    if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue":
        return "\\".join(str(v) for v in value)
    return str(value).strip()


def b_value(groups: Iterable[Any]) -> float | None:
    """The b-value (s/mm2) of the first of some data sets that states one; None where none does.

    The standard's tag (0018,9087), also in MRDiffusionSequence, else the vendors': Siemens (0019,100C), GE (0043,1039)
    whose first number may carry 1e9 for bookkeeping, Philips (2001,1003). Sources: the vendors' DICOM conformance
    statements, as gathered in the documentation of dcm2niix.
    """
    for group in groups:
        inner = group.get("MRDiffusionSequence")
        for place in ((inner[0],) if inner else ()) + (group,):
            found = number(place.get("DiffusionBValue"))
            if found is None:
                found = _private(place)
            if found is not None:
                return found
    return None


def _private(group: Any) -> float | None:
    for block, creator, element in (
        (0x0019, "SIEMENS MR HEADER", 0x100C),
        (0x0043, "GEMS_PARM_01", 0x1039),
        (0x2001, "Philips Imaging DD 001", 0x1003),
    ):
        owner, held = group.get((block, 0x0010)), group.get((block, element))
        if owner is None or held is None or text(owner.value).upper() != creator.upper():
            continue
        value = held.value
        if isinstance(value, bytes):
            value = re.sub(r"[^0-9.\\-]", "", value.decode("ascii", "ignore")).split("\\")[0]
        found = number(value)
        if found is not None:
            return found % 1e5 if block == 0x0043 and found >= 1e6 else found
    return None
