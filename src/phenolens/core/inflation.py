"""How much a leak or shortcut could fake, in words: one table for the checks, the audit and the report.

The areas under the ROC curve were measured on pure noise (Gaussian features, 60 patients, no signal at all), where an
honest procedure gives 0.50.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_NOISE = "on noise, where 0.50 is the truth (simulated, 60 patients)"
_TEXT: Mapping[str, str] = MappingProxyType(
    {
        "unit-split": f"AUC 1.00 {_NOISE}: tiles of one patient in training and test",
        "one-person-twice": f"AUC 0.62 {_NOISE}, with a fifth of the patients copied",
        "fitted-outside": f"AUC 0.95 {_NOISE}, with features chosen on all patients",
        "combat-label": f"AUC 0.60 to 0.72 {_NOISE}",
        "oversampled": f"AUC 0.77 {_NOISE}, with oversampling before the split",
        "outer-choice": f"AUC 0.71 {_NOISE}, with the best of many chosen on the test fold",
        "outer-stopping": f"AUC 0.60 {_NOISE}, with stopping on the test fold",
        "site": "as much as the sites differ in their labels: features of foundation models tell the site in 88 to 98%",
        "acquisition": "AUC up to 0.9 from scanner, spacing, tile count, file size, order of ids or date alone",
        "volume": "C 0.64 from the lesion's volume alone (published)",
        "missingness": "any AUC, where what is missing depends on the label",
        "late": "AUC up to 1.00: what was known after the outcome tells the outcome",
        "immortal": "any effect: nobody can have the event before the time that counts",
    }
)
_LEAK: Mapping[str, str] = MappingProxyType(
    {
        "near-duplicate-patient": "one-person-twice",
        "rows-repeated": "oversampled",
        "site-label": "site",
        "site-one-label": "site",
        "image-after-event": "late",
        "image-after-t0": "late",
        "input-after-t0": "late",
        "column-tells-target": "late",
        "column-named-outcome": "late",
        "event-before-t0": "immortal",
    }
)


def inflates(name: str) -> str:
    """What a rule's finding (or a leak by its name here) could fake; empty where nothing is known of it."""
    return _TEXT.get(_LEAK.get(name, name), "")
