"""What the checks say of the inputs of a study: columns that come too late or tell the outcome, rows that repeat."""

from __future__ import annotations

import numpy as np
import pandas as pd

from phenolens.cohort.sample_size import advice
from phenolens.cohort.scans import at_timepoint
from phenolens.cohort.telling import repeated, telling
from phenolens.cohort.telling_time import FollowUp
from phenolens.cohort.timing import Timing, late
from phenolens.core.inflation import inflates
from phenolens.core.types import Finding
from phenolens.features.table import FeatureTable
from phenolens.steps.desk import Desk, Ready


def input_findings(desk: Desk, ready: Ready, table: FeatureTable | None) -> list[Finding]:
    """Findings on when inputs were known and, where the features are a table, on its columns and rows."""
    found = made_elsewhere(desk)
    names: set[str] = {str(c.params["combat"]) for c in desk.study.model_choices() if c.params.get("combat")}
    if table is not None:
        names |= {name for own in table.names.values() for name in own}
        found += _of_table(desk, ready, table)
    if desk.study.task.kind == "classification" and desk.study.task.unit == "patient":
        counts = {str(name): int(n) for name, n in ready.labels.value_counts().items()}
        found += advice(counts, max(map(len, table.names.values())) if table is not None else None)
    if desk.study.subgroups and desk.study.segments:
        what, todo = "subgroups of a study of masks, which are not measured", "remove subgroups"
        found.append(Finding(rule="subgroups-unused", severity="warning", what=what, todo=todo, where="subgroups"))
    asked = desk.study.timing
    timing = Timing(t0=asked.t0, event_date=asked.event_date, known_at=asked.known_at)
    images = at_timepoint(ready.cohort.images, desk.tables) if table is None else ready.cohort.images.iloc[:0]
    tables = {"table": desk.study.patients.name, "images_table": desk.study.images.name}
    return found + late(ready.cohort.patients, images, timing, names, **tables)


def made_elsewhere(desk: Desk) -> list[Finding]:
    """What nobody can see of features that phenolens did not make."""
    asked = desk.study.features
    place = asked.table or asked.folder
    if place is None:
        return []
    what = (
        f"features were made elsewhere ({place.name}): whether they were chosen, scaled or harmonised over all "
        "patients, test patients included, cannot be seen here"
    )
    todo = "say in statements how they were made, or give all features that were measured; a reduced set is no evidence"
    said = inflates("fitted-outside")
    return [Finding(rule="features-elsewhere", severity="note", what=what, todo=todo, where="features", inflates=said)]


def _of_table(desk: Desk, ready: Ready, table: FeatureTable) -> list[Finding]:
    found: list[Finding] = []
    path, several = desk.study.features.table, len(table.names) > 1
    assert path is not None, "the features are a table"
    units = ready.units.set_index("unit_id")
    for place, (part, names) in enumerate(table.names.items()):
        rows = {unit: bag.x[0] for unit, parts in table.parts.items() if (bag := parts[place].load()) is not None}
        x = pd.DataFrame(np.stack(list(rows.values())), index=list(rows), columns=list(names))
        own = units.loc[x.index]
        where = f"{path.name} of part {part}" if several else path.name
        if desk.tables.target:
            told = _follow_up(desk, ready, own["patient"])
            found += telling(x, own["truth"], own["patient"], desk.tables.target, told)
        found += repeated(x, own["patient"], where)
    return found


def _follow_up(desk: Desk, ready: Ready, patient: pd.Series[str]) -> FollowUp | None:
    """Time and event of each of these units; None where no survival is predicted."""
    if not desk.study.survives:
        return None
    rows = ready.cohort.patients.loc[list(patient), list(desk.study.task.outcome)].to_numpy(dtype=np.float64)
    return FollowUp(time=rows[:, 0], event=rows[:, 1] == 1)
