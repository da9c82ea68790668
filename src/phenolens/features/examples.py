"""From units of prediction and stored features to examples, the only thing models read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from phenolens.core.types import BagSource, Example, Part, TileSource


def examples(
    units: pd.DataFrame, parts: Mapping[str, Sequence[Part]], target: str | Mapping[str, str]
) -> tuple[list[Example], list[str]]:
    """One example a unit in the order of `units`, and the ids of units of which nothing is there.

    units has the columns unit_id, patient, site and truth; parts gives those of each unit, absent ones without source.
    target is the name of the truth, or of several columns of units the name of each -> the column.
    """
    made: list[Example] = []
    without: list[str] = []
    named = {target: "truth"} if isinstance(target, str) else dict(target)
    for unit_id, patient, site, *truth in units[["unit_id", "patient", "site", *named.values()]].itertuples(
        index=False, name=None
    ):
        own = tuple(parts.get(str(unit_id), ()))
        if not any(part.present for part in own):
            without.append(str(unit_id))
            continue
        made.append(
            Example(
                patient=str(patient),
                unit_id=str(unit_id),
                parts=own,
                covariates={"site": site},
                targets=dict(zip(named, truth, strict=True)),
            )
        )
    return made, without


def slide_parts(units: pd.DataFrame, bags: Mapping[str, BagSource | TileSource]) -> dict[str, list[Part]]:
    """The parts of each unit of slides: its images that have a bag, or tiles, in the order given, each named by its id.

    units has the columns unit_id and images (the unit's image ids). An image that went to quarantine makes no part.
    """
    rows = units[["unit_id", "images"]].itertuples(index=False, name=None)
    return {
        str(unit): [Part(name=str(i), image=str(i), source=bags[i]) for i in images if i in bags]
        for unit, images in rows
    }
