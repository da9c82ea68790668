"""From units of prediction and stored bags to examples, the only thing models read."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from phenolens.core.types import BagSource, Example, Part


def examples(units: pd.DataFrame, bags: Mapping[str, BagSource], target: str) -> tuple[list[Example], list[str]]:
    """One example a unit in the order of `units`, and the ids of units without any bag.

    units has the columns unit_id, patient, site, truth and images (the unit's image ids). The parts of an example are
    its images that have a bag, in the order given. A unit whose images all went to quarantine makes no example.
    """
    made: list[Example] = []
    without: list[str] = []
    for unit_id, patient, site, truth, images in units[["unit_id", "patient", "site", "truth", "images"]].itertuples(
        index=False, name=None
    ):
        parts = tuple(Part(name=str(i), image=str(i), source=bags[i]) for i in images if i in bags)
        if not parts:
            without.append(str(unit_id))
            continue
        made.append(
            Example(
                patient=str(patient),
                unit_id=str(unit_id),
                parts=parts,
                covariates={"site": site},
                targets={target: truth},
            )
        )
    return made, without
